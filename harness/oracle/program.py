"""Programs: operations on a runtime as plain data, with a text form for replay.

A program is a list of operations, separated by ``;``. Each is a verb and its operands::

    execute a thrice(+1 !network<2); submit x a once(hold +2); stop a; get a

Sessions are called ``a`` and ``b``, ``-`` is an execution without one. ``x``, ``y`` and ``z`` are
handles, ``l`` and ``m`` are locks. What a processor does is written behind its name:

========================  =======================================================================
``+3``                    add to ``count``
``&n``                    append to the list in the state, in place
``emit`` ``progress``     an event of its own; a percentage
``hold``                  wait until ``release``; only in what was submitted
``!business``             raise; also ``!validation``, ``!network``, ``!foreign`` (no ``AM2ZError``)
``!network<3``            raise in attempts 1 and 2
``!partial``              return a ``Failure`` with the state as it is by then
``once(+2)``              call a processor; its failure is passed on
``once(+2)?``             call a processor; its failure is survived, and noted
========================  =======================================================================

Processors: ``once`` has no retry policy, ``thrice`` has three attempts with no wait between,
``later`` has a second attempt in an hour, ``single`` runs one at a time, ``pair`` is a chain that
does the same twice, and ``nobody`` is registered nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from am2z import ConfigurationError

__all__ = [
    "DOOMED",
    "ERRORS",
    "LABELS",
    "LOCKS",
    "NO_SESSION",
    "OPERANDS",
    "PROCESSORS",
    "SESSIONS",
    "Call",
    "Op",
    "Program",
    "Step",
    "parse",
    "parse_steps",
]

SESSIONS = ("a", "b")
NO_SESSION = "-"
LABELS = ("x", "y", "z")
LOCKS = ("l", "m")
PROCESSORS = ("once", "thrice", "later", "single", "pair", "nobody")
DOOMED = "doomed"
"""Does what ``once`` does, on a worker that is killed for it; ``crash`` calls it, nobody else."""

ERRORS = ("business", "validation", "network", "foreign")

OPERANDS = {
    "execute": ("session", "call"),
    "many": ("session", "number", "call"),
    "submit": ("label", "session", "call"),
    "delay": ("label", "session", "call"),
    "release": ("label",),
    "cancel": ("label",),
    "again": ("label",),
    "set": ("named", "number"),
    "set-right": ("named", "number"),
    "set-wrong": ("named", "number"),
    "update": ("named", "number"),
    "delete": ("named",),
    "get": ("named",),
    "updates": ("named", "number"),
    "race": ("named", "number"),
    "stop": ("named",),
    "clean": ("named",),
    "clean-all": (),
    "lock": ("lock",),
    "unlock": ("lock",),
    "line": ("lock", "number"),
    "stats": (),
    "restart": (),
    "reopen": (),
    "crash": ("session", "call"),
}
"""The operations and what each takes, in the order in which it is written."""

_CHOICES = {
    "session": (*SESSIONS, NO_SESSION),
    "named": SESSIONS,
    "label": LABELS,
    "lock": LOCKS,
}
_LARGEST = 99
_DEEPEST = 8


@dataclass(frozen=True)
class Step:
    """One thing that a processor does.

    ``verb`` is ``add`` or ``note`` (with ``word``), ``emit``, ``progress``, ``hold``, ``fail``
    (with ``word``; ``below``: in attempts below that one only, 0: always) or ``call``.
    """

    verb: str
    word: str = ""
    number: int = 0
    call: Call | None = None
    survives: bool = False

    def __str__(self) -> str:
        match self.verb:
            case "add":
                return f"+{self.number}"
            case "note":
                return f"&{self.word}"
            case "fail":
                return f"!{self.word}<{self.number}" if self.number else f"!{self.word}"
            case "call":
                return f"{self.call}{'?' if self.survives else ''}"
        return self.verb


@dataclass(frozen=True)
class Call:
    """A processor, and what it is to do."""

    name: str
    steps: tuple[Step, ...] = ()

    @property
    def plan(self) -> str:
        """The steps as text."""
        return " ".join(map(str, self.steps))

    def __str__(self) -> str:
        return f"{self.name}({self.plan})"


@dataclass(frozen=True)
class Op:
    """One operation; the fields that its verb does not take are empty."""

    verb: str
    session: str = ""
    label: str = ""
    lock: str = ""
    number: int = 0
    call: Call | None = None

    @property
    def named(self) -> str:
        """The session, which is not ``-``."""
        return self.session

    def __str__(self) -> str:
        return " ".join([self.verb, *(str(getattr(self, kind)) for kind in OPERANDS[self.verb])])


@dataclass(frozen=True)
class Program:
    """A list of operations; ``str()`` gives the text that ``parse`` reads."""

    ops: tuple[Op, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.ops))

    def __len__(self) -> int:
        return len(self.ops)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    @property
    def verbs(self) -> frozenset[str]:
        """The verbs in use."""
        return frozenset(op.verb for op in self.ops)

    def lines(self) -> list[str]:
        """The program with a number before each operation."""
        return [f"{number:>2}  {op}" for number, op in enumerate(self.ops, 1)]


def parse(text: str) -> Program:
    """The program that ``str(program)`` stands for.

    Raises ``ConfigurationError`` that names the operation that makes no sense.
    """
    return Program(tuple(_parse_op(part) for part in text.split(";") if part.strip()))


def parse_steps(text: str) -> tuple[Step, ...]:
    """The steps of a processor; raises ``ConfigurationError``."""
    reader = _Reader(text, text)
    steps = tuple(reader.steps(0))
    reader.end()
    return steps


_TOKEN = re.compile(r"\s*([A-Za-z0-9_&!<+?.-]+\(?|\)\??|\S)")


class _Reader:
    """Takes a text apart, token by token."""

    def __init__(self, text: str, whole: str) -> None:
        self._tokens = [match[1] for match in _TOKEN.finditer(text)]
        self._whole = whole
        self._next = 0
        self.closing = ""

    def take(self, what: str) -> str:
        if self._next >= len(self._tokens):
            raise self.wrong(f"{what} is missing")
        self._next += 1
        return self._tokens[self._next - 1]

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise self.wrong(f"{self._tokens[self._next]!r} is too much")

    def wrong(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"in {self._whole.strip()!r}: {why}")

    def operand(self, kind: str) -> tuple[str, object]:
        if kind == "call":
            return "call", self.call(self.take("a processor"), 0)
        word = self.take(f"a {kind}")
        if kind == "number":
            return "number", self.number(word)
        if word not in _CHOICES[kind]:
            raise self.wrong(f"{word!r} is none of {', '.join(_CHOICES[kind])}")
        return "session" if kind == "named" else kind, word

    def number(self, word: str) -> int:
        if not word.isascii() or not word.isdecimal() or not 0 < int(word[:4]) <= _LARGEST:
            raise self.wrong(f"{word!r} is no number from 1 to {_LARGEST}")
        return int(word)

    def call(self, word: str, depth: int) -> Call:
        name = word.removesuffix("(")
        if name == word or name not in PROCESSORS:
            raise self.wrong(f"{word!r} begins no call; write one of {', '.join(PROCESSORS)} and (")
        if depth > _DEEPEST:
            raise self.wrong("calls are nested too deeply")
        steps = tuple(self.steps(depth + 1))
        self.closing = self.take("a closing bracket")
        return Call(name, steps)

    def steps(self, depth: int) -> Iterator[Step]:
        while self._next < len(self._tokens) and not self._tokens[self._next].startswith(")"):
            yield self._step(self.take("a step"), depth)

    def _step(self, word: str, depth: int) -> Step:
        if word.endswith("("):
            call = self.call(word, depth)
            return Step("call", call=call, survives=self.closing.endswith("?"))
        if word in ("emit", "progress", "hold"):
            return Step(word)
        if word[0] == "+":
            return Step("add", number=self.number(word[1:]))
        if word[0] == "&" and word[1:].isalnum():
            return Step("note", word[1:])
        if word[0] == "!":
            kind, sign, below = word[1:].partition("<")
            if kind in ERRORS or (kind == "partial" and not sign):
                return Step("fail", kind, self.number(below) if sign else 0)
        raise self.wrong(f"{word!r} is no step")


def _parse_op(text: str) -> Op:
    reader = _Reader(text, text)
    verb = reader.take("an operation")
    if verb not in OPERANDS:
        raise reader.wrong(f"{verb!r} is none of {', '.join(OPERANDS)}")
    fields = dict(reader.operand(kind) for kind in OPERANDS[verb])
    if "call" in fields and reader.closing.endswith("?"):
        raise reader.wrong("only a call inside a processor can be survived")
    reader.end()
    return Op(verb, **fields)  # type: ignore[arg-type]  # as OPERANDS has them
