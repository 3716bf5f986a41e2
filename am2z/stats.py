"""Frozen pictures of what a runtime is doing."""

from __future__ import annotations

import msgspec

__all__ = ["QueueStats", "RuntimeStats"]


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """How many executions of one processor are in which state.

    ``waiting`` for a worker, ``active`` in one, ``delayed`` until a later time (a retry's
    back-off); ``completed`` and ``failed`` count what ended since the counting began.
    """

    waiting: int = 0
    active: int = 0
    delayed: int = 0
    completed: int = 0
    failed: int = 0


class RuntimeStats(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime as a whole.

    ``waiting``, ``active``, ``completed`` and ``failed`` are sums over all processors, of every
    process that serves them; ``running`` counts what is active in this runtime, also what waits for
    others that it called. ``uptime`` is in seconds since the start.
    """

    registered_processors: int = 0
    waiting: int = 0
    active: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    active_sessions: int = 0
    uptime: float = 0.0
