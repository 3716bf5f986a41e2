"""Draws programs from bits: of a seeded generator, or of Hypothesis (see ``strategy``).

Nothing but bits is drawn, so that the same seed gives the same programs on every machine, in every
process and with every version of everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.oracle.model.world import World
from harness.oracle.plans import CALLING, FAILING, QUIET, Bits, Pen, Style, pick
from harness.oracle.program import (
    LABELS,
    LOCKS,
    NO_SESSION,
    OPERANDS,
    REPLACED,
    SESSIONS,
    Op,
    Program,
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

_VERBS, _OPERANDS = 3, 3
"""How often to draw for one operation that makes sense: another verb, other operands."""

EXECUTIONS = ("execute", "execute", "execute", "inside", "many", "mixed", "submit", "release",
              "again", "stats", "execute", "inside", "many", "submit", "execute",
              "execute")  # fmt: skip
"""What executions do: calls, attempts, failures, events."""

FAILURES = ("submit", "submit", "revive", "mend", "submit", "revive", "drop", "letters", "execute",
            "submit", "clean", "revive", "stop", "restart", "revive", "submit")  # fmt: skip
"""What failed for good, and what becomes of it."""

REGISTRY = ("execute", "learn", "inside", "submit", "learn", "execute", "forget", "restart",
            "inside", "again", "forget", "mixed", "execute", "learn", "restart",
            "execute")  # fmt: skip
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
_STYLES: dict[tuple[str, ...], Style] = {FAILURES: FAILING, REGISTRY: CALLING}
_QUIET = ("delay", "at", "crash")
"""Where what is called does not matter."""


def draw_program(
    bits: Bits, themes: Sequence[Sequence[str]] = THEMES, shortest: int = 3, longest: int = 14
) -> Program:
    """A program of up to ``shortest`` … ``longest`` operations of one of the themes.

    A theme is a list of verbs, in which one may stand several times. What makes no sense where it
    would stand is drawn again, a few times; then it is left out.
    """
    verbs = pick(bits, themes)
    length = pick(bits, range(shortest, longest + 1))
    world = World()
    drawn = (_sensible(bits, verbs, world) for _ in range(length))
    return Program(tuple(op for op in drawn if op is not None))


def _sensible(bits: Bits, verbs: Sequence[str], world: World) -> Op | None:
    """An operation that makes sense now, applied to the world."""
    for _ in range(_VERBS):
        verb = pick(bits, verbs)
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
        label=pick(bits, LABELS) if "label" in takes else "",
        lock=pick(bits, LOCKS) if "lock" in takes else "",
        number=pick(bits, (2, 3, 4, 5)) if "number" in takes else 0,
        name=pick(bits, REPLACED) if "name" in takes else "",
    )
    if "call" not in takes:
        return op
    pen = Pen(bits, _STYLES.get(tuple(verbs), Style()), holds=verb in ("submit", "past"))
    return replace(op, call=pen.call(QUIET if verb in _QUIET else None))


def _session(bits: Bits, takes: tuple[str, ...]) -> str:
    if "named" in takes:
        return pick(bits, _NAMED)
    return pick(bits, (*_NAMED[1:], NO_SESSION)) if "session" in takes else ""
