"""What the monitor counts and shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import trio

from am2z import (
    ConfigurationError,
    ResourceError,
    ResourceLimits,
)
from harness.conformance._processors import CLOCK_GRAIN, Gate, increment
from harness.conformance._watching import monitor_of
from harness.kit import Kit
from harness.limits import TEST_RESOURCE_LIMITS
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("RES-001")
async def test_monitor_begins_with_the_limits_that_were_given(kit: Kit) -> None:
    async with kit.runtime(limits=TEST_RESOURCE_LIMITS) as runtime:
        stats = monitor_of(runtime).resource_stats()
    assert (stats.connections.max, stats.memory.total) == (10, 100)
    assert (stats.queues.max_size, stats.queues.largest_queue) == (0, None)
    assert (stats.sessions.active, stats.sessions.oldest) == (0, None)
    nobody = ("1", None, True, float("nan"))
    for field, values in (
        ("max_connections", (0, -1, 1.5, float("inf"))),
        ("max_queue_size", (0, -1, 1.5, float("inf"))),
        ("max_memory_mb", (0, -1)),
        ("session_ttl", (0, -1, float("inf"))),
        ("memory_threshold", (0, -0.1, 1.1)),
        ("connection_threshold", (0, -0.1, 1.1)),
    ):
        for wrong in (*values, *nobody):
            with pytest.raises(ConfigurationError):
                ResourceLimits(**{field: cast("Any", wrong)})
    assert ResourceLimits(memory_threshold=1, connection_threshold=1.0).max_queue_size == 10_000


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
