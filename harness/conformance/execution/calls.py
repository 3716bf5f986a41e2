"""Processors that call others."""

from __future__ import annotations

import trio

from am2z import (
    CallDepthExceededError,
    Context,
    ExecutionTimeoutError,
    NetworkError,
    Processor,
    QueueOptions,
    RetryPolicy,
    RuntimeConfig,
    chain,
    parallel,
    processor,
)
from harness.conformance._processors import (
    CLOCK_GRAIN,
    Gate,
    assert_waited,
    flaky,
    increment,
    make,
    within,
)
from harness.conformance.execution._shared import ONE_SLOT
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("EXE-009")
async def test_a_processor_calls_another_one(kit: Kit) -> None:
    contexts: list[Context] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        contexts.append(ctx)
        return state.evolve(count=state.count + 1)

    async def ask(state: TestState, ctx: Context) -> TestState:
        contexts.append(ctx)
        answer = await ctx.call("child", state.evolve(count=10))
        assert answer.metadata.processor_name == "child"
        return state.evolve(count=answer.unwrap().count)

    child, parent = make("child", note), make("parent", ask)
    async with kit.runtime(child, parent) as runtime:
        result = await runtime.execute(parent, TestState(), "session")
    assert result.unwrap().count == 11
    above, below = contexts
    assert (above.call_depth, below.call_depth) == (0, 1)
    assert above.session_id == below.session_id == "session"
    assert above.execution_id != below.execution_id


@rule("EXE-021")
async def test_calls_five_deep_complete_on_one_slot(kit: Kit) -> None:
    @processor(queue=QueueOptions(concurrency=1))
    async def descend(state: TestState, ctx: Context) -> TestState:
        if ctx.call_depth < 5:
            state = (await ctx.call("descend", state)).unwrap()
        return state.evolve(count=state.count + 1)

    async with kit.runtime(descend, config=ONE_SLOT) as runtime:
        with within(kit, "the end of nested calls on a single slot"):
            result = await runtime.execute(descend, TestState())
    assert result.unwrap().count == 6


@rule("EXE-022")
async def test_several_calls_at_once_complete_on_one_slot(kit: Kit) -> None:
    def merge(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(count=sum(result.count for result in results))

    async def take_a_while(state: TestState, _ctx: Context) -> TestState:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        return state.evolve(count=state.count + 1)

    begun, asked, answered = trio.Event(), trio.Event(), trio.Event()

    async def begin(state: TestState, _ctx: Context) -> TestState:
        begun.set()
        await asked.wait()
        return state

    async def wait(state: TestState, _ctx: Context) -> TestState:
        await answered.wait()
        return state

    async def ask_both(state: TestState, ctx: Context) -> TestState:
        async def ask_first() -> None:
            await ctx.call("first", state)
            answered.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_first)
            await begun.wait()
            asked.set()
            await ctx.call("second", state)
        return state

    wide = parallel("wide", ["child"] * 4, merge=merge)
    both = make("both", ask_both)
    children = (make("child", take_a_while), make("first", begin), make("second", wait))
    async with kit.runtime(wide, both, *children, config=ONE_SLOT) as runtime:
        with within(kit, "the end of four calls on a single slot"):
            result = await runtime.execute(wide, TestState(count=1))
        with within(kit, "the end of a call that waits for what its parent does after another"):
            (await runtime.execute(both, TestState())).unwrap()
    assert result.unwrap().count == 8


@rule("EXE-023")
async def test_the_depth_of_calls_is_bounded(kit: Kit) -> None:
    depths: list[int] = []

    @processor
    async def endless(state: TestState, ctx: Context) -> TestState:
        depths.append(ctx.call_depth)
        return (await ctx.call("endless", state)).unwrap()

    async def ask_the_ring(state: TestState, ctx: Context) -> TestState:
        depths.append(ctx.call_depth)
        return state if len(depths) > 9 else (await ctx.call("ring", state)).unwrap()

    ring: Processor[TestState] = chain("ring", [make("asks_the_ring", ask_the_ring)])
    loop: Processor[TestState] = chain("loop", [increment, "loop"])
    config = RuntimeConfig(max_call_depth=3)
    async with kit.runtime(endless, ring, loop, config=config) as runtime:
        for one in (endless, ring):
            depths.clear()
            result = await runtime.execute(one, TestState())
            assert isinstance(result.error, CallDepthExceededError), repr(result.error)
            assert depths == [0, 1, 2, 3]
        looped = await runtime.execute(loop, TestState())
    assert isinstance(looped.error, CallDepthExceededError), repr(looped.error)


@rule("EXE-024")
async def test_a_child_does_not_outlive_its_parents_time(kit: Kit) -> None:
    forever = Gate("forever")
    left: list[float] = []
    # In real time the child must have begun before that time is over, on a busy machine too.
    limit = 0.06 if kit.virtual_time else kit.timeout / 10

    async def ask(state: TestState, ctx: Context) -> TestState:
        await trio.sleep(limit / 6)
        return (await ctx.call("child", state)).unwrap()

    async def hang(state: TestState, ctx: Context) -> TestState:
        left.append(ctx.deadline - trio.current_time())
        return await forever.run(state, ctx)

    parent, child = make("parent", ask, timeout=limit), make("child", hang, timeout=20.0)
    async with kit.runtime(parent, child) as runtime:
        began = trio.current_time()
        result = await runtime.execute(parent, TestState())
        took = trio.current_time() - began
        with within(kit, "the end of the child"):
            await forever.ended.wait()
    assert isinstance(result.error, ExecutionTimeoutError), repr(result.error)
    assert forever.was_cancelled
    rest = limit * 5 / 6
    assert left[0] <= rest + CLOCK_GRAIN, f"the child was given {left[0]} s of the {rest} left"
    assert_waited(kit, [took], [limit])


@rule("EXE-039")
async def test_a_processor_may_give_up_a_call(kit: Kit) -> None:
    child = Gate("child")

    async def impatient(state: TestState, ctx: Context) -> TestState:
        with trio.move_on_after(kit.timeout) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ctx.call, "child", state)
                await child.started.wait()
                scope.cancel()
        return (await ctx.call("increment", state)).unwrap()

    parent = make("parent", impatient)
    async with kit.runtime(parent, child.processor, increment) as runtime:
        with within(kit, "the end of a processor that gave up a call"):
            result = await runtime.execute(parent, TestState(count=1))
        with within(kit, "the end of the call that was given up"):
            await child.ended.wait()
    assert child.was_cancelled
    assert result.unwrap().count == 2


@rule("EXE-052")
async def test_what_is_called_keeps_its_own_timeout_and_retries(kit: Kit) -> None:
    runs: list[int] = []
    left: list[float] = []

    async def ask_all(state: TestState, ctx: Context) -> TestState:
        tried = await ctx.call("unsteady", state)
        assert tried.success, f"the first failure of a call was its answer: {tried.error!r}"
        assert (tried.metadata.attempt, tried.state.count) == (3, 2)
        late = await ctx.call("hanging", state)
        assert isinstance(late.error, ExecutionTimeoutError), repr(late.error)
        left.append(ctx.deadline - trio.current_time())
        return (await ctx.call("long", tried.state)).unwrap()

    async def note(state: TestState, ctx: Context) -> TestState:
        left.append(ctx.deadline - trio.current_time())
        if ctx.metadata.attempt < 3:
            raise NetworkError("gone")
        return state.evolve(message="went on")

    thrice = RetryPolicy(max_attempts=3, backoff=0)
    unsteady = flaky("unsteady", [NetworkError("gone")] * 2, retry=thrice, runs=runs)
    hanging = Gate("hanging", timeout=0.02)
    long = make("long", note, timeout=900.0, retry=thrice)
    parent = make("parent", ask_all, timeout=4 * kit.timeout)
    async with kit.runtime(parent, unsteady, hanging.processor, long) as runtime:
        with within(kit, "the end of calls of which one hangs"):
            result = await runtime.execute(parent, TestState(count=1))
    assert result.unwrap().message == "went on"
    assert runs == [1, 2, 3]
    assert hanging.was_cancelled
    whole, *each = left
    assert len(each) == 3
    await _look_at_calls_of_another_attempt(kit)
    assert max(each) <= whole + CLOCK_GRAIN, "an attempt of a child has more time than was left"


async def _look_at_calls_of_another_attempt(kit: Kit) -> None:
    """Who is tried again calls afresh: the failed call of an earlier attempt is not its answer."""
    ids: list[str] = []

    async def fail_first(state: TestState, ctx: Context) -> TestState:
        ids.append(ctx.execution_id)
        if len(ids) == 1:
            raise NetworkError("gone")
        return state.evolve(count=state.count + 1)

    async def ask(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("child", state)).unwrap()

    twice = RetryPolicy(max_attempts=2, backoff=0)
    asking = make("asking", ask, retry=twice)
    step: Processor[TestState] = chain("step", [asking])
    line: Processor[TestState] = chain("line", ["child"], retry=twice)
    outer: Processor[TestState] = chain("outer", [chain("inner", ["child"])], retry=twice)
    async with kit.runtime(make("child", fail_first), asking, step, line, outer) as runtime:
        for one in (asking, step, line, outer):
            ids.clear()
            result = await runtime.execute(one, TestState(count=1))
            assert result.success, f"{one.name}: {result.error!r}"
            assert result.state.count == 2
            assert len(set(ids)) == len(ids) == 2, f"{one.name} called {ids}"
