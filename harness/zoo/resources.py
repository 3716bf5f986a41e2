"""Mutants whose monitor counts wrongly, or does not hold limits (RES)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from am2z import limits
from am2z.base import BaseRuntime
from am2z.limits import ResourceStats
from am2z.local.engine import Engine
from am2z.queue.runtime import QueueRuntime
from am2z.resources import ResourceMonitor
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


# --- limits


@mutant("limits-ignored", rule="RES-001")
@contextmanager
def limits_ignored() -> Iterator[None]:
    """A runtime goes by the limits that it has where none are given."""
    with edit(BaseRuntime, "__init__", "ResourceMonitor(self.limits,", "ResourceMonitor("):
        yield


@mutant("bad-limits-accepted", rule="RES-001")
@contextmanager
def bad_limits_accepted() -> Iterator[None]:
    """A session_ttl may be anything."""
    with patch(limits, "check_duration", lambda *_: None):
        yield


@mutant("connection-limit-off-by-one", rule="RES-002")
@contextmanager
def connection_limit_off_by_one() -> Iterator[None]:
    """The last connection that is allowed is refused."""
    right = "if connections > limits.max_connections:"
    with edit(ResourceMonitor, "check_process", right, right.replace(">", ">=")):
        yield


@mutant("queue-limit-ignored", rule="RES-006")
@contextmanager
def queue_limit_ignored() -> Iterator[None]:
    """A queue takes whatever comes."""
    with patch(ResourceMonitor, "check_queue", lambda *_, **__: None):
        yield


@mutant("queue-limit-off-by-one", rule="RES-006")
@contextmanager
def queue_limit_off_by_one() -> Iterator[None]:
    """A queue takes one less than max_queue_size."""
    right = "waiting + adding > self.limits.max_queue_size"
    with edit(ResourceMonitor, "check_queue", right, right.replace(">", ">=")):
        yield


@mutant("refused-work-queued", rule="RES-006", base="queue")
@contextmanager
def refused_work_queued() -> Iterator[None]:
    """Work that a full queue refuses is in it all the same."""
    right = "if most ~= '0' and n >= tonumber(most) then return {'full', n} end"
    with (
        script("enqueue", right, "local full = most ~= '0' and n >= tonumber(most)"),
        script("enqueue", "return {'ok', n + 1}", "return {full and 'full' or 'ok', n + 1}"),
    ):
        yield


@mutant("refused-work-opens-session", rule="RES-020")
@contextmanager
def refused_work_opens_session() -> Iterator[None]:
    """The session of work is opened before anybody asks whether the work is taken."""
    right = Engine.begin

    def begin(self: Engine, request: Any, **place: Any) -> Any:
        if request.is_named:
            self._sessions.open(request.session_id)
        return right(self, request, **place)

    with patch(Engine, "begin", begin):
        yield


@mutant("memory-limit-ignored", rule="RES-020")
@contextmanager
def memory_limit_ignored() -> Iterator[None]:
    """Work is taken however much memory the process uses."""
    right = "if memory > limits.max_memory_mb:"
    with edit(ResourceMonitor, "check_process", right, "if False:"):
        yield


# --- warnings


@mutant("resource-warning-missing", rule="RES-010")
@contextmanager
def resource_warning_missing() -> Iterator[None]:
    """Nobody is warned before a limit is reached."""
    with patch(ResourceMonitor, "_watch", lambda *_: None):
        yield


@mutant("warning-for-each-check", rule="RES-021")
@contextmanager
def warning_for_each_check() -> Iterator[None]:
    """Each check warns anew of what stays above its threshold."""
    remember, passed = "self._above.add(resource)", "self._passed_at = self._sampled_at"
    forget = edit(ResourceMonitor, "_watch", remember, "pass")
    with forget, edit(ResourceMonitor, "check_process", passed, "pass"):
        yield


@mutant("warning-refuses-work", rule="RES-010")
@contextmanager
def warning_refuses_work() -> Iterator[None]:
    """Work is refused from the threshold of the memory on."""
    right = "if memory > limits.max_memory_mb:"
    wrong = "if memory > limits.max_memory_mb * limits.memory_threshold:"
    with edit(ResourceMonitor, "check_process", right, wrong):
        yield


# --- counts


@mutant("connection-count-leak", rule="RES-002")
@contextmanager
def connection_count_leak() -> Iterator[None]:
    """A connection that was closed is counted on."""
    with patch(ResourceMonitor, "unregister_connection", lambda _self: None):
        yield


@mutant("own-connections-leak", rule="RES-009", base="queue")
@contextmanager
def own_connections_leak() -> Iterator[None]:
    """A runtime counts the connections that it opens, and not those that it closes."""
    right = QueueRuntime._count_connection

    def count(self: QueueRuntime, change: int) -> None:
        if change > 0:
            right(self, change)

    with patch(QueueRuntime, "_count_connection", count):
        yield


@mutant("session-counted-twice", rule="RES-003")
@contextmanager
def session_counted_twice() -> Iterator[None]:
    """A session that is registered again counts again, until it is unregistered."""
    register, unregister = ResourceMonitor.register_session, ResourceMonitor.unregister_session
    again = "%s, registered again"

    def register_session(self: ResourceMonitor, session_id: str) -> None:
        register(self, again % session_id if session_id in self._started else session_id)

    def unregister_session(self: ResourceMonitor, session_id: str) -> None:
        unregister(self, session_id)
        unregister(self, again % session_id)

    with (
        patch(ResourceMonitor, "register_session", register_session),
        patch(ResourceMonitor, "unregister_session", unregister_session),
    ):
        yield


@mutant("registered-session-leak", rule="RES-003")
@contextmanager
def registered_session_leak() -> Iterator[None]:
    """A session that ended is counted on."""
    with patch(ResourceMonitor, "unregister_session", lambda *_: None):
        yield


@mutant("queue-size-only-grows", rule="RES-004")
@contextmanager
def queue_size_only_grows() -> Iterator[None]:
    """A queue keeps the largest size that it ever had."""
    right = "self._queues[name] = size"
    wrong = "self._queues[name] = max(size, self._queues.get(name, 0))"
    with edit(ResourceMonitor, "update_queue_size", right, wrong):
        yield


@mutant("largest-queue-is-last", rule="RES-004")
@contextmanager
def largest_queue_is_last() -> Iterator[None]:
    """The queue that came last passes for the largest."""
    right = "max(self._queues, key=self._queues.__getitem__, default=None)"
    with edit(ResourceMonitor, "resource_stats", right, "next(reversed(self._queues), None)"):
        yield


@mutant("memory-in-bytes", rule="RES-005")
@contextmanager
def memory_in_bytes() -> Iterator[None]:
    """The memory in use is told in bytes."""
    right = ResourceMonitor._memory_mb
    with patch(ResourceMonitor, "_memory_mb", lambda self: right(self) * 1_048_576):
        yield


@mutant("percentage-of-hundred", rule="RES-005")
@contextmanager
def percentage_of_hundred() -> Iterator[None]:
    """A full memory is told as 100, not as 1."""
    right, share = ResourceMonitor.resource_stats, msgspec.structs.replace

    def resource_stats(self: ResourceMonitor) -> ResourceStats:
        stats = right(self)
        memory = share(stats.memory, percentage=stats.memory.percentage * 100)
        return share(stats, memory=memory)

    with patch(ResourceMonitor, "resource_stats", resource_stats):
        yield


@mutant("oldest-session-is-newest", rule="RES-007")
@contextmanager
def oldest_session_is_newest() -> Iterator[None]:
    """The session that came last passes for the oldest."""
    right = "next(iter(self._started), None)"
    with edit(ResourceMonitor, "resource_stats", right, "next(reversed(self._started), None)"):
        yield


@mutant("registration-renewed", rule="RES-007")
@contextmanager
def registration_renewed() -> Iterator[None]:
    """A session that is registered again begins its life again."""
    right = "self._started.setdefault(session_id, moment)"
    wrong = "self._started.pop(session_id, None)\n    self._started[session_id] = moment"
    with edit(ResourceMonitor, "register_session", right, wrong):
        yield


@mutant("reset-forgets-a-counter", rule="RES-008")
@contextmanager
def reset_forgets_a_counter() -> Iterator[None]:
    """reset() leaves a queue over its limit."""
    right = "self._overfull: dict[str, int] = {}"
    wrong = "self._overfull: dict[str, int] = vars(self).get('_overfull', {})"
    with edit(ResourceMonitor, "reset", right, wrong):
        yield


@mutant("stats-are-live", rule="RES-011")
@contextmanager
def stats_are_live() -> Iterator[None]:
    """What resource_stats() answers shows the counts of the moment in which one looks at it."""
    right = ResourceMonitor.resource_stats

    class Live:
        def __init__(self, monitor: ResourceMonitor) -> None:
            self._monitor = monitor

        def __getattr__(self, name: str) -> Any:
            return getattr(right(self._monitor), name)

    with patch(ResourceMonitor, "resource_stats", lambda self: Live(self)):  # noqa: PLW0108 - a class is no method
        yield
