"""One execution in this process: what it is doing, and how to stop it."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import trio

from am2z.admission import Request
from am2z.errors import AM2ZError
from am2z.local.sessions import Session
from am2z.processor import Processor
from am2z.slots import Slot

__all__ = ["Execution", "Phase"]

Phase = Literal["new", "waiting", "active", "delayed", "done"]


class Execution(msgspec.Struct, eq=False):
    """A live execution. ``end_with`` cancels it and says what its caller shall be told.

    Nothing but what runs or waits in a ``scope()`` is cancelled. A scope around the whole execution
    would be simpler, but entering one is the dearest step of all, and every attempt has one anyway.
    """

    request: Request[Any]
    processor: Processor[Any]
    slot: Slot
    session: Session | None
    depth: int
    deadline: float
    verdict: AM2ZError | None = None
    phase: Phase = "new"
    attempt: int = 1
    elapsed: float = 0.0
    progress: float = 0.0
    was_active: bool = False
    _scope: trio.CancelScope | None = None

    def is_stopped(self) -> bool:
        """Whether ``end_with`` was called: ``verdict`` is how it ends."""
        return self.verdict is not None

    def scope(self, deadline: float = math.inf) -> trio.CancelScope:
        """A scope to enter around the next that is awaited; ask ``is_stopped`` after it."""
        scope = self._scope = trio.CancelScope(deadline=deadline)
        if self.verdict is not None:
            scope.cancel()
        return scope

    def end_with(self, error: AM2ZError) -> None:
        """Stop this execution; the first reason given is the one that its caller gets."""
        if self.verdict is None:
            self.verdict = error
            if self._scope is not None:
                self._scope.cancel()
