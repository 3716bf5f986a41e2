"""What fails inside of a chain, or beside another branch."""

from __future__ import annotations

from itertools import pairwise

import trio

from am2z import (
    BusinessError,
    Context,
    ExecutionTimeoutError,
    NetworkError,
    Processor,
    ProcessorExecutionError,
    RetryPolicy,
    RuntimeConfig,
    batch,
    chain,
    parallel,
    route,
)
from harness.conformance._processors import (
    Gate,
    assert_waited,
    flaky,
    increment,
    make,
    within,
)
from harness.conformance.errors._shared import THRICE
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("ERR-007")
async def test_a_failed_chain_says_how_far_it_came(kit: Kit) -> None:
    after = Gate("after")
    broken = flaky("broken", [OSError("disk full")], retry=RetryPolicy(max_attempts=1))
    in_place: Processor[TestState] = chain(
        "in_place", [increment, "increment", broken, after.processor]
    )
    by_name: Processor[TestState] = chain("by_name", [increment, "broken", after.processor])
    nested: Processor[TestState] = chain("nested", [increment, chain("within", [broken])])
    after.open()
    async with kit.runtime(in_place, by_name, nested) as runtime:
        first = await runtime.execute(in_place, TestState(count=10))
        second = await runtime.execute(by_name, TestState(count=10))
        third = await runtime.execute(nested, TestState(count=10))
    assert not after.runs, "a step ran after the one that failed"
    assert (first.metadata.completed_steps, first.state.count) == (2, 12)
    assert (second.metadata.completed_steps, second.state.count) == (1, 11)
    assert (third.metadata.completed_steps, third.state.count) == (1, 11)
    for result in (first, second, third):
        assert not result.success
        assert isinstance(result.error, ProcessorExecutionError), repr(result.error)
        assert result.error.failed_processor == "broken"
        assert "disk full" in str(result.error.__cause__)
    await _look_at_failed_branches(kit)


async def _look_at_failed_branches(kit: Kit) -> None:
    """Of branches those are counted that were done when the first one failed."""
    done: list[TestState] = []

    async def finish(state: TestState, _ctx: Context) -> TestState:
        done.append(state)
        return state.evolve(count=99)

    async def fail_last(_state: TestState, _ctx: Context) -> TestState:
        await wait_for_condition(lambda: len(done) == 2, kit.timeout, message="two to be done")
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        raise BusinessError("no")

    async def either(state: TestState, ctx: Context) -> TestState:
        return await (fail_last if state.count == 7 else finish)(state, ctx)

    finishing, failing = make("finishing", finish), make("fail_last", fail_last)
    wide = parallel("wide", [finishing, failing, finishing])
    each: Processor[TestState] = batch(
        "each",
        make("either", either),
        split=lambda state: [state.evolve(count=count) for count in (1, 7, 2)],
        join=lambda state, _results: state,
    )
    async with kit.runtime(wide, each) as runtime:
        for one, name in ((wide, "fail_last"), (each, "either")):
            done.clear()
            result = await runtime.execute(one, TestState(count=3))
            assert isinstance(result.error, BusinessError), repr(result.error)
            assert result.error.failed_processor == name
            assert (result.metadata.completed_steps, result.state.count) == (2, 3)
    await _look_at_cut_branches(kit)


async def _look_at_cut_branches(kit: Kit) -> None:
    """The first failure ends the other branches, in place and called; a way names who failed."""
    in_place, called = Gate("in_place"), Gate("called")

    async def fail_then(state: TestState, _ctx: Context) -> TestState:
        await in_place.started.wait()
        await called.started.wait()
        return await refuse(state, _ctx)

    async def refuse(_state: TestState, _ctx: Context) -> TestState:
        raise BusinessError("no")

    refusing = make("refusing", refuse)
    wide = parallel("wide", [in_place.processor, make("fail_then", fail_then), "called"])
    way = route("way", lambda _state: "only", {"only": refusing})
    config = RuntimeConfig(lease=600.0)  # who learns of it with a lease alone learns too late
    async with kit.runtime(wide, way, called.processor, config=config) as runtime:
        with within(kit, "the end of branches of which one failed"):
            cut = await runtime.execute(wide, TestState(count=1))
            await called.ended.wait()
        chosen = await runtime.execute(way, TestState(count=1))
    assert in_place.was_cancelled
    assert called.was_cancelled
    for result, name in ((cut, "fail_then"), (chosen, "refusing")):
        assert isinstance(result.error, BusinessError), repr(result.error)
        assert result.error.failed_processor == name
        assert (result.metadata.completed_steps, result.state.count) == (0, 1)


@rule("ERR-024")
async def test_a_step_keeps_its_own_timeout_and_retries(kit: Kit) -> None:
    runs: list[int] = []
    unsteady = flaky("unsteady", [NetworkError("gone")] * 2, retry=THRICE, runs=runs)
    hanging = Gate("hanging", timeout=0.02)
    steps: Processor[TestState] = chain("steps", [unsteady, hanging.processor])
    async with kit.runtime(steps) as runtime:
        began = trio.current_time()
        with within(kit, "the timeout of a step"):
            result = await runtime.execute(steps, TestState(count=1))
        took = trio.current_time() - began
    assert runs == [1, 2, 3]
    assert isinstance(result.error, ExecutionTimeoutError), repr(result.error)
    assert result.error.failed_processor == "hanging"
    assert (result.metadata.completed_steps, result.state.count) == (1, 2)
    assert result.metadata.attempt == 1, "the whole chain was tried again for one step"
    assert_waited(kit, [took], [0.02])
    await _look_at_steps(kit)
    await _look_at_time_of_steps(kit)
    await _look_at_hooks_of_steps(kit)


async def _look_at_time_of_steps(kit: Kit) -> None:
    """Each attempt of a step has its timeout anew, and the waits between them take none of it."""
    limit, backoff = 0.02, 0.03
    deadlines: list[float] = []

    async def hang_first(state: TestState, ctx: Context) -> TestState:
        deadlines.append(ctx.deadline)
        if len(deadlines) < 3:
            await trio.sleep_forever()
        if kit.virtual_time:  # a busy machine could stretch it beyond the timeout
            await trio.sleep(0.9 * limit)
        return state.evolve(count=state.count + 1)

    policy = RetryPolicy(max_attempts=3, backoff=backoff, multiplier=1.0)
    hanging = make("hanging", hang_first, timeout=limit, retry=policy)
    steps: Processor[TestState] = chain("steps", [increment, hanging])
    async with kit.runtime(steps) as runtime:
        with within(kit, "the third attempt of a step"):
            result = await runtime.execute(steps, TestState())
    assert len(deadlines) == 3, "a step that timed out was not tried as often as its policy says"
    assert_waited(kit, [b - a for a, b in pairwise(deadlines)], [backoff + limit] * 2)
    assert result.unwrap().count == 2


async def _look_at_hooks_of_steps(kit: Kit) -> None:
    """The policy of a step is asked, and told, as that of any other processor."""
    calls: list[tuple[str, str, int]] = []

    def refuse_closed(error: Exception, attempt: int) -> bool:
        calls.append(("should", str(error), attempt))
        return str(error) != "closed"

    policy = RetryPolicy(
        max_attempts=3,
        backoff=0,
        should_retry=refuse_closed,
        on_retry=lambda error, attempt: calls.append(("retry", str(error), attempt)),
        on_exhausted=lambda error, attempt: calls.append(("exhausted", str(error), attempt)),
    )
    closed = flaky("closed", [NetworkError("a"), NetworkError("closed")] * 2, retry=policy)
    gone = flaky("gone", [NetworkError(letter) for letter in "xyz"], retry=policy)
    first: Processor[TestState] = chain("first", [closed])
    second: Processor[TestState] = chain("second", [gone])
    async with kit.runtime(first, second) as runtime:
        refused = await runtime.execute(first, TestState())
        told, calls = calls, []
        exhausted = await runtime.execute(second, TestState())
    assert told == [("should", "a", 1), ("retry", "a", 1), ("should", "closed", 2)]
    asked = [(kind, *one) for one in (("x", 1), ("y", 2)) for kind in ("should", "retry")]
    assert calls == [*asked, ("exhausted", "z", 3)]
    assert str(refused.error) == "closed"
    assert str(exhausted.error) == "z"


async def _look_at_steps(kit: Kit) -> None:
    """A step waits between its attempts, knows who it is, and has no more time than the whole."""
    seen: list[tuple[str, int, str, float]] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        meta = ctx.metadata
        seen.append((meta.processor_name, meta.attempt, ctx.idempotency_key, trio.current_time()))
        left = ctx.deadline - trio.current_time()
        assert left <= whole_time + 1e-6, "a step has more time than the whole"
        if meta.processor_name == "slow" and meta.attempt == 1:
            raise NetworkError("gone")
        return state.evolve(count=state.count + 1)

    whole_time = 4 * kit.timeout
    slow = make(
        "slow", note, timeout=2 * whole_time, retry=RetryPolicy(max_attempts=2, backoff=0.03)
    )
    twice: Processor[TestState] = chain("twice", [slow, make("quick", note)], timeout=whole_time)
    forever = Gate("forever", timeout=60.0)
    cut: Processor[TestState] = chain("cut", [forever.processor], timeout=0.02)
    runs: list[int] = []
    again = flaky("again", [NetworkError("gone")], retry=RetryPolicy(max_attempts=1), runs=runs)
    policy = RetryPolicy(max_attempts=2, backoff=0)
    whole: Processor[TestState] = chain("whole", [increment, again], retry=policy)
    async with kit.runtime(twice, cut, whole) as runtime:
        result = await runtime.execute(twice, TestState())
        with within(kit, "the end of a chain's own time"):
            late = await runtime.execute(cut, TestState(count=1))
        tried = await runtime.execute(whole, TestState(count=1))
    assert result.unwrap().count == 2
    assert [one[:2] for one in seen] == [("slow", 1), ("slow", 2), ("quick", 1)]
    keys = [one[2] for one in seen]
    assert keys[0] == keys[1] != keys[2], f"what names a step's effects: {keys}"
    assert_waited(kit, [seen[1][3] - seen[0][3]], [0.03])
    assert isinstance(late.error, ExecutionTimeoutError), repr(late.error)
    assert forever.was_cancelled
    # A step of a chain that is tried again is a first attempt each time, and fails so again.
    assert isinstance(tried.error, NetworkError), repr(tried.error)
    assert (runs, tried.metadata.attempt) == ([1, 1], 2)
    assert (tried.metadata.completed_steps, tried.state.count) == (1, 2)
