"""ResourceMonitor counts truly, warns once for each crossing and refuses what is over a limit."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from am2z.errors import ResourceError
from am2z.resources import ResourceLimits, ResourceMonitor, process_memory_mb

LIMITS = ResourceLimits(max_connections=10, max_memory_mb=100, max_queue_size=5, session_ttl=60)


class World:
    """A clock and a memory that tests move, a monitor that looks at them, and its warnings."""

    def __init__(self, limits: ResourceLimits = LIMITS) -> None:
        self.time = 0.0
        self.memory = 10.0
        self.samples = 0
        self.warnings: list[tuple[str, float, float]] = []
        self.monitor = ResourceMonitor(
            limits,
            on_warning=lambda *warning: self.warnings.append(warning),
            sample_memory=self.sample,
            clock=lambda: self.time,
        )

    def sample(self) -> float:
        self.samples += 1
        return self.memory

    def use_memory(self, mb: float) -> None:
        self.memory = mb
        self.time += 1

    def connect(self, number: int) -> None:
        for _ in range(number):
            self.monitor.register_connection()


@pytest.fixture
def world() -> World:
    return World()


def refused(call: Callable[[], None]) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        call()
    assert caught.value.retryable
    return caught.value


# Limits


def test_at_a_limit_work_goes_on_and_over_it_work_is_refused(world: World) -> None:
    world.connect(10)
    world.use_memory(100)
    world.monitor.update_queue_size("q", 5)
    world.monitor.check_resource_limits()

    world.connect(1)
    error = refused(world.monitor.check_resource_limits)
    assert (error.resource, error.limit, error.current) == ("connections", 10, 11)
    assert "raise max_connections" in error.message

    world.use_memory(101)
    error = refused(world.monitor.check_resource_limits)
    assert (error.resource, error.limit, error.current) == ("memory", 100, 101)
    assert "raise max_memory_mb" in error.message


def test_work_is_admitted_again_once_the_memory_is_free(world: World) -> None:
    world.use_memory(500)
    refused(world.monitor.check_resource_limits)
    world.use_memory(50)
    world.monitor.check_resource_limits()


def test_an_overfull_queue_is_over_the_limits_but_hurts_only_itself(world: World) -> None:
    world.monitor.update_queue_size("full", 6)
    error = refused(world.monitor.check_resource_limits)
    assert (error.resource, error.limit, error.current) == ("queue", 5, 6)
    assert error.context == {"queue": "full"}
    world.monitor.check_process()
    world.monitor.check_queue("other")

    world.monitor.update_queue_size("full", 5)
    world.monitor.check_resource_limits()


def test_a_forgotten_queue_is_over_no_limit_and_in_no_statistics(world: World) -> None:
    world.monitor.update_queue_size("full", 6)
    world.monitor.forget_queue("full")
    world.monitor.forget_queue("never there")
    world.monitor.check_resource_limits()
    assert world.monitor.resource_stats().queues.total == 0


def test_a_queue_admits_work_up_to_its_size_and_not_beyond(world: World) -> None:
    check = world.monitor.check_queue
    check("q", 4)
    error = refused(lambda: check("q", 5))
    assert (error.resource, error.limit, error.current) == ("queue", 5, 5)
    assert "raise max_queue_size" in error.message
    check("q", 0, adding=5)
    refused(lambda: check("q", 0, adding=6))


def test_without_a_size_a_queue_is_judged_by_what_was_told_last(world: World) -> None:
    world.monitor.check_queue("q")
    world.monitor.update_queue_size("q", 5)
    refused(lambda: world.monitor.check_queue("q"))
    world.monitor.check_queue("q", 1)


# Memory


def test_the_memory_is_looked_up_once_each_half_second_however_often_it_is_asked(
    world: World,
) -> None:
    for _ in range(100):
        world.monitor.check_resource_limits()
        world.monitor.resource_stats()
    assert world.samples == 1
    world.time = 0.49
    world.monitor.check_process()
    assert world.samples == 1
    world.time = 0.5
    world.monitor.check_process()
    assert world.samples == 2


def test_a_clock_that_begins_anew_does_not_keep_an_old_memory(world: World) -> None:
    world.time = 1_000_000.0
    world.monitor.check_process()
    world.time, world.memory = 3.0, 200.0
    assert refused(world.monitor.check_process).resource == "memory"


def test_by_default_the_memory_is_that_of_this_process_on_trios_clock() -> None:
    async def main() -> None:
        monitor = ResourceMonitor(ResourceLimits(max_memory_mb=1_000_000))
        monitor.register_session("s")
        await trio.sleep(10)
        stats = monitor.resource_stats()
        assert stats.sessions.oldest is not None
        assert stats.sessions.oldest.age == pytest.approx(10)
        assert 1 < stats.memory.used < 100_000
        assert stats.memory.used == pytest.approx(process_memory_mb(), rel=0.5)

    trio.run(main, clock=MockClock(autojump_threshold=0))


# Warnings


def test_a_threshold_warns_once_for_each_crossing_upward(world: World) -> None:
    for memory in (79, 80, 85, 99, 79, 90):
        world.use_memory(memory)
        world.monitor.check_resource_limits()
        world.monitor.check_resource_limits()
    assert world.warnings == [("memory", 0.8, 0.8), ("memory", 0.9, 0.8)]


def test_connections_warn_once_and_again_after_they_fell_between_two_checks(world: World) -> None:
    world.connect(9)
    world.monitor.check_resource_limits()
    world.connect(1)
    world.monitor.check_resource_limits()
    assert world.warnings == [("connections", 0.9, 0.9)]
    world.monitor.unregister_connection()
    world.monitor.check_resource_limits()
    assert len(world.warnings) == 1
    world.monitor.unregister_connection()
    world.connect(2)
    world.monitor.check_resource_limits()
    assert world.warnings[1:] == [("connections", 1.0, 0.9)]


def test_a_jump_over_the_limit_warns_of_everything_before_it_refuses(world: World) -> None:
    world.use_memory(150)
    world.connect(20)
    refused(world.monitor.check_resource_limits)
    assert [resource for resource, _, _ in world.warnings] == ["memory", "connections"]


def test_a_warning_is_logged_also_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    monitor = ResourceMonitor(LIMITS, sample_memory=lambda: 85.0, clock=lambda: 0.0)
    monitor.check_resource_limits()
    monitor.check_resource_limits()
    assert caplog.messages == ["memory: 85 % of the limit in use (warning at 80 %)"]
    assert caplog.records[0].name == "am2z.resources"


def test_a_listener_that_raises_is_logged_and_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def listener(*_: object) -> None:
        raise RuntimeError("listener broke")

    monitor = ResourceMonitor(
        LIMITS,
        on_warning=listener,
        logger=logging.getLogger("mine"),
        sample_memory=lambda: 85.0,
        clock=lambda: 0.0,
    )
    monitor.check_resource_limits()
    assert caplog.messages[1] == "the on_warning callback failed"
    assert {record.name for record in caplog.records} == {"mine"}


@given(st.lists(st.integers(0, 120), max_size=30))
def test_the_number_of_warnings_is_the_number_of_crossings(memories: list[int]) -> None:
    world = World()
    crossings, above = 0, False
    for memory in memories:
        world.use_memory(memory)
        try:
            world.monitor.check_resource_limits()
            assert memory <= 100
        except ResourceError:
            assert memory > 100
        crossings += memory >= 80 and not above
        above = memory >= 80
        assert len(world.warnings) == crossings


# Counts


@given(st.lists(st.booleans()))
def test_the_connection_count_never_falls_below_zero(steps: list[bool]) -> None:
    monitor, expected = World().monitor, 0
    for opened in steps:
        (monitor.register_connection if opened else monitor.unregister_connection)()
        expected = expected + 1 if opened else max(0, expected - 1)
        assert monitor.resource_stats().connections.active == expected


def test_a_session_expires_only_after_it_was_idle_for_longer_than_its_ttl(world: World) -> None:
    world.monitor.register_session("a")
    world.monitor.register_session("b")
    world.time = 30
    world.monitor.touch_session("b")
    world.time = 60
    assert world.monitor.expired_sessions() == []
    world.time = 60.1
    assert world.monitor.expired_sessions() == ["a"]
    world.time = 90.1
    assert world.monitor.expired_sessions() == ["a", "b"]
    world.monitor.unregister_session("a")
    world.monitor.unregister_session("a")
    world.monitor.register_session("b")
    assert world.monitor.expired_sessions() == []


def test_touching_a_session_that_ended_does_not_bring_it_back(world: World) -> None:
    world.monitor.register_session("a")
    world.monitor.unregister_session("a")
    world.monitor.touch_session("a")
    assert world.monitor.resource_stats().sessions.active == 0


def test_the_oldest_session_is_the_one_registered_first_however_busy_it_is(world: World) -> None:
    world.monitor.register_session("first")
    world.time = 5
    world.monitor.register_session("second")
    world.monitor.register_session("first")
    world.time = 7
    sessions = world.monitor.resource_stats().sessions
    assert sessions.active == 2
    assert sessions.oldest is not None
    assert (sessions.oldest.session_id, sessions.oldest.age) == ("first", 7.0)


def test_the_statistics_of_a_monitor_that_saw_nothing(world: World) -> None:
    assert msgspec.to_builtins(world.monitor.resource_stats()) == {
        "memory": {"used": 10.0, "total": 100, "percentage": 0.1},
        "connections": {"active": 0, "max": 10, "percentage": 0.0},
        "queues": {"total": 0, "max_size": 0, "largest_queue": None},
        "sessions": {"active": 0, "oldest": None},
    }


def test_the_statistics_are_a_frozen_picture_of_one_moment(world: World) -> None:
    world.connect(2)
    world.monitor.register_session("s")
    world.monitor.update_queue_size("small", 1)
    world.monitor.update_queue_size("large", 3)
    world.monitor.update_queue_size("large", 4)
    stats = world.monitor.resource_stats()
    expected: dict[str, Any] = {
        "memory": {"used": 10.0, "total": 100, "percentage": 0.1},
        "connections": {"active": 2, "max": 10, "percentage": 0.2},
        "queues": {"total": 2, "max_size": 4, "largest_queue": {"name": "large", "size": 4}},
        "sessions": {"active": 1, "oldest": {"session_id": "s", "age": 0.0}},
    }
    assert msgspec.to_builtins(stats) == expected
    world.monitor.reset()
    world.time = 9
    assert msgspec.to_builtins(stats) == expected
    with pytest.raises(AttributeError):
        stats.connections.active = 3  # type: ignore[misc]


def test_reset_forgets_everything_and_can_warn_again(world: World) -> None:
    world.connect(9)
    world.monitor.register_session("s")
    world.monitor.update_queue_size("q", 9)
    world.monitor.check_process()
    world.monitor.reset()
    world.monitor.check_resource_limits()
    stats = world.monitor.resource_stats()
    assert (stats.connections.active, stats.queues.total, stats.sessions.active) == (0, 0, 0)
    world.connect(9)
    world.monitor.check_process()
    assert len(world.warnings) == 2
    assert world.samples == 2


def test_two_monitors_share_nothing() -> None:
    one, other = ResourceMonitor(), ResourceMonitor()
    one.register_connection()
    assert other.resource_stats().connections.active == 0
