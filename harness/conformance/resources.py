"""RES: limits hold, counters are true, and nobody's idle session stays for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from am2z import (
    BusinessError,
    ConfigurationError,
    Context,
    ExecutionHandle,
    NetworkError,
    ProcessorResult,
    QueueStats,
    ResourceError,
    ResourceLimits,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    SessionStoppedError,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import CLOCK_GRAIN, Gate, flaky, increment, make, within
from harness.conformance._watching import monitor_of
from harness.conformance.locks import *  # noqa: F403 - rules of this group in a file of their own
from harness.kit import Kit
from harness.limits import TEST_RESOURCE_LIMITS
from harness.processors import create_delay_processor
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

ONE_AT_A_TIME = RuntimeConfig(concurrency=1)


async def _refuse(_state: TestState, _ctx: Context) -> TestState:
    raise BusinessError("refused")


refuse = make("refuse", _refuse)
_KINDS = ("waiting", "active", "completed")
MANY = 12


@rule("RES-001")
async def test_monitor_begins_with_the_limits_that_were_given(kit: Kit) -> None:
    async with kit.runtime(limits=TEST_RESOURCE_LIMITS) as runtime:
        stats = monitor_of(runtime).resource_stats()
    assert (stats.connections.max, stats.memory.total) == (10, 100)
    assert (stats.queues.max_size, stats.queues.largest_queue) == (0, None)
    assert (stats.sessions.active, stats.sessions.oldest) == (0, None)
    for wrong in (
        {"max_connections": 0},
        {"max_queue_size": -1},
        {"max_memory_mb": 0},
        {"session_ttl": 0},
        {"memory_threshold": 1.1},
        {"connection_threshold": 0},
    ):
        with pytest.raises(ConfigurationError):
            ResourceLimits(**wrong)


@rule("RES-002")
async def test_connections_are_counted_and_limited(kit: Kit) -> None:
    limits = ResourceLimits(max_connections=30, max_memory_mb=float("inf"))
    async with kit.runtime(limits=limits) as runtime:
        monitor = monitor_of(runtime)
        # No checkpoint from here on: the runtime's own connections stay as they are.
        before = monitor.resource_stats().connections.active
        for _ in range(before, 30):
            monitor.register_connection()
        assert monitor.resource_stats().connections.active == 30
        assert monitor.resource_stats().connections.percentage == 1.0
        monitor.check_resource_limits()
        monitor.register_connection()
        with pytest.raises(ResourceError) as refused:
            monitor.check_resource_limits()
        assert refused.value.resource == "connections"
        assert (refused.value.limit, refused.value.current) == (30, 31)
        for _ in range(before, 31):
            monitor.unregister_connection()
        monitor.check_resource_limits()
        assert monitor.resource_stats().connections.active == before


@rule("RES-003")
async def test_sessions_are_registered_once_and_leave_for_good(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        monitor = monitor_of(runtime)
        for session_id in ("a", "b", "a"):
            monitor.register_session(session_id)
        assert monitor.resource_stats().sessions.active == 2
        for session_id in ("a", "a", "nobody"):
            monitor.unregister_session(session_id)
        assert monitor.resource_stats().sessions.active == 1
        monitor.unregister_session("b")
        assert monitor.resource_stats().sessions.active == 0


@rule("RES-004")
async def test_sizes_of_queues_are_known_and_the_largest_is_named(kit: Kit) -> None:
    async with kit.runtime(limits=TEST_RESOURCE_LIMITS) as runtime:
        monitor = monitor_of(runtime)
        for name, size in (("resize", 3), ("price", 5), ("resize", 4)):
            monitor.update_queue_size(name, size)
        queues = monitor.resource_stats().queues
        assert (queues.total, queues.max_size) == (2, 5)
        assert queues.largest_queue is not None
        assert (queues.largest_queue.name, queues.largest_queue.size) == ("price", 5)
        monitor.update_queue_size("price", 0)
        largest = monitor.resource_stats().queues.largest_queue
        assert largest is not None
        assert (largest.name, largest.size) == ("resize", 4)


@rule("RES-005")
async def test_memory_is_that_of_the_process(kit: Kit) -> None:
    async with kit.runtime(limits=ResourceLimits(max_memory_mb=4096)) as runtime:
        memory = monitor_of(runtime).resource_stats().memory
    assert 1 < memory.used < 4096, "not the resident memory of this process in MB"
    assert memory.total == 4096
    assert memory.percentage == pytest.approx(memory.used / 4096)


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
        waiting = (await runtime.queue_stats())["gate"].waiting
        sessions = await runtime.active_sessions()
        gate.open()
        results = [await handle.result() for handle in handles + elsewhere]
        later = await runtime.execute(gate.processor, TestState())
    await _hand_over_together(kit)
    assert isinstance(refused.error, ResourceError)
    assert (refused.error.resource, refused.error.limit) == ("queue", 2)
    assert refused.error.current == 2
    assert refused.state.count == 7
    assert (waiting, sessions) == (2, []), "refused work left something behind"
    assert all(result.success for result in results), "a full queue is no other queue's business"
    assert later.success
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


@rule("RES-007")
async def test_oldest_session_is_the_one_that_came_first(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        monitor = monitor_of(runtime)
        for session_id in ("first", "second", "third"):
            monitor.register_session(session_id)
            await trio.sleep(0.002)
        monitor.register_session("first")
        oldest = monitor.resource_stats().sessions.oldest
        assert oldest is not None
        assert oldest.session_id == "first"
        assert oldest.age >= 0.006 - CLOCK_GRAIN
        monitor.unregister_session("first")
        oldest = monitor.resource_stats().sessions.oldest
        assert oldest is not None
        assert oldest.session_id == "second"


@rule("RES-008")
async def test_reset_forgets_every_count(kit: Kit) -> None:
    async with kit.runtime(limits=ResourceLimits(max_queue_size=5)) as runtime:
        monitor = monitor_of(runtime)
        monitor.register_connection()
        monitor.register_session("a")
        monitor.update_queue_size("resize", 9)
        with pytest.raises(ResourceError):
            monitor.check_resource_limits()
        monitor.reset()
        stats = monitor.resource_stats()
        monitor.check_resource_limits()
    assert stats.connections.active == stats.sessions.active == stats.queues.total == 0
    assert stats.queues.largest_queue is None
    assert stats.sessions.oldest is None


@rule("RES-009")
async def test_connections_of_a_runtime_are_gone_when_it_is_left(kit: Kit) -> None:
    monitors = []
    for _ in range(2):
        async with kit.runtime(increment) as runtime:
            await runtime.execute_many(increment, [TestState()] * 20)
            monitors.append(monitor_of(runtime))
            connections = monitors[-1].resource_stats().connections
            assert 0 <= connections.active <= connections.max
    assert [one.resource_stats().connections.active for one in monitors] == [0, 0]


@rule("RES-010")
async def test_memory_above_its_threshold_is_warned_of_and_refuses_nothing(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        used = monitor_of(runtime).resource_stats().memory.used
    limits = ResourceLimits(max_memory_mb=used * 4, memory_threshold=0.05)
    async with kit.runtime(increment, limits=limits) as runtime:
        with TestEventCollector(runtime) as events:
            results = await runtime.execute_many(increment, [TestState()] * 3)
            warning = await events.wait_for_event("resource:warning")
            warnings = events.events("resource:warning")
    assert all(result.success for result in results)
    assert warning.data["resource"] == "memory"
    assert warning.data["threshold"] == 0.05
    assert 0.05 <= warning.data["percentage"] <= 1
    assert len(warnings) == 1, "one rise above the threshold is one warning"


@rule("RES-011")
async def test_resource_stats_are_a_complete_and_frozen_picture(kit: Kit) -> None:
    async with kit.runtime(limits=TEST_RESOURCE_LIMITS) as runtime:
        monitor = monitor_of(runtime)
        monitor.register_session("a")
        monitor.update_queue_size("resize", 3)
        picture = monitor.resource_stats()
        monitor.register_session("b")
        monitor.update_queue_size("resize", 4)
        monitor.register_connection()
        later = monitor.resource_stats()
        monitor.unregister_connection()
    assert (picture.sessions.active, later.sessions.active) == (1, 2)
    assert (picture.queues.max_size, later.queues.max_size) == (3, 4)
    assert later.connections.active == picture.connections.active + 1
    assert later.connections.percentage == pytest.approx(later.connections.active / 10)
    assert picture.memory.percentage == pytest.approx(picture.memory.used / 100)
    with pytest.raises(AttributeError):
        picture.sessions.active = 9  # type: ignore[misc]  # it is frozen


@rule("RES-012")
async def test_monitor_follows_the_sessions_of_its_runtime_through_a_restart(kit: Kit) -> None:
    def sessions(count: int) -> Callable[[], bool]:
        return lambda: monitor.resource_stats().sessions.active == count

    async with kit.runtime(increment) as runtime:
        monitor = monitor_of(runtime)
        for session_id in ("a", "b"):
            await runtime.execute(increment, TestState(), session_id)
        await wait_for_condition(sessions(2), message="two registered sessions")
        await runtime.stop_session("a")
        await wait_for_condition(sessions(1), message="one registered session")
        await runtime.stop()
        await runtime.start()
        for session_id in ("b", "c"):
            await runtime.execute(increment, TestState(), session_id)
        await wait_for_condition(sessions(2), message="two registered sessions after the restart")
        oldest = monitor.resource_stats().sessions.oldest
        assert oldest is not None
        assert oldest.session_id == "b"
        await runtime.clean_all_sessions()
        await wait_for_condition(sessions(0), message="no registered session")


@rule("RES-013")
async def test_resources_of_concurrent_work_are_counted_truly(kit: Kit) -> None:
    gate = Gate()

    def sessions() -> int:
        return monitor.resource_stats().sessions.active

    async with kit.runtime(gate.processor) as runtime:
        monitor = monitor_of(runtime)
        names = [f"customer-{number}" for number in range(10)]
        handles = [await runtime.submit(gate.processor, TestState(), name) for name in names * 2]
        await wait_for_condition(lambda: len(gate.runs) == 20, message="20 executions to begin")
        await wait_for_condition(lambda: sessions() == 10, message="10 registered sessions")
        gate.open()
        for handle in handles:
            await handle.result()
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(runtime.stop_session, name)
        await wait_for_condition(lambda: sessions() == 0, message="no registered session")


@rule("RES-014")
async def test_waiting_and_active_work_is_counted_while_it_waits_and_runs(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor, increment, config=ONE_AT_A_TIME) as runtime:
        handles = [await runtime.submit(gate.processor, TestState(), "a")]
        await gate.started.wait()
        handles += [await runtime.submit(gate.processor, TestState(), "a") for _ in range(2)]
        during = await runtime.queue_stats()
        of_session = await runtime.session_stats("a")
        total = await runtime.stats()
        await wait_for_condition(
            lambda: _largest_queue(runtime) == ("gate", 2), message="the monitor to know of it"
        )
        gate.open()
        for handle in handles:
            await handle.result()
        after = await runtime.queue_stats()
        total_after = await runtime.stats()
    assert during["gate"] == of_session["gate"] == QueueStats(waiting=2, active=1)
    assert during["increment"] == QueueStats()
    assert (total.waiting, total.active, total.completed) == (2, 1, 0)
    assert after["gate"] == QueueStats(completed=3)
    assert (total_after.waiting, total_after.active, total_after.completed) == (0, 0, 3)
    async with kit.runtime(gate.processor) as runtime:  # each is counted as soon as it is accepted
        for number in range(1, 9):
            handles.append(await runtime.submit(gate.processor, TestState(), "a"))
            one, same = (await runtime.queue_stats())["gate"], await runtime.session_stats("a")
            counted = one.waiting + one.active + one.completed
            assert counted >= number, f"{one} after {number} were submitted"
            assert sum(getattr(same["gate"], kind) for kind in _KINDS) >= number, same
        for handle in handles[3:]:
            await handle.result()


def _largest_queue(runtime: Runtime) -> tuple[str, int] | None:
    largest = monitor_of(runtime).resource_stats().queues.largest_queue
    return None if largest is None else (largest.name, largest.size)


@rule("RES-015")
async def test_execution_in_its_back_off_is_counted_as_delayed(kit: Kit) -> None:
    policy = RetryPolicy(max_attempts=2, backoff=3600.0, max_backoff=3600.0)
    down = flaky("down", [NetworkError("down")], retry=policy)

    async def is_delayed() -> bool:
        return (await runtime.queue_stats())["down"] == QueueStats(delayed=1)

    async with kit.runtime(down) as runtime:
        handle = await runtime.submit(down, TestState(), "s")
        await wait_for_condition(is_delayed, message="one delayed execution and nothing else")
        assert await runtime.session_stats("s") == {"down": QueueStats(delayed=1)}
        await handle.cancel()
        after = (await runtime.queue_stats())["down"]
    assert (after.waiting, after.active, after.delayed, after.completed) == (0, 0, 0, 0)


@rule("RES-016")
async def test_execution_is_counted_once_however_many_attempts_it_took(kit: Kit) -> None:
    errors = [NetworkError("down")] * 2
    good = flaky("good", errors)
    bad = flaky("bad", errors, retry=RetryPolicy(max_attempts=2, backoff=0))
    async with kit.runtime(good, bad, refuse) as runtime:
        await runtime.execute_many([(one, TestState()) for one in (good, bad, refuse) * 2])
        queues = await runtime.queue_stats()
        total = await runtime.stats()
    assert queues["good"] == QueueStats(completed=2)
    assert queues["bad"] == queues["refuse"] == QueueStats(failed=2)
    assert (total.completed, total.failed, total.active, total.waiting) == (2, 4, 0, 0)


@rule("RES-017")
async def test_idle_session_is_stopped_after_its_ttl_and_not_before(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.05
    async with kit.runtime(increment, limits=ResourceLimits(session_ttl=ttl)) as runtime:
        with TestEventCollector(runtime) as events:
            if kit.virtual_time:  # elsewhere the first use may be longer ago than it should be
                await runtime.execute(increment, TestState(), "a")
                await trio.sleep(0.4 * ttl)
            started = trio.current_time()
            await runtime.execute(increment, TestState(), "a")  # from here on nobody uses it
            stopped = await events.wait_for_event("session:stopped")
            took = trio.current_time() - started
            assert stopped.session_id == "a"
            assert await runtime.active_sessions() == []
    assert took >= ttl - CLOCK_GRAIN
    assert took <= 2 * ttl or not kit.virtual_time


@rule("RES-018")
async def test_session_at_work_is_not_idle(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.05
    gate = Gate()
    limits = ResourceLimits(session_ttl=ttl)
    async with kit.runtime(gate.processor, increment, limits=limits) as runtime:
        with TestEventCollector(runtime) as events:
            handle = await runtime.submit(gate.processor, TestState(), "busy")
            await gate.started.wait()
            later = await runtime.submit(increment, TestState(), "later", delay=3600)
            await runtime.execute(increment, TestState(), "idle")
            stopped = await events.wait_for_event("session:stopped")
            still_active = await runtime.active_sessions()
            assert "later" in still_active, "a session whose work is to come was stopped"
            still_active.remove("later")
            await later.cancel()
            gate.open()
            result = await handle.result()
            if kit.virtual_time:
                await trio.sleep(ttl / 2)
                still_active += set(await runtime.active_sessions()) - {"later"}
    assert stopped.session_id == "idle"
    assert result.success, result.error
    assert set(still_active) == {"busy"}
    assert len(still_active) == (2 if kit.virtual_time else 1), "idle time began too early"


@rule("RES-019")
async def test_stopped_session_is_forgotten_after_its_ttl(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.05

    async def is_open() -> bool:
        result = await runtime.execute(increment, TestState(), "a")
        assert result.success or isinstance(result.error, SessionStoppedError)
        return result.success

    async with kit.runtime(increment, limits=ResourceLimits(session_ttl=ttl)) as runtime:
        started = trio.current_time()
        await runtime.stop_session("a")
        await wait_for_condition(is_open, message="the end of a stopped session's TTL")
        took = trio.current_time() - started
    assert took >= ttl - CLOCK_GRAIN
    async with kit.runtime(increment, limits=ResourceLimits(session_ttl=ttl)) as runtime:

        async def is_forgotten() -> bool:
            return not await runtime.state.exists("b")

        await runtime.execute(increment, TestState(), "b")
        await runtime.stop_session("b")
        await wait_for_condition(is_forgotten, message="the state of a stopped session to go")


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


@rule("RES-022")
async def test_housekeeping_never_breaks_a_runtime_that_is_stopping(kit: Kit) -> None:
    ttl = 0.05
    slow = create_delay_processor("slow", 4 * ttl)
    config = RuntimeConfig(metrics_interval=ttl / 10)
    limits = ResourceLimits(session_ttl=ttl)
    async with kit.runtime(increment, slow, config=config, limits=limits) as runtime:
        await runtime.execute(increment, TestState(), "idle")
        with TestEventCollector(runtime) as events:
            handle = await runtime.submit(slow, TestState(), "busy")
            await events.wait_for_event("processor:active")
        await runtime.stop()
        result = await handle.result()
        await runtime.start()
        assert (await runtime.execute(increment, TestState())).success
    assert result.success, result.error


@rule("RES-028")
async def test_work_that_takes_longer_than_a_lease_runs_once(kit: Kit) -> None:
    lease = kit.timeout / 4
    runs: list[int] = []

    async def work(state: TestState, _ctx: Context) -> TestState:
        runs.append(state.count)
        await trio.sleep(1.6 * lease)
        return state

    working = make("working", work)
    config = RuntimeConfig(lease=lease, max_deliveries=1)
    for number in range(3):
        async with kit.runtime(working, config=config) as runtime:
            result = await runtime.execute(working, TestState(count=number))
        # A process that the machine stops for longer than a lease may lose one, but not each time.
        if result.success and runs.count(number) == 1:
            return
    raise AssertionError(f"a lease ended while its worker was at work: {runs}, {result.error!r}")


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
