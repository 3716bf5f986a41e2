"""One execution in this process: what it is doing, and how to stop it."""

from __future__ import annotations

from typing import Any, Literal

import trio

from am2z.admission import Request
from am2z.errors import AM2ZError
from am2z.local.sessions import Session
from am2z.processor import Processor
from am2z.slots import Slot

__all__ = ["Execution", "Phase"]

Phase = Literal["waiting", "active", "delayed", "done"]


class Execution:
    """A live execution. ``end_with`` cancels it and says what its caller shall be told."""

    __slots__ = ("attempt", "deadline", "depth", "elapsed", "phase", "processor", "progress",
                 "request", "scope", "session", "slot", "verdict", "was_active")  # fmt: skip

    def __init__(
        self,
        request: Request[Any],
        processor: Processor[Any],
        slot: Slot,
        session: Session | None,
        *,
        depth: int,
        deadline: float,
    ) -> None:
        self.request = request
        self.processor = processor
        self.slot = slot
        self.session = session
        self.depth = depth
        self.deadline = deadline
        self.scope = trio.CancelScope()
        self.verdict: AM2ZError | None = None
        self.phase: Phase = "waiting"
        self.attempt = 1
        self.elapsed = 0.0
        self.progress = 0.0
        self.was_active = False

    def end_with(self, error: AM2ZError) -> None:
        """Stop this execution; the first reason given is the one that its caller gets."""
        if self.verdict is None:
            self.verdict = error
            self.scope.cancel()
