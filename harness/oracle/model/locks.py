"""What operations on locks do: one has it, who waits has it next, and fences grow."""

from __future__ import annotations

from harness.oracle.model.seen import Seen
from harness.oracle.program import LOCKS, Op

__all__ = ["Locks"]


class Locks:
    """Who has a lock or waits for it."""

    def __init__(self) -> None:
        self._waits = dict.fromkeys(LOCKS, 0)  # how many have a lock or wait for it

    def left(self) -> list[str]:
        """A lock for each that has it or waits for it."""
        return [lock for lock in LOCKS for _ in range(self._waits[lock])]

    def stop(self) -> Seen:
        """The runtime stops: how it ends for those who are there."""
        ends: Seen = {}
        for lock, number in self._waits.items():
            if number:
                ends[lock] = ["LockLostError", "RuntimeStoppedError"][:number]
            self._waits[lock] = 0
        return ends

    def do_lock(self, op: Op) -> Seen | None:
        if self._waits[op.lock] >= 2:
            return None
        self._waits[op.lock] += 1
        return self._holder(op) if self._waits[op.lock] == 1 else {"holder": "another"}

    def do_unlock(self, op: Op) -> Seen | None:
        if not self._waits[op.lock]:
            return None
        self._waits[op.lock] -= 1
        left = {"left": "in order"}
        return {**left, **(self._holder(op) if self._waits[op.lock] else {"holder": "nobody"})}

    def _holder(self, _op: Op) -> Seen:
        return {"holder": "the next", "fence": "greater"}

    def do_line(self, op: Op) -> Seen | None:
        if self._waits[op.lock]:
            return None
        return {"turns": op.number, "at once": 1, "fence": "greater"}
