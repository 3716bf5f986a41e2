"""Takes and leaves the locks of a runtime."""

from __future__ import annotations

from harness.oracle.model import Seen
from harness.oracle.play.stage import Stage
from harness.oracle.program import Op

__all__ = ["Locks"]


class Locks:
    """The operations on locks."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def do_lock(self, op: Op) -> Seen:
        return await self._stage.lockers.lock(self._stage.runtime, op.lock)

    async def do_unlock(self, op: Op) -> Seen:
        return await self._stage.lockers.unlock(op.lock)

    async def do_line(self, op: Op) -> Seen:
        return await self._stage.lockers.line(self._stage.runtime, op.lock, op.number)
