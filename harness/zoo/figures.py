"""Resources: one figure, name or limit of many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z.base import BaseRuntime
from am2z.local.engine import Engine
from am2z.local.runtime import LocalRuntime
from am2z.local.sessions import SessionTable
from am2z.resources import ResourceMonitor
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant

__all__: list[str] = []


@mutant("monitor-refuses-a-full-queue", rule="RES-032")
@contextmanager
def monitor_refuses_a_full_queue() -> Iterator[None]:
    """A queue that is as large as it may be counts as over its limit."""
    right = "if size > self.limits.max_queue_size:"
    wrong = "if size >= self.limits.max_queue_size:"
    with edit(ResourceMonitor, "update_queue_size", right, wrong):
        yield


@mutant("queue-error-names-no-queue", rule="RES-032")
@contextmanager
def queue_error_names_no_queue() -> Iterator[None]:
    """The refusal of a full queue does not say which."""
    right = 'context={"queue": name}'
    wrong = "context={}"
    with edit(ResourceMonitor, "_queue_error", right, wrong):
        yield


@mutant("overfull-queue-never-recovers", rule="RES-032")
@contextmanager
def overfull_queue_never_recovers() -> Iterator[None]:
    """A queue that was over its limit once stays so."""
    right = "self._overfull.pop(name, None)"
    wrong = "pass"
    with edit(ResourceMonitor, "update_queue_size", right, wrong):
        yield


@mutant("one-small-queue-clears-all", rule="RES-032")
@contextmanager
def one_small_queue_clears_all() -> Iterator[None]:
    """A queue within its limit makes the others pass for such, too."""
    right = "self._overfull.pop(name, None)"
    wrong = "self._overfull.clear()"
    with edit(ResourceMonitor, "update_queue_size", right, wrong):
        yield


@mutant("connections-below-none", rule="RES-032")
@contextmanager
def connections_below_none() -> Iterator[None]:
    """A connection that is unregistered twice makes room for one too many."""
    right = "max(0, self._connections - 1)"
    wrong = "self._connections - 1"
    with edit(ResourceMonitor, "unregister_connection", right, wrong):
        yield


@mutant("empty-queues-not-counted", rule="RES-032")
@contextmanager
def empty_queues_not_counted() -> Iterator[None]:
    """Queues in which nothing waits are not known."""
    right = "total=len(self._queues)"
    wrong = "total=sum(size > 0 for size in self._queues.values())"
    with edit(ResourceMonitor, "resource_stats", right, wrong):
        yield


@mutant("session-keeps-its-first-place", rule="RES-032")
@contextmanager
def session_keeps_its_first_place() -> Iterator[None]:
    """The last session that is unregistered stays."""
    right = "self._started.pop(session_id, None)"
    wrong = (
        "self._started[session_id] = self._started.pop(session_id, 0.0)\n"
        "    self._started = {k: v for k, v in self._started.items() if k in "
        "self._touched}\n"
        "    self._started.pop(session_id, None) if len(self._started) > 1 else None"
    )
    with edit(ResourceMonitor, "unregister_session", right, wrong):
        yield


@mutant("warning-not-logged", rule="RES-010")
@contextmanager
def warning_not_logged() -> Iterator[None]:
    """That a threshold was reached stands in no log."""
    right = "self._logger.warning("
    wrong = "self._logger.debug("
    with edit(ResourceMonitor, "_watch", right, wrong):
        yield


@mutant("memory-error-says-no-number", rule="RES-020")
@contextmanager
def memory_error_says_no_number() -> Iterator[None]:
    """The refusal for too much memory does not say how much that is."""
    right = "        limits.max_memory_mb,\n            memory,\n"
    wrong = "        limits.max_memory_mb,\n"
    with edit(ResourceMonitor, "check_process", right, wrong):
        yield


@mutant("one-idle-session-at-a-time", rule="RES-017")
@contextmanager
def one_idle_session_at_a_time() -> Iterator[None]:
    """Of several idle sessions one is stopped at each look."""
    right = "in await self._idle_sessions():"
    wrong = "in (await self._idle_sessions())[:1]:"
    with edit(BaseRuntime, "_end_idle_sessions", right, wrong):
        yield


@mutant("one-idle-session-ends-all", rule="RES-017")
@contextmanager
def one_idle_session_ends_all() -> Iterator[None]:
    """With the first idle session all that have no work are stopped."""
    right = "if session.last_used <= oldest and not session.live"
    wrong = "if not session.live and min(s.last_used for s in self._sessions.values()) <= oldest"
    with edit(SessionTable, "idle", right, wrong):
        yield


@mutant("idle-session-is-forgotten", rule="RES-017")
@contextmanager
def idle_session_is_forgotten() -> Iterator[None]:
    """An idle session is cleaned, so that work for it begins it anew."""
    right = "await self.stop_session(session_id)"
    wrong = "await self.clean_session(session_id)"
    with edit(BaseRuntime, "_end_idle_sessions", right, wrong):
        yield


@mutant("cancelled-work-is-no-use", rule="RES-018")
@contextmanager
def cancelled_work_is_no_use() -> Iterator[None]:
    """The idle time of a session counts from before what was cancelled in it."""
    right = "    execution.session.last_used = trio.current_time()"
    wrong = (
        "    if execution.verdict is None:\n"
        "                execution.session.last_used = trio.current_time()"
    )
    with edit(Engine, "run", right, wrong):
        yield


@mutant("delayed-work-needs-no-room", rule="RES-006")
@contextmanager
def delayed_work_needs_no_room() -> Iterator[None]:
    """Delayed work is taken by a queue that is full."""
    right = "if depth == 0 and waiting"
    wrong = "if depth == 0 and request.when is None and waiting"
    with edit(Engine, "begin", right, wrong):
        yield


@mutant("delayed-work-waits-in-the-sum", rule="RES-033")
@contextmanager
def delayed_work_waits_in_the_sum() -> Iterator[None]:
    """In the sum of all processors what is delayed is waiting, too."""
    right = 'waiting=phases["waiting"]'
    wrong = 'waiting=phases["waiting"] + phases["delayed"]'
    with edit(LocalRuntime, "stats", right, wrong):
        yield


@mutant("lock-names-in-lower-case", rule="RES-023")
@contextmanager
def lock_names_in_lower_case() -> Iterator[None]:
    """Two names of a lock that differ in capital letters are one."""
    right = "self._locks(name).hold(name, ttl)"
    wrong = "self._locks(name).hold(name.lower(), ttl)"
    with edit(BaseRuntime, "lock", right, wrong):
        yield
