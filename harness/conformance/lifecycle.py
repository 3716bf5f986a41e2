"""The life of a runtime: what holds at its start, while it lives, and when it goes."""

from __future__ import annotations

from typing import NoReturn

import pytest
import trio

from am2z import (
    Capability,
    Context,
    ExecutionHandle,
    ExecutionTimeoutError,
    Processor,
    ProcessorExecutionError,
    ProcessorResult,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    RuntimeNotStartedError,
    RuntimeStoppedError,
    chain,
    processor,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    CLOCK_GRAIN,
    Gate,
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


class _Crash(Exception):  # noqa: N818 - what a rule throws out of a runtime's block
    pass


def _crash() -> NoReturn:
    raise _Crash


@rule("LIF-001")
async def test_an_entered_runtime_is_started_and_configured(kit: Kit) -> None:
    forever = Gate("forever")
    async with kit.runtime(config=RuntimeConfig(default_timeout=0.02)) as runtime:
        assert runtime.is_started
        assert runtime.list_processors() == []
        runtime.register(forever.processor)
        await runtime.sync_processors()
        result = await runtime.execute(forever.processor, TestState())
    assert isinstance(result.error, ExecutionTimeoutError), "default_timeout was not used"


@rule("LIF-002")
async def test_a_stopped_runtime_refuses_work(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        await runtime.stop()
        assert not runtime.is_started
        with pytest.raises(RuntimeNotStartedError):
            await runtime.execute(increment, TestState())
        with pytest.raises(RuntimeNotStartedError):
            await runtime.submit(increment, TestState())
        with pytest.raises(RuntimeNotStartedError):
            await runtime.execute_many(increment, [TestState()])


@rule("LIF-003")
async def test_starting_and_stopping_twice_changes_nothing(kit: Kit) -> None:
    at_once, most = 0, 0

    @processor
    async def watched(state: TestState, _ctx: Context) -> TestState:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        at_once -= 1
        return state

    async with kit.runtime(watched, config=RuntimeConfig(concurrency=1)) as runtime:
        with TestEventCollector(runtime) as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runtime.start)
                nursery.start_soon(runtime.start)
            results = await runtime.execute_many(watched, [TestState()] * 6)
            await runtime.stop()
            await runtime.stop()
            assert not events.events("runtime:started"), "a second start was announced"
    assert all(result.success for result in results)
    assert most == 1, "started twice, a runtime of one slot ran two at once"


@rule("LIF-004")
async def test_statistics_count_every_execution_once(kit: Kit) -> None:
    gate = Gate()
    failing = create_error_processor("failing")
    unsteady = flaky("unsteady", [ProcessorExecutionError("once")])
    processors = (increment, failing, unsteady, gate.processor)
    async with kit.runtime(*processors) as runtime:
        before = await runtime.stats()
        await runtime.execute_many(increment, [TestState()] * 3)
        await runtime.execute(failing, TestState())
        await runtime.execute(unsteady, TestState())
        handle = await runtime.submit(gate.processor, TestState())
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        stats = await runtime.stats()
        gate.open()
        await handle.result()
    assert before.registered_processors == stats.registered_processors == 4
    assert (before.completed, before.failed, before.active, before.waiting) == (0, 0, 0, 0)
    assert (before.running, stats.running) == (0, 1)
    assert (stats.completed, stats.failed, stats.active, stats.waiting) == (4, 1, 1, 0)
    assert stats.uptime >= before.uptime >= 0


@rule("LIF-005")
async def test_nothing_runs_once_stop_has_returned(kit: Kit) -> None:
    kit.leave_work()
    started, cleaned = trio.Event(), False

    async def careful(_state: TestState, _ctx: Context) -> None:
        nonlocal cleaned
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
                cleaned = True

    slow = make("careful", careful)
    async with kit.runtime(slow, config=RuntimeConfig(shutdown_grace=0)) as runtime:
        await runtime.submit(slow, TestState())
        with within(kit, "the start of an execution"):
            await started.wait()
        await runtime.stop()
        assert cleaned, "stop() returned while a processor was still cleaning up"


@rule("LIF-006")
async def test_a_stopped_runtime_starts_again(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        first = await runtime.execute(increment, TestState(count=1), "session")
        await trio.sleep(2 * CLOCK_GRAIN)
        events = TestEventCollector(runtime).start("runtime:*")
        await runtime.stop()
        stopped_at = trio.current_time()
        await runtime.start()
        assert runtime.is_started
        await events.wait_for_event("runtime:started", kit.timeout)
        told = [(event.type, event.execution_id, event.session_id) for event in events.events()]
        assert told == [("runtime:stopped", "", ""), ("runtime:started", "", "")]
        uptime = (await runtime.stats()).uptime
        assert uptime <= trio.current_time() - stopped_at + CLOCK_GRAIN, "it counts from before"
        assert runtime.list_processors() == ["increment"]
        kept = await runtime.state.get("session", TestState)
        second = await runtime.execute(increment, first.state, "session")
    assert kept is not None
    assert kept.state.count == 2
    assert second.state.count == 3


@rule("LIF-007")
async def test_stop_lets_what_runs_finish(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor) as runtime, trio.open_nursery() as nursery:
        handle = await runtime.submit(gate.processor, TestState())
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        nursery.start_soon(runtime.stop)
        await wait_for_condition(lambda: not runtime.is_started, message="stop() to begin")
        gate.open()
        result = await handle.result()
    assert result.success, f"work that needed a moment more ended with {result.error!r}"
    assert result.state.processed
    await _call_while_stopping(kit)
    kit.leave_work()
    endless, grace = Gate("endless"), 0.05
    async with kit.runtime(
        endless.processor, config=RuntimeConfig(shutdown_grace=grace)
    ) as runtime:
        await runtime.submit(endless.processor, TestState())
        with within(kit, "the start of an execution"):
            await endless.started.wait()
        began = trio.current_time()
        with within(kit, "the end of a grace"):
            await runtime.stop()
        took = trio.current_time() - began
    assert endless.was_cancelled
    assert_waited(kit, [took], [grace])


async def _call_while_stopping(kit: Kit) -> None:
    """What runs on may call others, which may call others, as if nobody was stopping."""
    ended: list[ProcessorResult[TestState]] = []

    async def ask_on(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("increment", state)).unwrap()

    async def ask(state: TestState, ctx: Context) -> TestState:
        waited = await gate.run(state, ctx)
        ended.append(await ctx.call("ask_on", waited))
        return ended[-1].unwrap()

    async def note(name: str, session_id: str | None) -> None:
        ended.append(await runtime.execute(name, TestState(), session_id))

    config = RuntimeConfig(concurrency=1, shutdown_grace=2 * kit.timeout)
    for session_id, somebody_waits in ((None, True), ("session", True), ("session", False)):
        for name in ("asking", "steps"):
            gate = Gate()
            asking, asked = make("asking", ask), make("ask_on", ask_on)
            steps: Processor[TestState] = chain("steps", [gate.processor, asking, "ask_on"])
            made = kit.runtime(asking, asked, steps, increment, config=config)
            ended.clear()
            async with made as runtime, trio.open_nursery() as nursery:
                if somebody_waits:
                    nursery.start_soon(note, name, session_id)
                else:
                    await runtime.submit(name, TestState(), session_id)
                with within(kit, "the start of an execution"):
                    await gate.started.wait()
                nursery.start_soon(runtime.stop)
                await wait_for_condition(lambda: not runtime.is_started, message="stop() to begin")
                gate.open()
            assert len(ended) == 1 + somebody_waits
            for one in ended:
                assert one.success, f"a call while its runtime stops ended with {one.error!r}"


@rule("LIF-008")
async def test_every_caller_is_answered_when_the_runtime_stops(kit: Kit) -> None:
    kit.leave_work()
    running, retried = Gate("running"), trio.Event()
    policy = RetryPolicy(backoff=20.0, on_retry=lambda _error: retried.set())
    delayed = flaky("delayed", [ProcessorExecutionError("not yet")] * 2, retry=policy)
    answers: dict[str, ProcessorResult[TestState]] = {}
    config = RuntimeConfig(shutdown_grace=0, concurrency=1)

    async def note(name: str, handle: ExecutionHandle[TestState]) -> None:
        answers[name] = await handle.result()

    processors = (running.processor, delayed, increment)
    made = kit.runtime(*processors, config=config)
    async with made as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(note, "delayed", await runtime.submit(delayed, TestState()))
        with within(kit, "the retry of a failed execution"):
            await retried.wait()
        gate = await runtime.submit(running.processor, TestState())
        nursery.start_soon(note, "running", gate)
        with within(kit, "the start of an execution"):
            await running.started.wait()
        nursery.start_soon(note, "waiting", await runtime.submit(increment, TestState()))
        with within(kit, "an answer for every caller"):
            await runtime.stop()
            await wait_for_condition(
                lambda: len(answers) == 3,
                kit.timeout,
                message="the callers of running, waiting and delayed work to be answered",
            )
    for name, result in answers.items():
        assert isinstance(result.error, RuntimeStoppedError), f"{name}: {result.error!r}"
        assert result.error.retryable


@rule("LIF-009")
async def test_an_exception_ends_the_runtime_at_once(kit: Kit) -> None:
    kit.leave_work()
    gate = Gate()
    config = RuntimeConfig(shutdown_grace=3600.0, default_timeout=3600.0)
    with within(kit, "the end of a runtime whose block failed"):
        try:
            async with kit.runtime(gate.processor, config=config) as runtime:
                await runtime.submit(gate.processor, TestState())
                await gate.started.wait()
                _crash()
        except* _Crash:
            pass
    assert gate.was_cancelled


@rule("LIF-010")
async def test_a_caller_outside_is_answered_when_the_block_fails(kit: Kit) -> None:
    kit.leave_work()
    gate, answered = Gate(), trio.Event()
    results: list[ProcessorResult[TestState]] = []

    async def wait(handle: ExecutionHandle[TestState]) -> None:
        results.append(await handle.result())
        answered.set()

    async with trio.open_nursery() as outside:
        try:
            async with kit.runtime(gate.processor) as runtime:
                outside.start_soon(wait, await runtime.submit(gate.processor, TestState()))
                with within(kit, "the start of an execution"):
                    await gate.started.wait()
                _crash()
        except* _Crash:
            pass
        with within(kit, "an answer for the caller outside"):
            await answered.wait()
    assert isinstance(results[0].error, RuntimeStoppedError)


@rule("LIF-011")
async def test_a_runtime_cannot_start_outside_its_block(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        pass
    with pytest.raises(RuntimeNotStartedError):
        await runtime.start()
    assert not runtime.is_started


@rule("LIF-012")
async def test_another_worker_does_what_a_stopping_one_could_not(kit: Kit) -> None:
    assert kit.supports(Capability.MULTI_WORKER)
    first, second = Gate("job"), Gate("job")
    config = RuntimeConfig(shutdown_grace=0)
    second.open()
    async with kit.runtime(role="client") as client:
        async with kit.runtime(first.processor, config=config, role="worker"):
            handle = await client.submit("job", TestState())
            with within(kit, "the start of an execution"):
                await first.started.wait()
        async with kit.runtime(second.processor, role="worker"):
            with within(kit, "an answer by the other worker"):
                result = await handle.result()
    assert result.success
    assert result.metadata.attempt == 1, "an orderly shutdown used up an attempt"
    await _give_back_a_caller(kit)


async def _give_back_a_caller(kit: Kit) -> None:
    """What it had called, at work or in line at another worker, goes on for its next run."""
    gate = Gate("child")

    async def ask(state: TestState, ctx: Context) -> TestState:
        done: list[TestState] = []

        async def call() -> None:
            done.append((await ctx.call("child", state)).unwrap())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)  # equal ones: which of them is the first may change
            nursery.start_soon(call)
        return state.evolve(count=sum(one.processed for one in done))

    parent = make("parent", ask)
    leaves = RuntimeConfig(shutdown_grace=0)
    async with kit.runtime(role="client") as client:
        serving = kit.runtime(gate.processor, config=RuntimeConfig(concurrency=1), role="worker")
        async with serving:
            async with kit.runtime(parent, config=leaves, role="worker"):
                handle = await client.submit("parent", TestState(), "session")
                with within(kit, "a call"):
                    await gate.started.wait()

                async def one_waits() -> bool:
                    return (await client.queue_stats())["child"].waiting == 1

                await wait_for_condition(one_waits, kit.timeout, message="the second call to wait")
            async with kit.runtime(parent, role="worker"):
                gate.open()
                with within(kit, "an answer by the other worker"):
                    result = await handle.result()
        counted = (await client.queue_stats())["child"]
    assert result.success, f"its next run found what it had called ended: {result.error!r}"
    assert (result.state.count, result.metadata.attempt) == (2, 1)
    assert not gate.was_cancelled, "what it had called was cancelled with it"
    assert len(gate.runs) == 2, "what it had called ran again"
    assert (counted.completed, counted.failed) == (2, 0)


@rule("LIF-013")
async def test_stop_waits_for_what_its_callers_wait_for(kit: Kit) -> None:
    gate, results = Gate(), list[ProcessorResult[TestState]]()

    async def ask(count: int) -> None:
        results.append(await runtime.execute(gate.processor, TestState(count=count)))

    config = RuntimeConfig(concurrency=1)
    async with (
        kit.runtime(gate.processor, config=config) as runtime,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(ask, 1)
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        nursery.start_soon(ask, 2)
        await wait_for_condition(lambda: _waits(runtime), message="the second one to wait")
        nursery.start_soon(runtime.stop)
        await wait_for_condition(lambda: not runtime.is_started, message="stop() to begin")
        gate.open()
    assert [result.success for result in results] == [True, True]


async def _waits(runtime: Runtime) -> bool:
    return (await runtime.stats()).waiting == 1


@rule("LIF-014")
async def test_another_worker_does_what_a_broken_one_ran(kit: Kit) -> None:
    first, second = Gate("job"), Gate("job")
    config = RuntimeConfig(lease=1.0)
    second.open()
    async with kit.runtime(role="client") as client:
        try:
            async with kit.runtime(first.processor, config=config, role="worker"):
                handle = await client.submit("job", TestState())
                with within(kit, "the start of an execution"):
                    await first.started.wait()
                _crash()
        except* _Crash:
            pass
        async with kit.runtime(second.processor, config=config, role="worker"):
            with within(kit, "an answer by the other worker"):
                result = await handle.result()
    assert result.success, repr(result.error)
    assert [state.count for state in second.runs] == [0]
