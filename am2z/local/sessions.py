"""The sessions of a runtime in this process: what lives in them, what they did, who is stopped."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from am2z.stats import QueueStats

if TYPE_CHECKING:
    from am2z.local.execution import Execution

__all__ = ["Session", "SessionTable"]


class Session:
    """A named session: its live executions and how many of each processor have ended."""

    __slots__ = ("completed", "failed", "last_used", "live")

    def __init__(self, now: float) -> None:
        self.last_used = now
        self.live: set[Execution] = set()
        self.completed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()


class SessionTable:
    """The named sessions, and until when the stopped ones are refused."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._sessions: dict[str, Session] = {}
        self._stopped: dict[str, tuple[float, Session | None]] = {}

    def is_stopped(self, session_id: str) -> bool:
        """Whether work for that session is refused."""
        if session_id not in self._stopped:
            return False
        until, _ = self._stopped[session_id]
        if until <= trio.current_time():
            del self._stopped[session_id]
            return False
        return True

    def open(self, session_id: str) -> tuple[Session, bool]:
        """The session, and whether it has just come to be."""
        now = trio.current_time()
        session = self._sessions.get(session_id)
        if session is not None:
            session.last_used = now
            return session, False
        session = self._sessions[session_id] = Session(now)
        return session, True

    def stop(self, session_id: str) -> tuple[list[Execution], bool]:
        """Refuse the session from now on. Answers what is live in it, and whether it was active."""
        session = self._sessions.pop(session_id, None)
        _, kept = self._stopped.get(session_id, (0.0, None))
        self._stopped[session_id] = (trio.current_time() + self._ttl, session or kept)
        return (list(session.live) if session is not None else []), session is not None

    def clean(self, session_id: str) -> None:
        """Forget that the session was stopped."""
        self._stopped.pop(session_id, None)

    def names(self) -> list[str]:
        """The sessions that were created and not stopped since, sorted."""
        return sorted(self._sessions)

    def idle(self) -> list[str]:
        """The sessions without live work that nobody used for longer than the TTL."""
        now = trio.current_time()
        self._stopped = {name: kept for name, kept in self._stopped.items() if kept[0] > now}
        oldest = now - self._ttl
        return [
            name
            for name, session in self._sessions.items()
            if session.last_used <= oldest and not session.live
        ]

    def stats(self, session_id: str) -> dict[str, QueueStats]:
        """One picture for each processor that the session used; of a stopped one, to its end."""
        session = self._sessions.get(session_id)
        if session is None and self.is_stopped(session_id):
            _, session = self._stopped[session_id]
        if session is None:
            return {}
        counts: dict[str, Counter[str]] = {}
        for execution in session.live:
            counts.setdefault(execution.request.name, Counter())[execution.phase] += 1
        for field, ended in (("completed", session.completed), ("failed", session.failed)):
            for name, number in ended.items():
                counts.setdefault(name, Counter())[field] = number
        return {name: QueueStats(**counts[name]) for name in sorted(counts)}
