"""Committed states in the memory of this process."""

from __future__ import annotations

import math

import trio

from am2z.ids import check_name
from am2z.state import AppState
from am2z.statestore import BaseStateManager, StateRecord, conflict
from am2z.typenames import type_name

__all__ = ["LocalStateManager"]


class LocalStateManager(BaseStateManager):
    """Keeps encoded states, each with the moment at which it expires.

    States are kept as bytes for the same reason for which they cross every boundary by value: what
    a caller does to its own copy must not be seen by anybody else.

    Example: ``LocalStateManager()`` for one of your own; a runtime has one as ``runtime.state``.
    """

    def __init__(self, *, max_bytes: int = 4 * 1024 * 1024, ttl: float | None = None) -> None:
        super().__init__(max_bytes=max_bytes, ttl=ttl)
        self._records: dict[str, tuple[StateRecord, float]] = {}

    async def read(self, session_id: str) -> StateRecord | None:
        """See ``BaseStateManager.read``."""
        await trio.lowlevel.checkpoint()
        return self._peek(session_id)

    async def write(
        self,
        session_id: str,
        data: bytes,
        name: str,
        digest: str,
        *,
        ttl: float | None,
        expected: int | None,
        seen: str | None = None,
        keeps_ttl: bool = False,
    ) -> int:
        """See ``BaseStateManager.write``."""
        await trio.lowlevel.checkpoint()
        current = self._peek(session_id)
        version = current.version if current is not None else 0
        if expected is not None and expected != version:
            raise conflict(session_id, expected, version)
        if seen is not None and (current is None or seen != current.checksum):
            raise conflict(session_id, expected, version)
        record = StateRecord(version + 1, name, data, digest)
        if keeps_ttl and current is not None:
            self._records[session_id] = (record, self._records[session_id][1])
        else:
            self._put(session_id, record, ttl)
        return version + 1

    async def delete(self, session_id: str) -> None:
        """See ``BaseStateManager.delete``."""
        check_name(session_id, "session")
        await trio.lowlevel.checkpoint()
        self._records.pop(session_id, None)

    def commit(self, session_id: str, state: AppState, data: bytes, digest: str) -> int:
        """Store what an execution made, at once: between it and its result nothing can happen."""
        current = self._peek(session_id)
        version = current.version + 1 if current is not None else 1
        self._put(session_id, StateRecord(version, type_name(type(state)), data, digest), self._ttl)
        return version

    def expire(self, session_id: str, ttl: float) -> None:
        """Keep the session's state for at most ``ttl`` seconds from now on."""
        entry = self._records.get(session_id)
        if entry is not None:
            end = min(entry[1], trio.current_time() + ttl)
            self._records[session_id] = (entry[0], end)

    def forget(self, session_id: str) -> None:
        """``delete`` for callers that must not wait."""
        self._records.pop(session_id, None)

    def _peek(self, session_id: str) -> StateRecord | None:
        entry = self._records.get(session_id)
        if entry is None:
            return None
        if entry[1] <= trio.current_time():
            del self._records[session_id]
            return None
        return entry[0]

    def _put(self, session_id: str, record: StateRecord, ttl: float | None) -> None:
        expires = math.inf if ttl is None else trio.current_time() + ttl
        self._records[session_id] = (record, expires)
