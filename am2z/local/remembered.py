"""Executions whose id the caller chose: the same id runs once, and every caller has its result."""

from __future__ import annotations

import math
from typing import Any

import trio

from am2z.admission import Request, check_same_work
from am2z.local.handle import LocalHandle

__all__ = ["Remembered"]


class Remembered:
    """Handles by chosen id, for ``ttl`` seconds after the execution's end."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._entries: dict[str, tuple[Request[Any], LocalHandle[Any], float]] = {}

    def find(self, request: Request[Any]) -> LocalHandle[Any] | None:
        """The handle of an earlier request with the same chosen id.

        Raises ``ConfigurationError`` where that was for another processor or session.
        """
        if not request.is_chosen:
            return None
        self._forget_old()
        entry = self._entries.get(request.execution_id)
        if entry is None:
            return None
        check_same_work(entry[0], request)
        return entry[1]

    def keep(self, request: Request[Any], handle: LocalHandle[Any]) -> None:
        """Remember a request that was accepted."""
        if request.is_chosen:
            self._entries[request.execution_id] = (request, handle, math.inf)

    def ended(self, request: Request[Any]) -> None:
        """Its execution is over: its time runs from now on."""
        if request.is_chosen:
            # Taken out and put in again, so that the table stays in the order of its ends.
            _, handle, _ = self._entries.pop(request.execution_id)
            expires = trio.current_time() + self._ttl
            self._entries[request.execution_id] = (request, handle, expires)

    def _forget_old(self) -> None:
        now = trio.current_time()
        old = [name for name, entry in self._entries.items() if entry[2] <= now]
        for name in old:
            del self._entries[name]
