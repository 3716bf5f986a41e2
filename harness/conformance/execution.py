"""What happens between a call and its answer."""

from __future__ import annotations

import threading
from typing import Any, cast

import trio

from am2z import (
    CallDepthExceededError,
    ConfigurationError,
    Context,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    Processor,
    ProcessorExecutionError,
    ProcessorNotFoundError,
    QueueOptions,
    RetryPolicy,
    RuntimeConfig,
    Success,
    ThreadContext,
    ValidationError,
    batch,
    chain,
    parallel,
    processor,
    route,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    Gate,
    Meeting,
    assert_waited,
    flaky,
    increment,
    make,
    within,
)
from harness.kit import Kit
from harness.processors import create_error_processor
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

ONE_SLOT = RuntimeConfig(concurrency=1)


@processor
async def double(state: TestState, _ctx: Context) -> TestState:
    """Doubles ``count``."""
    return state.evolve(count=state.count * 2)


@processor
async def spoil(state: TestState, _ctx: Context) -> TestState:
    """Changes the list inside its input, as careless code does."""
    state.items.append("spoiled")
    return state.evolve(count=state.count + 1)


@rule("EXE-001")
async def test_the_processors_result_reaches_the_caller(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        result = await runtime.execute(increment, TestState(count=1, message="kept"))
    assert result.success
    assert result.error is None
    assert (result.state.count, result.state.message) == (2, "kept")
    assert result.metadata.processor_name == "increment"
    assert result.metadata.execution_id
    assert result.metadata.attempt == 1
    assert result.execution_time >= 0


@rule("EXE-002")
async def test_an_unknown_processor_is_a_failed_result(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        with within(kit, "an answer for work that nobody serves"):
            result = await runtime.execute("nobody", TestState(count=1))
    assert not result.success
    assert isinstance(result.error, ProcessorNotFoundError)
    assert "nobody" in str(result.error)
    assert result.state.count == 1


@rule("EXE-003")
async def test_different_processors_run_at_the_same_time(kit: Kit) -> None:
    meeting = Meeting(3, kit.timeout)

    async def meet(state: TestState, ctx: Context) -> TestState:
        await meeting.join()
        return state.evolve(message=ctx.metadata.processor_name)

    processors = [make(name, meet) for name in ("one", "two", "three")]
    async with kit.runtime(*processors) as runtime:
        results = await runtime.execute_many([(p, TestState()) for p in processors])
    assert [result.unwrap().message for result in results] == ["one", "two", "three"]


@rule("EXE-004")
async def test_results_come_in_the_order_of_the_states(kit: Kit) -> None:
    ended = [trio.Event() for _ in range(5)]

    async def after_the_next(state: TestState, _ctx: Context) -> TestState:
        if state.count + 1 < len(ended):
            await ended[state.count + 1].wait()
        ended[state.count].set()
        return state.evolve(total=float(state.count))

    backwards = make("backwards", after_the_next)
    async with kit.runtime(backwards) as runtime:
        results = await runtime.execute_many(backwards, [TestState(count=n) for n in range(5)])
        none_at_all = await runtime.execute_many(backwards, [])
    assert [result.unwrap().total for result in results] == [0, 1, 2, 3, 4]
    assert none_at_all == []


@rule("EXE-005")
async def test_one_failure_leaves_the_others_alone(kit: Kit) -> None:
    async def refuse_odd(state: TestState, _ctx: Context) -> TestState:
        if state.count % 2:
            raise ValidationError("count", "is odd", state.count)
        return state.evolve(processed=True)

    even_only = make("even_only", refuse_odd)
    async with kit.runtime(even_only) as runtime:
        results = await runtime.execute_many(even_only, [TestState(count=n) for n in range(6)])
    assert [result.success for result in results] == [True, False] * 3
    assert [result.state.processed for result in results] == [True, False] * 3
    assert [result.error.value for result in results if result.error] == [1, 3, 5]  # type: ignore[attr-defined]


@rule("EXE-006")
async def test_a_chain_hands_the_state_on(kit: Kit) -> None:
    steps: Processor[TestState] = chain("steps", [increment, "double", increment])
    async with kit.runtime(steps, double) as runtime:
        result = await runtime.execute(steps, TestState(count=3))
    assert result.unwrap().count == (3 + 1) * 2 + 1


@rule("EXE-007")
async def test_branches_run_together_and_merge_in_order(kit: Kit) -> None:
    second_ended = trio.Event()

    async def first(state: TestState, _ctx: Context) -> TestState:
        await second_ended.wait()
        return state.evolve(items=[*state.items, "first"])

    async def second(state: TestState, _ctx: Context) -> TestState:
        second_ended.set()
        return state.evolve(items=[*state.items, "second"])

    def merge(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(items=[str(state.items), *(str(r.items) for r in results)])

    both = parallel("both", [make("first", first), make("second", second)], merge=merge)
    async with kit.runtime(both) as runtime:
        with within(kit, "the end of branches that wait for each other"):
            result = await runtime.execute(both, TestState(items=["start"]))
    assert result.unwrap().items == ["['start']", "['start', 'first']", "['start', 'second']"]


@rule("EXE-008")
async def test_a_batch_joins_in_the_order_of_its_split(kit: Kit) -> None:
    ended = {name: trio.Event() for name in "abc"}

    async def shout(state: TestState, _ctx: Context) -> TestState:
        if state.message != "c":
            await ended[chr(ord(state.message) + 1)].wait()
        ended[state.message].set()
        return state.evolve(message=state.message.upper())

    letters: Processor[TestState] = batch(
        "letters",
        make("shout", shout),
        split=lambda state: [TestState(message=letter) for letter in state.items],
        join=lambda state, results: state.evolve(items=[r.message for r in results]),
    )
    async with kit.runtime(letters) as runtime:
        with within(kit, "the end of a batch whose items wait for each other"):
            full = await runtime.execute(letters, TestState(items=["a", "b", "c"]))
        empty = await runtime.execute(letters, TestState(items=[]))
    assert full.unwrap().items == ["A", "B", "C"]
    assert empty.unwrap().items == []


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


@rule("EXE-010")
async def test_a_timeout_ends_the_processor_and_answers_the_caller(kit: Kit) -> None:
    gate = Gate(timeout=0.05)
    async with kit.runtime(gate.processor) as runtime:
        began = trio.current_time()
        with within(kit, "the timeout"):
            result = await runtime.execute(gate.processor, TestState(count=1))
        took = trio.current_time() - began
    assert isinstance(result.error, ExecutionTimeoutError), repr(result.error)
    assert gate.was_cancelled, "the caller was told, but the processor went on"
    assert result.state.count == 1
    assert_waited(kit, [took, result.execution_time], [0.05, 0.05])


@rule("EXE-011")
async def test_queue_statistics_follow_the_work(kit: Kit) -> None:
    retried = trio.Event()
    gate = Gate(queue=QueueOptions(concurrency=1))
    policy = RetryPolicy(backoff=20.0, on_retry=lambda _error: retried.set())
    unsteady = flaky("unsteady", [ProcessorExecutionError("not yet")] * 2, retry=policy)
    failing = create_error_processor("failing")
    async with kit.runtime(gate.processor, unsteady, failing) as runtime:
        handles = [await runtime.submit(gate.processor, TestState()) for _ in range(3)]
        delayed = await runtime.submit(unsteady, TestState())
        await runtime.execute(failing, TestState())
        with within(kit, "a start and a retry"):
            await gate.started.wait()
            await retried.wait()

        async def numbers(name: str) -> tuple[int, ...]:
            s = (await runtime.queue_stats())[name]
            return s.waiting, s.active, s.delayed, s.completed, s.failed

        async def is_delayed() -> bool:
            return await numbers("unsteady") == (0, 0, 1, 0, 0)

        await wait_for_condition(is_delayed, kit.timeout, message="a retry to be counted delayed")
        assert await numbers("gate") == (2, 1, 0, 0, 0)
        gate.open()
        for handle in handles:
            await handle.result()
        await delayed.cancel()
        assert await numbers("gate") == (0, 0, 0, 3, 0)
        assert await numbers("unsteady") == (0, 0, 0, 0, 1)
        assert await numbers("failing") == (0, 0, 0, 0, 1)


@rule("EXE-012")
async def test_each_of_many_callers_gets_its_own_result(kit: Kit) -> None:
    async def square(state: TestState, ctx: Context) -> TestState:
        for _ in range(state.count % 3):
            await trio.lowlevel.checkpoint()
        return state.evolve(total=float(state.count**2), message=ctx.execution_id)

    squares = make("squares", square)
    numbers = list(range(60))
    kit.rng.shuffle(numbers)
    async with kit.runtime(squares, config=RuntimeConfig(concurrency=7)) as runtime:
        results = await runtime.execute_many(squares, [TestState(count=n) for n in numbers])
    assert [result.unwrap().total for result in results] == [n**2 for n in numbers]
    ids = [result.metadata.execution_id for result in results]
    assert len(set(ids)) == len(ids)
    assert [result.state.message for result in results] == ids


@rule("EXE-013")
async def test_work_of_a_session_starts_in_the_order_of_submission(kit: Kit) -> None:
    gate = Gate("in_line", queue=QueueOptions(concurrency=1))
    async with kit.runtime(gate.processor) as runtime:
        handles = [await runtime.submit(gate.processor, TestState(count=0), "s")]
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        rest = [TestState(count=number) for number in range(1, 12)]
        handles += [await runtime.submit("in_line", state, "s") for state in rest]
        gate.open()
        for handle in handles:
            await handle.result()
    assert [state.count for state in gate.runs] == list(range(12))


@rule("EXE-014")
async def test_the_concurrency_of_a_processor_is_a_limit_that_can_be_reached(kit: Kit) -> None:
    at_once, most = 0, 0
    meeting = Meeting(2, kit.timeout)

    async def count_in(state: TestState, _ctx: Context) -> TestState:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await meeting.join()
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            if state.count % 3 == 0:
                raise ValidationError("count", "is refused")
        finally:
            at_once -= 1
        return state

    limited = make("limited", count_in, queue=QueueOptions(concurrency=2))
    async with kit.runtime(limited) as runtime:
        results = await runtime.execute_many(limited, [TestState(count=n) for n in range(12)])
    assert most == 2, f"{most} ran at once where 2 may"
    assert sum(result.success for result in results) == 8


@rule("EXE-015")
async def test_the_higher_priority_starts_first(kit: Kit) -> None:
    order: list[str] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        order.append(ctx.metadata.processor_name)
        return state

    gate = Gate()
    middle = make("middle", note)
    low = make("low", note, queue=QueueOptions(priority=-5))
    high = make("high", note, queue=QueueOptions(priority=5))
    async with kit.runtime(gate.processor, low, middle, high, config=ONE_SLOT) as runtime:
        handles = [await runtime.submit(gate.processor, TestState())]
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        handles += [await runtime.submit(p, TestState()) for p in (low, middle, high) * 2]
        gate.open()
        for handle in handles:
            await handle.result()
    assert order == ["high", "high", "middle", "middle", "low", "low"]


@rule("EXE-016")
async def test_what_a_processor_does_to_its_state_stays_there(kit: Kit) -> None:
    returned: list[TestState] = []

    async def keep(state: TestState, _ctx: Context) -> TestState:
        state.items.append("inside")
        returned.append(state)
        return state

    keeping = make("keeping", keep)
    given = TestState(items=["given"])
    async with kit.runtime(keeping) as runtime:
        handle = await runtime.submit(keeping, given)
        given.items.append("after the submission")
        result = await handle.result()
        returned[0].items.append("after the return")
    assert given.items == ["given", "after the submission"]
    assert result.state.items == ["given", "inside"]


@rule("EXE-017")
async def test_every_attempt_gets_the_state_as_it_was_submitted(kit: Kit) -> None:
    async def spoil_and_fail(state: TestState, ctx: Context) -> TestState:
        state.items.append(f"attempt {ctx.metadata.attempt}")
        if ctx.metadata.attempt < 3:
            raise ProcessorExecutionError("not yet")
        return state

    spoiling = make("spoiling", spoil_and_fail, retry=RetryPolicy(max_attempts=3, backoff=0))
    async with kit.runtime(spoiling) as runtime:
        result = await runtime.execute(spoiling, TestState(items=["given"]))
    assert result.unwrap().items == ["given", "attempt 3"]


@rule("EXE-018")
async def test_branches_do_not_see_each_others_changes(kit: Kit) -> None:
    def merge(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(message=str([state.items, *(r.items for r in results)]))

    both = parallel("both", [spoil, "spoil", spoil], merge=merge)
    async with kit.runtime(both) as runtime:
        result = await runtime.execute(both, TestState(items=["x"]))
    spoiled = ["x", "spoiled"]
    assert result.unwrap().message == str([["x"], spoiled, spoiled, spoiled])


@rule("EXE-019")
async def test_a_child_does_not_change_its_parents_state(kit: Kit) -> None:
    async def ask(state: TestState, ctx: Context) -> TestState:
        answer = (await ctx.call("spoil", state)).unwrap()
        return state.evolve(message=str([state.items, answer.items]))

    parent = make("parent", ask)
    async with kit.runtime(parent, spoil) as runtime:
        result = await runtime.execute(parent, TestState(items=["x"]))
    assert result.unwrap().message == str([["x"], ["x", "spoiled"]])


@rule("EXE-020")
async def test_versions_only_grow(kit: Kit) -> None:
    async def give_back(state: TestState, _ctx: Context) -> TestState:
        return state

    async def build_anew(_state: TestState, _ctx: Context) -> TestState:
        return TestState(message="from nothing")

    state = TestState()
    for number in range(5):
        state = state.evolve(count=number)
    processors = (increment, make("give_back", give_back), make("build_anew", build_anew))
    async with kit.runtime(*processors) as runtime:
        for each in processors:
            result = await runtime.execute(each, state, "session")
            was, now = state.metadata.version, result.unwrap().metadata.version
            assert now > was, f"{each.name} took version {was} to {now}"
            assert result.state.metadata.session_id == "session"
            state = result.state


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

    wide = parallel("wide", ["child"] * 4, merge=merge)
    async with kit.runtime(wide, make("child", take_a_while), config=ONE_SLOT) as runtime:
        with within(kit, "the end of four calls on a single slot"):
            result = await runtime.execute(wide, TestState(count=1))
    assert result.unwrap().count == 8


@rule("EXE-023")
async def test_the_depth_of_calls_is_bounded(kit: Kit) -> None:
    depths: list[int] = []

    @processor
    async def endless(state: TestState, ctx: Context) -> TestState:
        depths.append(ctx.call_depth)
        return (await ctx.call("endless", state)).unwrap()

    async with kit.runtime(endless, config=RuntimeConfig(max_call_depth=3)) as runtime:
        result = await runtime.execute(endless, TestState())
    assert isinstance(result.error, CallDepthExceededError), repr(result.error)
    assert depths == [0, 1, 2, 3]


@rule("EXE-024")
async def test_a_child_does_not_outlive_its_parents_time(kit: Kit) -> None:
    forever = Gate("forever")
    left: list[float] = []

    async def ask(state: TestState, ctx: Context) -> TestState:
        await trio.sleep(0.01)
        return (await ctx.call("child", state)).unwrap()

    async def hang(state: TestState, ctx: Context) -> TestState:
        left.append(ctx.deadline - trio.current_time())
        return await forever.run(state, ctx)

    parent, child = make("parent", ask, timeout=0.06), make("child", hang, timeout=20.0)
    async with kit.runtime(parent, child) as runtime:
        began = trio.current_time()
        result = await runtime.execute(parent, TestState())
        took = trio.current_time() - began
        with within(kit, "the end of the child"):
            await forever.ended.wait()
    assert isinstance(result.error, ExecutionTimeoutError), repr(result.error)
    assert forever.was_cancelled
    assert left[0] <= 0.051, f"the child was given {left[0]} s of the 0.05 that were left"
    assert_waited(kit, [took], [0.06])


@rule("EXE-025")
async def test_cancelling_the_caller_cancels_the_execution(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor) as runtime:
        async with trio.open_nursery() as caller:
            caller.start_soon(runtime.execute, gate.processor, TestState(), "session")
            with within(kit, "the start of an execution"):
                await gate.started.wait()
            caller.cancel_scope.cancel()
        with within(kit, "the end of the cancelled execution"):
            await gate.ended.wait()
        assert await runtime.state.get("session") is None
    assert gate.was_cancelled


@rule("EXE-026")
async def test_a_submitted_execution_does_not_depend_on_its_submitter(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor) as runtime:
        async with trio.open_nursery() as submitter:
            handle = await runtime.submit(gate.processor, TestState())
            submitter.start_soon(handle.result)
            with within(kit, "the start of an execution"):
                await gate.started.wait()
            submitter.cancel_scope.cancel()
        gate.open()
        with within(kit, "the result of a submitted execution"):
            first, second = await handle.result(), await handle.result()
    assert first.success
    assert first.state == second.state
    assert first.metadata.execution_id == second.metadata.execution_id == handle.execution_id


@rule("EXE-027")
async def test_a_cancelled_execution_is_over_for_good(kit: Kit) -> None:
    gate = Gate(retry=RetryPolicy(max_attempts=5, backoff=0), queue=QueueOptions(concurrency=1))
    async with kit.runtime(gate.processor) as runtime:
        running = await runtime.submit(gate.processor, TestState(count=1))
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        waiting = await runtime.submit(gate.processor, TestState(count=2))
        last = await runtime.submit(gate.processor, TestState(count=3))
        with within(kit, "an answer for cancelled work"):
            await waiting.cancel()
            await running.cancel()
            results = [await running.result(), await waiting.result()]
        gate.open()
        await last.result()
        await last.cancel()
        assert (await last.result()).success, "a cancel undid what was done already"
    for result in results:
        assert isinstance(result.error, ExecutionCancelledError), repr(result.error)
        assert not result.error.retryable
    assert [state.count for state in gate.runs] == [1, 3]


@rule("EXE-028")
async def test_the_handle_knows_the_progress(kit: Kit) -> None:
    reported, go_on = trio.Event(), trio.Event()
    gate = Gate("before", queue=QueueOptions(concurrency=1))

    async def report(state: TestState, ctx: Context) -> TestState:
        await ctx.update_progress(15)
        await ctx.update_progress(62.5)
        reported.set()
        await go_on.wait()
        return state

    async def arrived() -> bool:
        return await handle.progress() == 62.5

    reporting = make("reporting", report)
    async with kit.runtime(gate.processor, reporting, config=ONE_SLOT) as runtime:
        await runtime.submit(gate.processor, TestState())
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        handle = await runtime.submit(reporting, TestState())
        assert await handle.progress() == 0
        gate.open()
        with within(kit, "a report of progress"):
            await reported.wait()
        await wait_for_condition(arrived, kit.timeout, message="progress() to say 62.5")
        go_on.set()
        await handle.result()


@rule("EXE-029")
async def test_the_context_tells_which_execution_it_is(kit: Kit) -> None:
    contexts: list[Context] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        contexts.append(ctx)
        if state.count == 0 and ctx.metadata.attempt == 1:
            raise ProcessorExecutionError("not yet")
        return state

    noting = make("noting", note, retry=RetryPolicy(max_attempts=2, backoff=0))
    async with kit.runtime(noting) as runtime:
        result = await runtime.execute(noting, TestState(count=0), "session")
        await runtime.execute(noting, TestState(count=1), "session")
    first, second, other = contexts
    for ctx, attempt in ((first, 1), (second, 2)):
        assert ctx.metadata.processor_name == ctx.processor.name == "noting"
        assert ctx.metadata.execution_id == ctx.execution_id == result.metadata.execution_id
        assert ctx.metadata.session_id == ctx.session_id == "session"
        assert ctx.metadata.attempt == attempt
        assert ctx.metadata.started_at > 0
    assert first.idempotency_key == second.idempotency_key != other.idempotency_key
    assert first.fence < second.fence < other.fence


@rule("EXE-030")
async def test_a_plain_function_may_block_its_thread(kit: Kit) -> None:
    started, let_go = threading.Event(), threading.Event()

    @processor
    def blocking(state: TestState, given: Context) -> TestState:
        ctx = cast("ThreadContext", given)  # what a plain function is given
        started.set()
        if not let_go.wait(kit.timeout):
            raise ProcessorExecutionError("the event loop stood still while this function blocked")
        ctx.update_progress(50)
        return ctx.call("increment", state).unwrap().evolve(message=threading.current_thread().name)

    async with kit.runtime(blocking, increment) as runtime:
        handle = await runtime.submit(blocking, TestState(count=1))
        await wait_for_condition(started.is_set, kit.timeout, message="the thread to start")
        let_go.set()
        result = await handle.result()
    assert result.unwrap().count == 2
    assert result.state.message != threading.current_thread().name


@rule("EXE-031")
async def test_a_route_runs_what_was_chosen(kit: Kit) -> None:
    routes: dict[str, Any] = {"add": increment, "double": "double"}
    closed = route("closed", lambda state: state.message, routes)
    open_ = route("open", lambda state: state.message, routes, fallback=spoil)
    async with kit.runtime(closed, open_, double) as runtime:
        asked = [TestState(count=5, message=m) for m in ("add", "double", "other")]
        with_fallback = await runtime.execute_many(open_, asked)
        without = await runtime.execute_many(closed, asked)
    assert [result.unwrap().count for result in with_fallback] == [6, 10, 6]
    assert with_fallback[2].state.items == ["spoiled"]
    assert [result.success for result in without] == [True, True, False]
    assert isinstance(without[2].error, ValidationError)
    assert "other" in str(without[2].error)


@rule("EXE-032")
async def test_compositions_nest(kit: Kit) -> None:
    def add_up(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(count=sum(result.count for result in results))

    inner = chain("inner", [increment, double])
    both = parallel("both", [inner, "inner", double], merge=add_up)
    each = batch(
        "each",
        both,
        split=lambda state: [state, state],
        join=add_up,
    )
    outer = chain("outer", [route("pick", lambda _: 1, {1: each}), increment])
    async with kit.runtime(outer, inner) as runtime:
        result = await runtime.execute("outer", TestState(count=3))
    assert result.unwrap().count == 2 * (8 + 8 + 6) + 1


@rule("EXE-033")
async def test_branches_that_disagree_are_not_merged(kit: Kit) -> None:
    async def rename(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(message="renamed")

    async def plus_one(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(count=state.count + 1)

    renaming = make("renaming", rename)
    agreeing = parallel("agreeing", [increment, renaming, make("same", plus_one)])
    disagreeing = parallel("disagreeing", [increment, double])
    async with kit.runtime(agreeing, disagreeing) as runtime:
        merged = await runtime.execute(agreeing, TestState(count=5, items=["kept"]))
        conflict = await runtime.execute(disagreeing, TestState(count=5))
    assert (merged.unwrap().count, merged.state.message) == (6, "renamed")
    assert merged.state.items == ["kept"]
    assert not conflict.success
    assert conflict.state.count == 5
    assert "count" in str(conflict.error)


@rule("EXE-034")
async def test_an_answer_is_a_state_or_a_success(kit: Kit) -> None:
    async def succeed(state: TestState, _ctx: Context) -> Success[TestState]:
        return Success(state.evolve(count=1))

    async def forget(state: TestState, _ctx: Context) -> None:
        state.evolve(count=1)

    succeeding, forgetful = make("succeeding", succeed), make("forgetful", forget)
    async with kit.runtime(succeeding, forgetful) as runtime:
        success = await runtime.execute(succeeding, TestState())
        nothing = await runtime.execute(forgetful, TestState())
    assert success.unwrap().count == 1
    assert isinstance(nothing.error, ConfigurationError), repr(nothing.error)
    assert "forgetful" in str(nothing.error)


@rule("EXE-035")
async def test_caller_and_worker_may_be_different_runtimes(kit: Kit) -> None:
    async def ask(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("increment", state)).unwrap()

    parent = make("parent", ask)
    async with (
        kit.runtime(role="client") as client,
        kit.runtime(parent, role="worker"),
        kit.runtime(increment, role="worker"),
    ):
        nested = await client.execute("parent", TestState(count=1))
        many = await client.execute_many("increment", [TestState(count=n) for n in range(20)])
    assert nested.unwrap().count == 2
    assert [result.unwrap().count for result in many] == list(range(1, 21))


@rule("EXE-036")
async def test_a_processor_at_its_limit_holds_up_nobody_else(kit: Kit) -> None:
    child, second = Gate("child"), Gate("second")

    @processor(queue=QueueOptions(concurrency=1))
    async def limited(state: TestState, ctx: Context) -> TestState:
        if state.count == 1:
            return (await ctx.call("child", state)).unwrap()
        return await second.run(state, ctx)

    async with kit.runtime(limited, child.processor, increment) as runtime:
        first = await runtime.submit(limited, TestState(count=1))
        with within(kit, "the start of the first execution and its call"):
            await child.started.wait()
        other = await runtime.submit(limited, TestState(count=2))
        with within(kit, "the start of the second, in the slot that the first gave back"):
            await second.started.wait()
        with TestEventCollector(runtime) as events:
            child.open()
            await events.wait_for_event("queue:completed", kit.timeout)
        with within(kit, "the end of work that has nothing to do with the limit"):
            result = await runtime.execute(increment, TestState())
        second.open()
        assert (await first.result()).success
        assert (await other.result()).success
    assert result.success


@rule("EXE-037")
async def test_a_blocked_thread_does_not_hold_its_caller(kit: Kit) -> None:
    let_go = threading.Event()

    @processor(timeout=0.03)
    def blocked(state: TestState, _ctx: Context) -> TestState:
        let_go.wait(kit.limit)
        return state

    async with kit.runtime(blocked) as runtime:
        try:
            with within(kit, "the timeout of a function that blocks its thread"):
                result = await runtime.execute(blocked, TestState())
        finally:
            let_go.set()
    assert isinstance(result.error, ExecutionTimeoutError), repr(result.error)


@rule("EXE-038")
async def test_work_of_a_cancelled_caller_leaves_the_line(kit: Kit) -> None:
    gate = Gate(queue=QueueOptions(concurrency=1))
    async with kit.runtime(gate.processor) as runtime:

        async def waiting() -> int:
            return (await runtime.queue_stats())["gate"].waiting

        async def in_line(number: int) -> bool:
            return await waiting() == number

        first = await runtime.submit(gate.processor, TestState(count=1))
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        async with trio.open_nursery() as caller:
            caller.start_soon(runtime.execute, gate.processor, TestState(count=2))
            await wait_for_condition(lambda: in_line(1), kit.timeout, message="work to wait")
            caller.cancel_scope.cancel()
        last = await runtime.submit(gate.processor, TestState(count=3))
        await wait_for_condition(lambda: in_line(1), kit.timeout, message="one to be left in line")
        gate.open()
        with within(kit, "the work behind that of a cancelled caller"):
            assert (await first.result()).success
            assert (await last.result()).success
    assert [state.count for state in gate.runs] == [1, 3]


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
