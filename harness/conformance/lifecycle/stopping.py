"""What stop() waits for, and what it leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from am2z import (
    Context,
    ExecutionHandle,
    Processor,
    ProcessorExecutionError,
    ProcessorResult,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    RuntimeNotStartedError,
    RuntimeStoppedError,
    chain,
)
from harness.conformance._processors import Gate, assert_waited, flaky, increment, make, within
from harness.kit import Kit
from harness.processors import create_error_processor
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("LIF-002")
async def test_a_stopped_runtime_refuses_work(kit: Kit) -> None:
    runs: list[int] = []
    counted, refusing = flaky("counted", [], runs=runs), create_error_processor("refusing")
    async with kit.runtime(counted, refusing) as runtime:
        letter = (await runtime.execute(refusing, TestState())).metadata.execution_id

        async def emit() -> None:
            runtime.emit("told:nobody")

        async def lock() -> None:
            async with runtime.lock("ledger"):
                pass

        state, pair = TestState(), [(counted, TestState())]
        ways: dict[str, Callable[[], Awaitable[object]]] = {
            "execute": lambda: runtime.execute(counted, state),
            "execute, in a session": lambda: runtime.execute("counted", state, "s"),
            "execute_in_session": lambda: runtime.execute_in_session(counted, state, "s"),
            "execute_many": lambda: runtime.execute_many(counted, [state]),
            "execute_many, of pairs": lambda: runtime.execute_many(pair, None, "s"),
            "submit": lambda: runtime.submit(counted, state),
            "submit, for later": lambda: runtime.submit(counted, state, delay=3600.0),
            "dead.retry": lambda: runtime.dead.retry(letter),
            "sync_processors": runtime.sync_processors,
            "stats": runtime.stats,
            "queue_stats": runtime.queue_stats,
            "session_stats": lambda: runtime.session_stats("s"),
            "active_sessions": runtime.active_sessions,
            "stop_session": lambda: runtime.stop_session("s"),
            "clean_session": lambda: runtime.clean_session("s"),
            "clean_all_sessions": runtime.clean_all_sessions,
            "emit": emit,
            "lock": lock,
        }
        await runtime.stop()
        assert not runtime.is_started
        assert await _refused(ways) == list(ways), "what a stopped runtime refuses, and shall"
        await runtime.start()
        assert (await runtime.execute(counted, TestState(), "s")).success
    assert await _refused(ways) == list(ways), "what a runtime refuses after its block, and shall"
    assert len(runs) == 1, "what was refused has run"


async def _refused(ways: Mapping[str, Callable[[], Awaitable[object]]]) -> list[str]:
    """Which of them raise that the runtime is not started."""
    found: list[str] = []
    for name, ask in ways.items():
        try:
            await ask()
        except RuntimeNotStartedError:
            found.append(name)
    return found


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
    await _leave_the_block(kit)
    kit.leave_work()
    gates, grace = [Gate("first"), Gate("second")], 0.05
    made = kit.runtime(
        *(gate.processor for gate in gates), config=RuntimeConfig(shutdown_grace=grace)
    )
    async with made as runtime:
        for gate in gates:  # each of its lives has a grace of its own
            await runtime.start()
            await runtime.submit(gate.processor, TestState())
            with within(kit, "the start of an execution"):
                await gate.started.wait()
            began = trio.current_time()
            with within(kit, "the end of a grace"):
                await runtime.stop()
            took = trio.current_time() - began
            assert gate.was_cancelled
            assert_waited(kit, [took], [grace])


async def _leave_the_block(kit: Kit) -> None:
    """The end of a block is a stop(), with the same grace."""
    gate, results = Gate(), list[ProcessorResult[TestState]]()

    async def note(handle: ExecutionHandle[TestState]) -> None:
        results.append(await handle.result())

    async def open_late(runtime: Runtime) -> None:
        await wait_for_condition(
            lambda: not runtime.is_started, kit.limit / 2, message="the end of the block"
        )
        gate.open()

    config = RuntimeConfig(shutdown_grace=2 * kit.timeout)
    async with (
        trio.open_nursery() as outside,
        kit.runtime(gate.processor, config=config) as runtime,
    ):
        handle = await runtime.submit(gate.processor, TestState())
        outside.start_soon(note, handle)
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        outside.start_soon(open_late, runtime)
    assert not gate.was_cancelled, "what ran at the end of the block had no grace"
    assert [result.success for result in results] == [True], repr(results[0].error)


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
    await _look_at_what_is_delayed(kit)


async def _look_at_what_is_delayed(kit: Kit) -> None:
    """What waits for its time, or for its next attempt, is waited for like what runs."""
    retried, results = trio.Event(), list[ProcessorResult[TestState]]()
    policy = RetryPolicy(backoff=0.1, on_retry=lambda _error: retried.set())
    unsteady = flaky("unsteady", [ProcessorExecutionError("once")], retry=policy)

    async def ask(runtime: Runtime) -> None:
        results.append(await runtime.execute(unsteady, TestState()))

    async def wait(runtime: Runtime) -> None:
        handle = await runtime.submit(increment, TestState(), delay=0.1)
        accepted.set()
        results.append(await handle.result())

    config = RuntimeConfig(shutdown_grace=2 * kit.timeout)
    made = kit.runtime(unsteady, increment, config=config)
    async with made as runtime, trio.open_nursery() as nursery:
        for life in (1, 2):
            retried, accepted = trio.Event(), trio.Event()
            results.clear()
            nursery.start_soon(ask, runtime)
            nursery.start_soon(wait, runtime)
            with within(kit, "the retry of a failed execution"):
                await retried.wait()
                await accepted.wait()
            await runtime.stop()
            with within(kit, "the answers to what a stopping runtime waits for"):
                await wait_for_condition(lambda: len(results) == 2, kit.timeout)
            errors = [result.error for result in results]
            assert errors == [None, None], f"what was delayed when life {life} ended: {errors}"
            await runtime.start()


async def _waits(runtime: Runtime) -> bool:
    return (await runtime.stats()).waiting == 1
