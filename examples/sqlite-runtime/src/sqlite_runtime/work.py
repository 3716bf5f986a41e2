"""An execution that is under way, and its handle."""

from __future__ import annotations

import math
from typing import Any, Literal

import trio

from am2z import AM2ZError, ExecutionCancelledError, Processor, ProcessorResult
from am2z.authoring import Request, Slot

Phase = Literal["waiting", "active", "delayed"]


class Work:
    """One execution: what it does, how it is stopped, and what its callers are told."""

    def __init__(
        self,
        request: Request[Any],
        processor: Processor[Any],
        slot: Slot,
        *,
        depth: int = 0,
        deadline: float = math.inf,
        counts_in: str = "",
    ) -> None:
        self.request = request
        self.processor = processor
        self.slot = slot
        self.depth = depth
        self.deadline = deadline
        self.counts_in = counts_in
        """The session in whose statistics it is; empty: in none."""
        self.scope = trio.CancelScope()
        self.phase: Phase = "waiting"
        self.attempt = 1
        self.progress = 0.0
        self.was_active = False
        self.has_caller = False
        """Whether somebody waits in execute(): with them the work ends when the runtime stops."""
        self.stays = False
        """Whether it goes on when the runtime starts again."""
        self.verdict: AM2ZError | None = None

    def end_with(self, error: AM2ZError, *, stays: bool = False) -> None:
        """Stop it; the first reason given is what its caller gets."""
        if self.verdict is None:
            self.verdict, self.stays = error, stays
            self.scope.cancel()


class Handle:
    """See ``am2z.ExecutionHandle``."""

    def __init__(self, execution_id: str, work: Work | None = None) -> None:
        self._id = execution_id
        self.work = work
        self._result: ProcessorResult[Any] | None = None
        self._done = trio.Event()

    @property
    def execution_id(self) -> str:
        return self._id

    @property
    def refused(self) -> AM2ZError | None:
        """Why it never was accepted."""
        return self._result.error if self.work is None and self._result is not None else None

    def resolve(self, result: ProcessorResult[Any]) -> None:
        """It has ended like this."""
        if self._result is None:
            self._result = result
            self._done.set()

    async def result(self) -> ProcessorResult[Any]:
        await self._done.wait()
        assert self._result is not None
        return self._result

    async def progress(self) -> float:
        await trio.lowlevel.checkpoint()
        return self.work.progress if self.work is not None else 0.0

    async def cancel(self) -> None:
        if self.work is not None and not self._done.is_set():
            self.work.end_with(
                ExecutionCancelledError(f"execution {self._id} was cancelled through its handle")
            )
        await self._done.wait()
