"""Draws programs from bits: of a seeded generator, or of Hypothesis (see ``strategy``).

Nothing but bits is drawn, so that the same seed gives the same programs on every machine, in every
process and with every version of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from harness.oracle.program import (
    LABELS,
    LOCKS,
    NO_SESSION,
    OPERANDS,
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
    "LIVES",
    "LOCKINGS",
    "OUTLIVING",
    "STATES",
    "THEMES",
    "Bits",
    "draw_program",
]

T = TypeVar("T")

Bits = Callable[[], bool]
"""Where chance comes from; ``False`` is the simpler answer."""

EXECUTIONS = ("execute", "execute", "execute", "many", "submit", "release", "again", "stats")
"""What executions do: calls, attempts, failures, events."""

LIVES = ("submit", "submit", "submit", "submit", "delay", "delay", "release", "release", "cancel",
         "cancel", "stop", "clean", "execute", "stats", "again", "restart")  # fmt: skip
"""What ends executions and sessions from outside."""

STATES = ("execute", "set", "update", "set-right", "set-wrong", "updates", "race", "delete", "get",
          "stop", "clean", "restart", "restart", "set", "update", "execute")  # fmt: skip
"""What is done to committed states."""

LOCKINGS = ("lock", "lock", "unlock", "line", "lock", "restart", "unlock", "execute")
"""Who has a lock, and what becomes of it."""

EVERYTHING = tuple(
    sorted({*EXECUTIONS, *LIVES, *STATES, *LOCKINGS, "clean-all"}, key=list(OPERANDS).index)
)
"""Every operation that each runtime can do."""

OUTLIVING = ("execute", "reopen", "set", "reopen", "update", "submit", "again", "stop", "get",
             "set-right", "clean", "stats")  # fmt: skip
"""What outlives the runtime, where it is durable."""

CRASHES = (*EVERYTHING, "crash")
"""Everything, and workers that die."""

THEMES = (EXECUTIONS, LIVES, STATES, LOCKINGS, EVERYTHING)
"""What a program may be about: one that does a little of everything meets little."""

_NAMED = (SESSIONS[0], *SESSIONS, SESSIONS[0])
_CALLED = ("once", "thrice", "once", "pair", "nobody")
_SUBMITTED = ("once", "single", "thrice", "later", "single", "pair")
_EXECUTED = ("once", "thrice", "pair", "single", "nobody")
_STEPS = ("add", "add", "note", "call", "call", "fail", "emit", "progress")
_FAILURES = (("network", 2), ("network", 0), ("business", 0), ("network", 3), ("foreign", 0),
             ("validation", 0), ("partial", 0), ("foreign", 2))  # fmt: skip


def draw_program(
    bits: Bits, themes: Sequence[Sequence[str]] = THEMES, shortest: int = 3, longest: int = 14
) -> Program:
    """A program of ``shortest`` to ``longest`` operations of one of the themes.

    A theme is a list of verbs, in which one may stand several times.
    """
    verbs = _pick(bits, themes)
    length = _pick(bits, range(shortest, longest + 1))
    return Program(tuple(_op(bits, verbs) for _ in range(length)))


def _op(bits: Bits, verbs: Sequence[str]) -> Op:
    verb = _pick(bits, verbs)
    takes = OPERANDS[verb]
    op = Op(
        verb,
        session=_session(bits, takes),
        label=_pick(bits, LABELS) if "label" in takes else "",
        lock=_pick(bits, LOCKS) if "lock" in takes else "",
        number=_pick(bits, (2, 3, 4, 5)) if "number" in takes else 0,
    )
    if "call" not in takes:
        return op
    names = {"submit": _SUBMITTED, "delay": ("once", "thrice"), "crash": ("once", "thrice")}
    call = _call(bits, names.get(verb, _EXECUTED), 0, holds=verb == "submit")
    return Op(verb, op.session, op.label, op.lock, op.number, call)


def _session(bits: Bits, takes: tuple[str, ...]) -> str:
    if "named" in takes:
        return _pick(bits, _NAMED)
    return _pick(bits, (*_NAMED[1:], NO_SESSION)) if "session" in takes else ""


def _call(bits: Bits, names: Sequence[str], depth: int, *, holds: bool = False) -> Call:
    name = _pick(bits, names)
    if name == "nobody":
        return Call(name)
    steps = [_step(bits, depth) for _ in range(_pick(bits, (1, 0, 2, 3)))]
    if holds and not bits():
        steps.insert(_pick(bits, (0, len(steps))), Step("hold"))
    return Call(name, tuple(steps))


def _step(bits: Bits, depth: int) -> Step:
    verb = _pick(bits, _STEPS)
    match verb:
        case "add":
            return Step(verb, number=_pick(bits, (1, 2, 3)))
        case "note":
            return Step(verb, _pick(bits, ("n", "o")))
        case "fail":
            word, below = _pick(bits, _FAILURES)
            return Step(verb, word, below)
        case "call":
            if depth > 2:
                return Step("emit")
            called = _call(bits, _CALLED, depth + 1)
            return Step(verb, call=called, survives=bits())
    return Step(verb)


def _pick(bits: Bits, options: Sequence[T]) -> T:
    """One of the options; the first is the simplest."""
    index = 0
    for _ in range((len(options) - 1).bit_length()):
        index = 2 * index + bits()
    return options[index % len(options)]
