"""Draws programs from bits: of a seeded generator, or of Hypothesis (see ``strategy``).

Nothing but bits is drawn, so that the same seed gives the same programs on every machine, in every
process and with every version of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from harness.oracle.model.world import World
from harness.oracle.program import (
    LABELS,
    LOCKS,
    NO_SESSION,
    OPERANDS,
    REPLACED,
    SESSIONS,
    Call,
    Op,
    Program,
    Step,
)

__all__ = [
    "CRASHES",
    "EVERYTHING",
    "EXECUTIONS",
    "FAILURES",
    "LIVES",
    "LOCKINGS",
    "OUTLIVING",
    "REGISTRY",
    "STATES",
    "THEMES",
    "Bits",
    "draw_program",
]

T = TypeVar("T")

_VERBS, _OPERANDS = 3, 3
"""How often to draw for one operation that makes sense: another verb, other operands."""

Bits = Callable[[], bool]
"""Where chance comes from; ``False`` is the simpler answer."""

EXECUTIONS = ("execute", "execute", "execute", "inside", "many", "mixed", "submit", "release",
              "again", "stats", "execute", "inside", "many", "submit", "execute",
              "execute")  # fmt: skip
"""What executions do: calls, attempts, failures, events."""

FAILURES = ("execute", "submit", "revive", "mend", "submit", "revive", "drop", "letters", "execute",
            "submit", "clean", "revive", "stop", "restart", "release", "cancel")  # fmt: skip
"""What failed for good, and what becomes of it."""

REGISTRY = ("execute", "learn", "forget", "inside", "submit", "learn", "execute", "forget", "stats",
            "release", "again", "restart", "mixed", "execute")  # fmt: skip
"""Who serves a name, by and by."""

LIVES = ("submit", "submit", "submit", "submit", "delay", "at", "release", "release", "cancel",
         "cancel", "stop", "clean", "execute", "stats", "again", "restart", "past", "twin", "clash",
         "submit")  # fmt: skip
"""What ends executions and sessions from outside."""

STATES = ("execute", "set", "update", "set-right", "set-wrong", "updates", "race", "delete", "get",
          "stop", "clean", "restart", "spoil", "set", "update", "execute", "expire")  # fmt: skip
"""What is done to committed states."""

LOCKINGS = ("lock", "lock", "unlock", "line", "lock", "restart", "unlock", "execute")
"""Who has a lock, and what becomes of it."""

EVERYTHING = tuple(
    sorted(
        {*EXECUTIONS, *FAILURES, *REGISTRY, *LIVES, *STATES, *LOCKINGS, "clean-all"},
        key=list(OPERANDS).index,
    )
)
"""Every operation that each runtime can do."""

OUTLIVING = ("execute", "reopen", "set", "reopen", "update", "submit", "again", "stop", "get",
             "set-right", "clean", "stats")  # fmt: skip
"""What outlives the runtime, where it is durable."""

CRASHES = (*EVERYTHING, "crash")
"""Everything, and workers that die."""

THEMES = (EXECUTIONS, LIVES, STATES, LOCKINGS, EVERYTHING, FAILURES, REGISTRY)
"""What a program may be about: one that does a little of everything meets little."""

_NAMED = (SESSIONS[0], *SESSIONS, SESSIONS[0])
_COMPOSED = ("pair", "fork", "way", "swarm")
_CALLED = ("once", "thrice", "once", "wary", *_COMPOSED, "plain", "brief", "nobody", "thrice")
_HELD = ("once", "single", "thrice", "later", "single", "wary", "once", "single")
_SUBMITTED = ("once", "single", "thrice", "later", "single", "wary", *_COMPOSED, "once", "thrice",
              "brief", "plain", "single", "single")  # fmt: skip
_EXECUTED = ("once", "thrice", "once", "wary", *_COMPOSED, "single", "plain", "brief", "nobody",
             "thrice", "once", "wary", "thrice")  # fmt: skip
_STEPS = ("add", "add", "note", "call", "call", "fail", "emit", "progress", "who", "fail", "call",
          "add", "note", "who", "call", "emit")  # fmt: skip
_BAD_STEPS = ("fail", "add", "fail", "note", "fail", "call", "who", "fail")
"""Where failures are what it is about."""
_FAILURES = (("network", 2), ("network", 0), ("business", 0), ("network", 3), ("foreign", 0),
             ("validation", 0), ("partial", 0), ("foreign", 2), ("torn", 2), ("torn", 0),
             ("passing", 3), ("passing", 0), ("group", 0), ("strange", 0), ("nothing", 0),
             ("foreign", 4))  # fmt: skip
_MENDABLE = (("broken", 0), ("broken", 0), *_FAILURES, ("broken", 0), ("broken", 0))


def draw_program(
    bits: Bits, themes: Sequence[Sequence[str]] = THEMES, shortest: int = 3, longest: int = 14
) -> Program:
    """A program of up to ``shortest`` … ``longest`` operations of one of the themes.

    A theme is a list of verbs, in which one may stand several times. What makes no sense where it
    would stand is drawn again, a few times; then it is left out.
    """
    verbs = _pick(bits, themes)
    length = _pick(bits, range(shortest, longest + 1))
    world = World()
    drawn = (_sensible(bits, verbs, world) for _ in range(length))
    return Program(tuple(op for op in drawn if op is not None))


def _sensible(bits: Bits, verbs: Sequence[str], world: World) -> Op | None:
    """An operation that makes sense now, applied to the world."""
    for _ in range(_VERBS):
        verb = _pick(bits, verbs)
        for _ in range(_OPERANDS):
            op = _op(bits, verb, verbs)
            if world.apply(op) is not None:
                return op
    return None


def _op(bits: Bits, verb: str, verbs: Sequence[str]) -> Op:
    takes = OPERANDS[verb]
    op = Op(
        verb,
        session=_session(bits, takes),
        label=_pick(bits, LABELS) if "label" in takes else "",
        lock=_pick(bits, LOCKS) if "lock" in takes else "",
        number=_pick(bits, (2, 3, 4, 5)) if "number" in takes else 0,
        name=_pick(bits, REPLACED) if "name" in takes else "",
    )
    if "call" not in takes:
        return op
    names: dict[str, Sequence[str]] = {"submit": _SUBMITTED, "past": _SUBMITTED}
    for quiet in ("delay", "at", "crash"):
        names[quiet] = ("once", "thrice")
    steps = _BAD_STEPS if "revive" in verbs and "learn" not in verbs else _STEPS
    pen = _Pen(bits, steps, holds=verb in ("submit", "past"))
    return replace(op, call=pen.call(names.get(verb, _EXECUTED), 0))


def _session(bits: Bits, takes: tuple[str, ...]) -> str:
    if "named" in takes:
        return _pick(bits, _NAMED)
    return _pick(bits, (*_NAMED[1:], NO_SESSION)) if "session" in takes else ""


@dataclass(frozen=True)
class _Pen:
    """Writes plans."""

    bits: Bits
    verbs: Sequence[str]
    holds: bool

    def call(self, names: Sequence[str], depth: int) -> Call:
        holds = self.holds and depth == 0 and not self.bits()
        name = _pick(self.bits, _HELD if holds else names)
        if name == "nobody":
            return Call(name)
        steps = [self._step(depth) for _ in range(_pick(self.bits, (1, 0, 2, 3)))]
        if holds:
            steps.insert(_pick(self.bits, (0, len(steps))), Step("hold"))
        return Call(name, tuple(steps))

    def _step(self, depth: int) -> Step:
        verb = _pick(self.bits, self.verbs)
        match verb:
            case "add":
                return Step(verb, number=_pick(self.bits, (1, 2, 3)))
            case "note":
                return Step(verb, _pick(self.bits, ("n", "o", "r")))
            case "fail":
                ways = _MENDABLE if self.verbs is _BAD_STEPS else _FAILURES
                word, below = _pick(self.bits, ways)
                return Step(verb, word, below)
            case "call":
                if depth > 2:
                    return Step("emit")
                called = self.call(_CALLED, depth + 1)
                return Step(verb, call=called, survives=self.bits())
        return Step(verb)


def _pick(bits: Bits, options: Sequence[T]) -> T:
    """One of the options; the first is the simplest."""
    index = 0
    for _ in range((len(options) - 1).bit_length()):
        index = 2 * index + bits()
    return options[index % len(options)]
