"""What a label stands for: an execution that was submitted, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.oracle.model.lives import Ended, Life
from harness.oracle.model.outcome import Outcome
from harness.oracle.program import Op

__all__ = ["Flight"]


@dataclass
class Flight:
    """One of them. ``turn`` counts the submissions: who asked first."""

    op: Op
    life: Life
    phase: str
    turn: int
    outcome: Outcome | None = None
    can_be_asked_again: bool = True

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.outcome is None

    def is_single(self, *phases: str) -> bool:
        """Whether it is one of ``single`` in one of these phases."""
        assert self.op.call is not None
        return self.op.call.name == "single" and self.phase in phases

    @property
    def calls(self) -> bool:
        """Whether it calls somebody."""
        assert self.op.call is not None
        return any(step.verb == "call" for step in self.op.call.steps)

    @property
    def calls_after_hold(self) -> bool:
        """Whether it calls somebody once it is let go on."""
        assert self.op.call is not None
        verbs = [step.verb for step in self.op.call.steps]
        return "hold" in verbs and "call" in verbs[verbs.index("hold") :]

    def advance(self) -> None:
        """Let it go on to where it stays next."""
        self._step(lambda: next(self.life))

    def end(self, error: str) -> None:
        """Somebody ends it, if it has not ended."""
        if self.is_live:
            self._step(lambda: self.life.throw(Ended(error)))

    def _step(self, move: Callable[[], str]) -> None:
        try:
            self.phase = move()
        except StopIteration as end:
            self.phase, self.outcome = "done", end.value
