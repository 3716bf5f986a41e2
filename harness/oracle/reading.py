"""Reads programs from their text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from am2z import ConfigurationError
from harness.oracle.program import (
    ERRORS,
    LABELS,
    LASTING,
    LOCKS,
    NO_SESSION,
    OPERANDS,
    PROCESSORS,
    REPLACED,
    SESSIONS,
    Call,
    Op,
    Program,
    Step,
)

__all__ = ["parse", "parse_steps"]

_CHOICES = {
    "session": (*SESSIONS, NO_SESSION),
    "named": SESSIONS,
    "label": LABELS,
    "lock": LOCKS,
    "name": REPLACED,
}
_LARGEST = 99
_DEEPEST = 8


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
        if word in ("who", "emit", "progress", "hold"):
            return Step(word)
        if word[0] == "+":
            return Step("add", number=self.number(word[1:]))
        if word[0] == "&" and word[1:].isalnum():
            return Step("note", word[1:])
        if word[0] == "!":
            kind, sign, below = word[1:].partition("<")
            if kind in ERRORS or (kind in LASTING and not sign):
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
