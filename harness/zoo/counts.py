"""Mutants that count work and sessions wrongly, or end them at the wrong time (RES)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from am2z.base import BaseRuntime
from am2z.events import EventType
from am2z.local.engine import Engine
from am2z.local.runtime import LocalRuntime
from am2z.local.sessions import SessionTable
from am2z.resources import ResourceMonitor
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


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
    with script("_count", "if from then add(q, NAMES[from], -1) end", ""):
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
    with script("_count", "if from then add(", "if from and from ~= 'y' then add("):
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
