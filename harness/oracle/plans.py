"""Draws what a processor is to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.oracle.program import Call, Step

__all__ = ["CALLING", "FAILING", "QUIET", "Bits", "Pen", "Style", "pick"]

T = TypeVar("T")

Bits = Callable[[], bool]
"""Where chance comes from; ``False`` is the simpler answer."""

_COMPOSED = ("pair", "fork", "way", "swarm")


@dataclass(frozen=True)
class Style:
    """Who is asked and called, what is done, and how it fails; what stands twice comes twice.

    Of what is submitted, one of ``one_holds_of`` holds.
    """

    asked: tuple[str, ...] = (
        "once", "thrice", "once", "wary", *_COMPOSED, "single", "plain", "brief", "nobody",
        "thrice", "once", "wary", "thrice",
    )  # fmt: skip
    called: tuple[str, ...] = (
        "once", "thrice", "once", "wary", *_COMPOSED, "plain", "brief", "nobody", "thrice",
    )  # fmt: skip
    steps: tuple[str, ...] = (
        "add", "add", "note", "call", "call", "fail", "emit", "progress", "who", "fail", "call",
        "add", "note", "who", "call", "emit",
    )  # fmt: skip
    ways: tuple[tuple[str, int], ...] = (
        ("network", 2), ("network", 0), ("business", 0), ("network", 3), ("foreign", 0),
        ("validation", 0), ("partial", 0), ("foreign", 2), ("torn", 2), ("torn", 0),
        ("passing", 3), ("passing", 0), ("group", 0), ("strange", 0), ("nothing", 0),
        ("foreign", 4),
    )  # fmt: skip
    one_holds_of: int = 2


FAILING = Style(
    steps=("add", "fail", "note", "fail", "call", "fail", "who", "add"),
    ways=(
        ("broken", 0), ("partial", 0), ("network", 0), ("broken", 0), ("torn", 0), ("partial", 0),
        ("torn", 2), ("broken", 0), ("partial", 0), ("torn", 0), ("business", 0), ("passing", 0),
        ("broken", 0), ("partial", 0), ("foreign", 0), ("torn", 0),
    ),
    one_holds_of=8,
)  # fmt: skip
"""Where failures are what it is about."""

CALLING = Style(
    asked=("once", "thrice", "pair", "single", "way", "swarm", "once", "plain"),
    called=("once", "thrice", "swarm", "pair", "once", "thrice", "way", "once"),
    steps=("who", "call", "who", "call", "who", "call", "add", "fail"),
    one_holds_of=8,
)
"""Where it is about who serves a name."""

QUIET = ("once", "thrice")
"""Who is asked where that does not matter."""

_HELD = ("once", "single", "thrice", "later", "single", "wary", "once", "single")


@dataclass(frozen=True)
class Pen:
    """Writes plans; ``holds``: of what is submitted, which may hold."""

    bits: Bits
    style: Style
    holds: bool

    def call(self, names: Sequence[str] | None = None) -> Call:
        """Whom to ask, and for what."""
        if self.holds and pick(self.bits, range(self.style.one_holds_of)) == 1:
            held = self._call(_HELD, 0)
            place = pick(self.bits, (0, len(held.steps)))
            return Call(held.name, (*held.steps[:place], Step("hold"), *held.steps[place:]))
        asked = (*self.style.asked, "later", "single") if self.holds else self.style.asked
        return self._call(names or asked, 0)

    def _call(self, names: Sequence[str], depth: int) -> Call:
        name = pick(self.bits, names)
        if name == "nobody":
            return Call(name)
        return Call(name, tuple(self._step(depth) for _ in range(pick(self.bits, (1, 0, 2, 3)))))

    def _step(self, depth: int) -> Step:
        verb = pick(self.bits, self.style.steps)
        match verb:
            case "add":
                return Step(verb, number=pick(self.bits, (1, 2, 3)))
            case "note":
                return Step(verb, pick(self.bits, ("n", "o", "r")))
            case "fail":
                word, below = pick(self.bits, self.style.ways)
                return Step(verb, word, below)
            case "call":
                if depth > 2:
                    return Step("emit")
                called = self._call(self.style.called, depth + 1)
                return Step(verb, call=called, survives=self.bits())
        return Step(verb)


def pick(bits: Bits, options: Sequence[T]) -> T:
    """One of the options; the first is the simplest."""
    index = 0
    for _ in range((len(options) - 1).bit_length()):
        index = 2 * index + bits()
    return options[index % len(options)]
