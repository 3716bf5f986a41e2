"""Mutants that count wrongly, or do not hold limits (RES)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec

from am2z import limits
from am2z.base import BaseRuntime
from am2z.events import EventType
from am2z.limits import ResourceStats
from am2z.local.engine import Engine
from am2z.local.runtime import LocalRuntime
from am2z.local.sessions import SessionTable
from am2z.queue.runtime import QueueRuntime
from am2z.resources import ResourceMonitor
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


# --- the monitor: limits


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
    right = "if waiting >= max_queue then return {'full', waiting} end"
    with (
        script("enqueue", right, "full = waiting >= max_queue"),
        script(
            "enqueue",
            "local delay = tonumber(ARGV[5])",
            "local full, delay = false, tonumber(ARGV[5])",
        ),
        script("enqueue", "return {'ok', count}", "return {full and 'full' or 'ok', count}"),
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


# --- the monitor: warnings


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
    with edit(ResourceMonitor, "_watch", "self._above.add(resource)", "pass"):
        yield


@mutant("warning-refuses-work", rule="RES-010")
@contextmanager
def warning_refuses_work() -> Iterator[None]:
    """Work is refused from the threshold of the memory on."""
    right = "if memory > limits.max_memory_mb:"
    wrong = "if memory > limits.max_memory_mb * limits.memory_threshold:"
    with edit(ResourceMonitor, "check_process", right, wrong):
        yield


# --- the monitor: counts


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


# --- how a runtime feeds its monitor


@mutant("monitor-not-fed", rule="RES-012")
@contextmanager
def monitor_not_fed() -> Iterator[None]:
    """The monitor is never told of a session."""
    with edit(Engine, "begin", "self._resources.register_session(request.session_id)", "pass"):
        yield


@mutant("restart-loses-monitor", rule="RES-012")
@contextmanager
def restart_loses_monitor() -> Iterator[None]:
    """After a restart the runtime feeds a monitor that nobody knows."""
    right = LocalRuntime.stop

    async def stop(self: LocalRuntime) -> None:
        await right(self)
        self._work._resources = ResourceMonitor(self.limits)

    with patch(LocalRuntime, "stop", stop):
        yield


# --- how work is counted


@mutant("active-counted-as-waiting", rule="RES-014")
@contextmanager
def active_counted_as_waiting() -> Iterator[None]:
    """What runs is counted as waiting."""
    right = 'self._enter(execution, "active")'
    with edit(Engine, "_attempts", right, 'self._enter(execution, "waiting")'):
        yield


@mutant("stats-never-shrink", rule="RES-014", base="queue")
@contextmanager
def stats_never_shrink() -> Iterator[None]:
    """What waited is counted on when it runs, and what ran when it has ended."""
    with script("_count", "if from then call('HINCRBY', q, NAMES[from], '-1') end", ""):
        yield


@mutant("delayed-counted-as-active", rule="RES-015")
@contextmanager
def delayed_counted_as_active() -> Iterator[None]:
    """What waits for its next attempt is counted as running."""
    right = Engine._enter

    def enter(self: Engine, execution: Any, phase: Any) -> None:
        right(self, execution, "active" if phase == "delayed" else phase)

    with patch(Engine, "_enter", enter):
        yield


@mutant("delayed-leak", rule="RES-015", base="queue")
@contextmanager
def delayed_leak() -> Iterator[None]:
    """What was delayed is counted so for ever."""
    with script("_count", "if from then call(", "if from and from ~= 'y' then call("):
        yield


@mutant("attempts-counted-as-failures", rule="RES-016")
@contextmanager
def attempts_counted_as_failures() -> Iterator[None]:
    """Each failed attempt counts as a failed execution."""
    right = Engine._tell

    def tell(self: Engine, execution: Any, event: str, data: dict[str, Any]) -> None:
        self.failed[execution.request.name] += event == EventType.RETRYING
        right(self, execution, event, data)

    with patch(Engine, "_tell", tell):
        yield


@mutant("retry-leaks-active", rule="RES-016", base="queue")
@contextmanager
def retry_leaks_active() -> Iterator[None]:
    """Each attempt but the last is counted as running for ever."""
    with script("nack", "move(job.p, job.s, 'a', status)", "move(job.p, job.s, nil, status)"):
        yield


# --- idle sessions, stopped sessions


@mutant("session-ttl-ignored", rule="RES-017")
@contextmanager
def session_ttl_ignored() -> Iterator[None]:
    """An idle session is never stopped."""
    with patch(SessionTable, "idle", lambda _self: []):
        yield


@mutant("session-ttl-in-milliseconds", rule="RES-017")
@contextmanager
def session_ttl_in_milliseconds() -> Iterator[None]:
    """session_ttl is taken for milliseconds where idle sessions are looked for."""
    with edit(SessionTable, "idle", "now - self._ttl", "now - self._ttl / 1000"):
        yield


@mutant("ttl-stops-busy-session", rule="RES-018")
@contextmanager
def ttl_stops_busy_session() -> Iterator[None]:
    """A session that has work for longer than its TTL counts as idle."""
    with edit(SessionTable, "idle", " and not session.live", ""):
        yield


@mutant("idle-since-start", rule="RES-018")
@contextmanager
def idle_since_start() -> Iterator[None]:
    """A session counts as idle from the start of its last execution on."""
    right = "execution.session.last_used = trio.current_time()"
    with edit(Engine, "run", right, "pass"):
        yield


@mutant("stopped-mark-for-ever", rule="RES-019")
@contextmanager
def stopped_mark_for_ever() -> Iterator[None]:
    """A stopped session is refused until somebody cleans it."""
    with edit(SessionTable, "stop", "+ self._ttl", '+ float("inf")'):
        yield


@mutant("stopped-mark-expires-early", rule="RES-019")
@contextmanager
def stopped_mark_expires_early() -> Iterator[None]:
    """A stopped session is refused for a thousandth of its TTL."""
    with edit(SessionTable, "stop", "+ self._ttl", "+ self._ttl / 1000"):
        yield


@mutant("housekeeping-breaks-stop", rule="RES-022")
@contextmanager
def housekeeping_breaks_stop() -> Iterator[None]:
    """Housekeeping that a stopping runtime refuses ends the runtime."""
    with patch(BaseRuntime, "_surviving", lambda *_: nullcontext()):
        yield
