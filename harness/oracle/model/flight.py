"""What a label stands for: an execution that was submitted, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.oracle.model.lives import Ended, Life, Outcome
from harness.oracle.program import Op

__all__ = ["Flight"]


@dataclass
class Flight:
    """One of them."""

    op: Op
    life: Life
    phase: str
    outcome: Outcome | None = None
    can_be_asked_again: bool = True

    @property
    def is_live(self) -> bool:
        return self.outcome is None

    def is_single(self, *phases: str) -> bool:
        assert self.op.call is not None
        return self.op.call.name == "single" and self.phase in phases

    @property
    def calls_after_hold(self) -> bool:
        """Whether it calls somebody once it is let go on."""
        assert self.op.call is not None
        verbs = [step.verb for step in self.op.call.steps]
        return "hold" in verbs and "call" in verbs[verbs.index("hold") :]

    def advance(self) -> None:
        self._step(lambda: next(self.life))

    def end(self, error: str) -> None:
        if self.is_live:
            self._step(lambda: self.life.throw(Ended(error)))

    def _step(self, move: Callable[[], str]) -> None:
        try:
            self.phase = move()
        except StopIteration as end:
            self.phase, self.outcome = "done", end.value
