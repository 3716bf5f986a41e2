"""Who runs when, and how many at once."""

from __future__ import annotations

import trio

from am2z import (
    Context,
    ExecutionCancelledError,
    Processor,
    ProcessorExecutionError,
    QueueOptions,
    QueueStats,
    RetryPolicy,
    RuntimeConfig,
    SessionStoppedError,
    ValidationError,
    chain,
    processor,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    Gate,
    Headcount,
    Meeting,
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
    async def count_in(state: TestState, _ctx: Context) -> TestState:
        await inside.visit()
        if state.count % 3 == 0:
            raise ValidationError("count", "is refused")
        return state

    two = QueueOptions(concurrency=2)
    limited = make("limited", count_in, queue=two)
    whole: Processor[TestState] = chain("whole", [make("inner", count_in)], queue=two)
    async with kit.runtime(limited, whole) as runtime:
        for one in (whole, limited):
            inside = Headcount(2, kit.timeout)
            results = await runtime.execute_many(one, [TestState(count=n) for n in range(12)])
            assert inside.most == 2, f"{inside.most} of {one.name!r} ran at once where 2 may"
    assert sum(result.success for result in results) == 8
    inside = Headcount(3, kit.timeout)
    other = make("other", count_in, queue=QueueOptions(concurrency=2))
    async with kit.runtime(limited, other, config=RuntimeConfig(concurrency=3)) as runtime:
        await runtime.execute_many([(one, TestState(count=1)) for one in (limited, other) * 4])
    assert inside.most == 3, f"{inside.most} ran at once in a runtime of 3"


@rule("EXE-015")
async def test_the_higher_priority_starts_first(kit: Kit) -> None:
    priorities = {"low": -5, "middle": None, "high": 9, "top": 10}
    order = await _order_of_starts(kit, priorities, slots=1, each=2)
    assert order == [name for name in ("top", "high", "middle", "low") for _ in range(2)]
    # None begins beside a higher one that still waits, however many begin at once; in which order
    # those begin that are taken together is nobody's promise.
    order = await _order_of_starts(kit, {"low": None, "high": 1}, slots=4, each=6)
    assert order[:4] == ["high"] * 4, order
    assert order[:10].count("high") == 6, order


async def _order_of_starts(
    kit: Kit, priorities: dict[str, int | None], *, slots: int, each: int
) -> list[str]:
    """Who starts when, where so many of each have come while every slot was in use."""
    order: list[str] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        order.append(ctx.metadata.processor_name)
        return state

    gate = Gate()
    noting = [
        make(name, note, queue=None if priority is None else QueueOptions(priority=priority))
        for name, priority in priorities.items()
    ]
    config = RuntimeConfig(concurrency=slots)
    async with kit.runtime(gate.processor, *noting, config=config) as runtime:
        handles = [await runtime.submit(gate.processor, TestState()) for _ in range(slots)]
        await wait_for_condition(
            lambda: len(gate.runs) == slots, kit.timeout, message="every slot to be in use"
        )
        handles += [await runtime.submit(one, TestState()) for one in noting * each]
        gate.open()
        for handle in handles:
            await handle.result()
    return order


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


@rule("EXE-050")
async def test_work_is_the_same_seen_from_another_runtime(kit: Kit) -> None:
    gate, reported, second = Gate("job"), trio.Event(), Gate("second")

    async def work(state: TestState, ctx: Context) -> TestState:
        await ctx.update_progress(40)
        reported.set()
        return await gate.run(state, ctx)

    processors = (make("job", work), second.processor, create_error_processor("failing"))
    async with (
        kit.runtime(role="client") as client,
        kit.runtime(role="client") as other,
        kit.runtime(
            *processors, config=RuntimeConfig(concurrency=1, lease=600.0), role="worker"
        ) as worker,
    ):
        everybody = (client, other, worker)
        first = await client.submit("job", TestState(), "s", execution_id="one")
        with within(kit, "a report of progress"):
            await reported.wait()
        waiting = await client.submit("job", TestState(), "s")
        delayed = await client.submit("job", TestState(), "s", delay=3600)
        again = await other.submit("job", TestState(), "s", execution_id="one")
        for runtime in everybody:
            counted = QueueStats(waiting=1, active=1, delayed=1)
            assert (await runtime.queue_stats())["job"] == counted
            assert await runtime.session_stats("s") == {"job": counted}
            assert await runtime.active_sessions() == ["s"]
            stats = await runtime.stats()
            assert (stats.waiting, stats.active) == (1, 1)
            assert stats.running == (runtime is worker), "running is what runs in this runtime"
        assert await first.progress() == await again.progress() == 40
        await delayed.cancel()
        gate.open()
        with within(kit, "the end of the work"):
            results = [await handle.result() for handle in (first, again, waiting)]
        failed = (await client.execute("failing", TestState())).metadata.execution_id
        for runtime in everybody:
            assert [letter.execution_id for letter in await runtime.dead.list()] == [failed]
        assert await other.dead.drop(failed)
        assert await client.dead.list() == []
        held = await client.submit("second", TestState(), "t", execution_id="two")
        with within(kit, "the start of an execution"):
            await second.started.wait()
        with within(kit, "the end of what another runtime cancels"):
            await (await other.submit("second", TestState(), "t", execution_id="two")).cancel()
            await second.ended.wait()
            cancelled = await held.result()
        await other.stop_session("s")
        refused = await client.execute("job", TestState(), "s")
        assert [await runtime.active_sessions() for runtime in everybody] == [["t"]] * 3
    assert len(gate.runs) == 2, "one id ran twice"
    assert all(result.success for result in results)
    assert second.was_cancelled
    assert isinstance(cancelled.error, ExecutionCancelledError), repr(cancelled.error)
    assert isinstance(refused.error, SessionStoppedError), repr(refused.error)
