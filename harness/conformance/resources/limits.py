"""What is refused or warned of at a limit, and what is taken all the same."""

from __future__ import annotations

import logging

import trio

from am2z import (
    Context,
    ExecutionHandle,
    NetworkError,
    ProcessorResult,
    ResourceError,
    ResourceLimits,
    RetryPolicy,
    Runtime,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import Gate, flaky, increment, make, within
from harness.conformance._watching import monitor_of, recorded
from harness.conformance.resources._shared import ONE_AT_A_TIME
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

MANY = 12


@rule("RES-006")
async def test_work_beyond_the_size_of_its_queue_is_refused(kit: Kit) -> None:
    gate = Gate()
    limits = ResourceLimits(max_queue_size=2)
    async with kit.runtime(
        gate.processor, increment, config=ONE_AT_A_TIME, limits=limits
    ) as runtime:
        handles = [await runtime.submit(gate.processor, TestState())]
        await gate.started.wait()
        handles += [await runtime.submit(gate.processor, TestState()) for _ in range(2)]
        elsewhere = [await runtime.submit(increment, TestState()) for _ in range(2)]
        with within(kit, "the refusal of work over the limit"):
            refused = await runtime.execute(gate.processor, TestState(count=7), "new")
            later = await runtime.submit(gate.processor, TestState(), "new", delay=3600.0)
            refused_later = await later.result()
        waiting = (await runtime.queue_stats())["gate"].waiting
        sessions = await runtime.active_sessions()
        gate.open()
        results = [await handle.result() for handle in handles + elsewhere]
        after = await runtime.execute(gate.processor, TestState())
    await _hand_over_together(kit)
    assert isinstance(refused.error, ResourceError)
    assert (refused.error.resource, refused.error.limit) == ("queue", 2)
    assert refused.error.current == 2
    assert refused.error.context["queue"] == "gate"
    assert refused.state.count == 7
    assert (waiting, sessions) == (2, []), "refused work left something behind"
    assert all(result.success for result in results), "a full queue is no other queue's business"
    assert isinstance(refused_later.error, ResourceError), "delayed work is new, too"
    assert after.success
    assert len(gate.runs) == 4, "refused work has run"


async def _hand_over_together(kit: Kit) -> None:
    """What comes at the same moment counts against each other, too."""
    gate, handles = Gate(), list[ExecutionHandle[TestState]]()
    limits = ResourceLimits(max_queue_size=2)

    async def submit() -> None:
        handles.append(await runtime.submit(gate.processor, TestState()))

    async with kit.runtime(gate.processor, config=ONE_AT_A_TIME, limits=limits) as runtime:
        await submit()
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(submit)
        waiting = (await runtime.queue_stats())["gate"].waiting
        many = await runtime.execute_many(gate.processor, [TestState()] * 3)
        gate.open()
        results = [await handle.result() for handle in handles]
    assert waiting == 2, f"{waiting} wait of six that came together, where 2 may"
    assert sum(result.success for result in results) == len(gate.runs) == 3
    errors = [result.error for result in (*results, *many) if not result.success]
    assert len(errors) == 7
    assert all(isinstance(error, ResourceError) for error in errors), errors


@rule("RES-010")
async def test_memory_above_its_threshold_is_warned_of_and_refuses_nothing(kit: Kit) -> None:
    records: list[logging.LogRecord] = []
    async with kit.runtime() as runtime:
        used = monitor_of(runtime).resource_stats().memory.used
    limits = ResourceLimits(max_memory_mb=used * 4, memory_threshold=0.05)
    async with kit.runtime(increment, limits=limits) as runtime:
        with recorded(records), TestEventCollector(runtime) as events:
            results = await runtime.execute_many(increment, [TestState()] * 3)
            warning = await events.wait_for_event("resource:warning")
            warnings = events.events("resource:warning")
            await runtime.stop()
            await runtime.start()  # a new life, in which nobody was warned
            assert (await runtime.execute(increment, TestState())).success
            await events.wait_for_event("resource:warning", count=2)
    assert all(result.success for result in results)
    assert warning.data["resource"] == "memory"
    assert warning.data["threshold"] == 0.05
    assert 0.15 <= warning.data["percentage"] <= 1, "it is a quarter, or a little more"
    assert len(warnings) == 1, "one rise above the threshold is one warning"
    logged = [one.getMessage() for one in records if one.levelno >= logging.WARNING]
    assert any("memory" in line for line in logged), "that a threshold was reached is not logged"


@rule("RES-020")
async def test_work_is_refused_while_the_process_uses_too_much_memory(kit: Kit) -> None:
    runs: list[int] = []
    counted = flaky("counted", [], runs=runs)
    async with kit.runtime(counted, limits=ResourceLimits(max_memory_mb=1)) as runtime:
        result = await runtime.execute(counted, TestState(count=7), "a")
        submitted = await (await runtime.submit(counted, TestState())).result()
        sessions = await runtime.active_sessions()
    assert runs == []
    for refused in (result, submitted):
        assert isinstance(refused.error, ResourceError)
        assert (refused.error.resource, refused.error.limit) == ("memory", 1)
        assert refused.error.current is not None
        assert refused.error.current > 1
        assert refused.error.retryable
    assert result.state.count == 7
    assert sessions == []


@rule("RES-021")
async def test_connections_at_their_threshold_are_warned_of_once(kit: Kit) -> None:
    limits = ResourceLimits(
        max_connections=40, connection_threshold=0.5, max_memory_mb=float("inf")
    )
    async with kit.runtime(increment, limits=limits) as runtime:
        monitor = monitor_of(runtime)
        with TestEventCollector(runtime) as events:
            missing = 20 - monitor.resource_stats().connections.active
            for _ in range(missing):
                monitor.register_connection()
            try:
                for _ in range(3):
                    monitor.check_resource_limits()
                assert (await runtime.execute(increment, TestState())).success
                warning = await events.wait_for_event("resource:warning")
                once = len(events.events("resource:warning"))
                for change in (monitor.unregister_connection, monitor.register_connection):
                    for _ in range(missing):
                        change()
                    monitor.check_resource_limits()
                await events.wait_for_event("resource:warning", count=2)
            finally:
                for _ in range(missing):
                    monitor.unregister_connection()
    assert (warning.data["resource"], warning.data["threshold"]) == ("connections", 0.5)
    assert 0.5 <= warning.data["percentage"] <= 1, warning.data
    assert once == 1, "it was warned of again while it stayed there"


class _Workers:
    """Two processors that do what a state's message says, once their queues are full."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._begun, self._is_full = trio.Event(), trio.Event()
        policy = RetryPolicy(max_attempts=2, backoff=0.001)
        self.work, self.other = (
            make(name, self._run, retry=policy, timeout=600.0) for name in ("work", "other")
        )

    async def _run(self, state: TestState, ctx: Context) -> TestState:
        if state.message:
            self._begun.set()
            await self._is_full.wait()
        if state.message == "fail" and ctx.metadata.attempt == 1:
            raise NetworkError("down")
        for name in ("work", "other", "work") if state.message == "call" else ():
            (await ctx.call(name, TestState())).unwrap()
        return state.evolve(processed=True)

    async def begin(self, runtime: Runtime, message: str) -> ExecutionHandle[TestState]:
        self._begun, self._is_full = trio.Event(), trio.Event()
        handle = await runtime.submit(self.work, TestState(message=message))
        with within(self._kit, "the start of the first"):
            await self._begun.wait()
        return handle

    async def end(
        self, handles: list[ExecutionHandle[TestState]]
    ) -> list[ProcessorResult[TestState]]:
        self._is_full.set()
        with within(self._kit, "the end of work whose queue is full"):
            return [await handle.result() for handle in handles]


@rule("RES-031")
async def test_full_queue_takes_the_calls_and_attempts_of_its_own_work(kit: Kit) -> None:
    workers = _Workers(kit)
    both = workers.work, workers.other
    limits = ResourceLimits(max_queue_size=1)
    async with kit.runtime(*both, config=ONE_AT_A_TIME, limits=limits) as runtime:
        for message, attempts in (("call", 1), ("fail", 2)):
            handles = [await workers.begin(runtime, message)]
            handles += [await runtime.submit(one, TestState()) for one in both]
            refused = [await runtime.execute(one, TestState()) for one in both]
            results = await workers.end(handles)
            assert [type(one.error) for one in refused] == [ResourceError] * 2, "none is full"
            assert [one.error for one in results] == [None] * 3, f"{message} was refused"
            assert results[0].metadata.attempt == attempts
        delay = 0.05
        while not await _waits_beside_another(runtime, workers, delay):
            delay *= 4  # it was due before the other one was let in


async def _waits_beside_another(runtime: Runtime, workers: _Workers, delay: float) -> bool:
    """Let delayed work come due in a full queue; whether it was delayed for as long as it took."""
    handles, asked = [await workers.begin(runtime, "hold")], trio.current_time()
    handles += [await runtime.submit(workers.work, TestState(), delay=delay) for _ in range(MANY)]
    handles.append(await runtime.submit(workers.work, TestState()))
    was_delayed = trio.current_time() - asked < delay
    await trio.sleep(1.5 * delay)  # it is due, whatever the runtime does of that
    results = await workers.end(handles)
    assert not was_delayed or not any(one.error for one in results), "some was refused"
    return was_delayed
