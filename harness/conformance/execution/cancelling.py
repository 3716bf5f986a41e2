"""Work that is given up, and work that goes on without its caller."""

from __future__ import annotations

from typing import Any

import trio

from am2z import (
    Context,
    ExecutionCancelledError,
    QueueOptions,
    RetryPolicy,
    RuntimeConfig,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    Gate,
    make,
    within,
)
from harness.conformance.execution._shared import ONE_SLOT
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("EXE-025")
async def test_cancelling_the_caller_cancels_the_execution(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor) as runtime:
        events = TestEventCollector(runtime).start()
        async with trio.open_nursery() as caller:
            caller.start_soon(runtime.execute, gate.processor, TestState(), "session")
            with within(kit, "the start of an execution"):
                await gate.started.wait()
            caller.cancel_scope.cancel()
        with within(kit, "the end of the cancelled execution"):
            await gate.ended.wait()
        assert await runtime.state.get("session") is None
        told = await events.wait_for_event("queue:failed", kit.timeout)
        assert isinstance(told.data["error"], ExecutionCancelledError), repr(told.data["error"])
        events.stop()
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
    # Who learns of it only when a lease is renewed learns too late.
    async with kit.runtime(gate.processor, config=RuntimeConfig(lease=600.0)) as runtime:
        running = await runtime.submit(gate.processor, TestState(count=1))
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        waiting = await runtime.submit(gate.processor, TestState(count=2))
        last = await runtime.submit(gate.processor, TestState(count=3))
        with within(kit, "an answer for cancelled work"):
            await waiting.cancel()
            await running.cancel()
            results = [await running.result(), await waiting.result()]
        with within(kit, "the end of the processor whose execution was cancelled"):
            await gate.ended.wait()
        assert gate.was_cancelled
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

    def report_all(percents: list[float]) -> Any:
        async def report_each(state: TestState, ctx: Context) -> TestState:
            for percent in percents:
                ctx.update_progress(percent)
            return state

        return report_each

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
        assert await handle.progress() == 62.5, "its end is no progress"
        reports: list[list[float]] = [[0], [100], [80, 20.5], [50, 0], [33, 33]]
        for percents in reports:
            stepping = make("stepping", report_all(percents))
            runtime.register(stepping)
            await runtime.sync_processors()
            done = await runtime.submit(stepping, TestState())
            await done.result()
            assert await done.progress() == percents[-1], f"after {percents}"


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
