"""Draws programs until one shows a difference, and makes that one small."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Generic, TypeVar

from harness.oracle.draw import draw_program
from harness.oracle.model import sensible
from harness.oracle.program import Program
from harness.oracle.shrink import shrink

__all__ = ["Search"]

T = TypeVar("T")

_TRIES = 20
"""How often to draw for one program: many drawn ones are the same, or empty, once made sensible."""


LEAST = 3
"""So many programs are tried at least, however slow the machine is."""


class Search(Generic[T]):
    """A search for a program about which ``judge`` has something to say (what, or ``None``).

    ``examples`` programs are drawn; the same seed draws the same ones. On a machine that is slow or
    busy fewer are: after ``budget`` seconds no further one is, once there were ``LEAST``. From the
    first find on it looks for a smaller one, for ``patience`` seconds at most.
    ``on_example(number, is_shrinking)`` is called after each.
    """

    def __init__(
        self,
        judge: Callable[[Program], T | None],
        *,
        themes: Sequence[Sequence[str]],
        seed: int,
        examples: int,
        longest: int = 11,
        patience: float = 60.0,
        budget: float = math.inf,
        on_example: Callable[[int, bool], None] = lambda _number, _shrinking: None,
    ) -> None:
        self.tried = 0
        self.first: Program | None = None
        self._judge = judge
        self._themes = themes
        self._seed = seed
        self._examples = examples
        self._longest = longest
        self._patience = patience
        self._budget = budget
        self._on_example = on_example
        self._known: dict[str, T | None] = {}

    def run(self) -> tuple[Program, T] | None:
        """The smallest program that was found, and what ``judge`` says of it."""
        deadline = time.monotonic() + self._budget
        for number, program in enumerate(self._drawn()):
            if number >= LEAST and time.monotonic() >= deadline:
                break
            if self._judged(program) is not None:
                self.first = program
                return self._smallest(program)
        return None

    def _drawn(self) -> Iterator[Program]:
        """``examples`` programs that differ, or as many as there are."""
        rng = Random(self._seed)  # noqa: S311 - a game of chance, no secret
        drawn: set[str] = set()
        for _ in range(_TRIES * self._examples):
            program = sensible(
                draw_program(lambda: rng.random() < 0.5, self._themes, longest=self._longest)
            )
            if program.ops and str(program) not in drawn:
                drawn.add(str(program))
                yield program
            if len(drawn) == self._examples:
                return

    def _smallest(self, program: Program) -> tuple[Program, T]:
        deadline = time.monotonic() + self._patience

        def still_shows(program: Program) -> bool:
            if time.monotonic() > deadline and str(sensible(program)) not in self._known:
                return False
            return self._judged(program) is not None

        smallest = sensible(shrink(program, still_shows))
        verdict = self._judged(smallest)
        assert verdict is not None
        return smallest, verdict

    def _judged(self, drawn: Program) -> T | None:
        """What is said of a program; asked again, it is the same: runs are what costs."""
        program = sensible(drawn)
        text = str(program)
        if text not in self._known:
            self.tried += self.first is None
            self._known[text] = self._judge(program)
            self._on_example(self.tried, self.first is not None)
        return self._known[text]
