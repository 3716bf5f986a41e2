"""Counts the checkpoints of copies, cancels at the n-th, and ends those that never wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from harness.strict.copies import Copy, copy_of
from harness.strict.findings import Assumption

if TYPE_CHECKING:
    from trio.lowlevel import Task

__all__ = ["Watch"]

MAX_STEPS = 20_000
"""So many checkpoints at one moment of a clock: nobody waits like that."""


class Watch(trio.abc.Instrument):
    """Looks on while trio runs; see the module."""

    def __init__(self) -> None:
        self._cancel_at: dict[Copy, int] = {}
        self._steps: dict[Copy, int] = {}
        self._moment: dict[Copy, tuple[float, int]] = {}

    def follow(self, copy: Copy, cancel_at: int | None = None) -> None:
        """Count the checkpoints of a copy and of all that it calls; cancel it at one of them."""
        self._steps[copy] = 0
        if cancel_at is not None:
            self._cancel_at[copy] = cancel_at

    def forget(self, copy: Copy) -> int:
        """No more; answers how many checkpoints there were."""
        self._cancel_at.pop(copy, None)
        self._moment.pop(copy, None)
        return self._steps.pop(copy, 0)

    def after_task_step(self, task: Task) -> None:
        """Called by trio when a task has come to a checkpoint, or to its end."""
        innermost = copy = copy_of(task)
        while copy is not None:  # a step of a child is one of all who called it
            if copy in self._steps:
                self._count(copy, copy is innermost)
            copy = copy.above

    def _count(self, copy: Copy, is_own: bool) -> None:
        steps = self._steps[copy] = self._steps[copy] + 1
        if steps == self._cancel_at.get(copy):
            copy.cancel()
        moment, since = self._moment.get(copy, (-1.0, 0))
        if (now := trio.current_time()) != moment:
            self._moment[copy] = (now, steps)
        elif steps - since >= MAX_STEPS and not copy.scope.cancel_called:
            if is_own:
                copy.note(Assumption.TIME_PASSES, f"{MAX_STEPS} checkpoints while no time passed")
            copy.cancel()
