"""What the compositions of a program do with their steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from harness.oracle.model.outcome import Outcome, Value
from harness.oracle.model.seen import ANY
from harness.oracle.program import Call

__all__ = ["COMPOSITIONS", "Unforeseen"]


class Unforeseen(Exception):  # noqa: N818 - it is no error, it says that there is no one answer
    """Nobody knows what would be seen."""


class Inside(Protocol):
    """The execution of a composition."""

    def in_place(self, name: str, given: Value) -> Outcome:
        """A step that was given as a processor."""
        ...

    def child(self, call: Call, value: Value) -> Outcome:
        """A step that was given by name."""
        ...


def _pair(inside: Inside, call: Call, given: Value) -> Outcome:
    first = inside.in_place("first", given)
    if first.error:
        return Outcome(given, first.error, at=first.at or "first")
    second = inside.child(replace(call, name="thrice"), first.value)
    if second.error:
        return Outcome(first.value, second.error, steps=1, at=second.at or "thrice")
    return Outcome(second.value)


def _fork(inside: Inside, _call: Call, given: Value) -> Outcome:
    left = inside.in_place("left", given)
    if left.error:
        return Outcome(given, left.error, steps=ANY, at=left.at or "left")
    right = (given[0], (*given[1], "r"))
    if left.value[1] not in (given[1], right[1]):
        return Outcome(given, "ValidationError")  # both have changed it, and not in the same way
    return Outcome((left.value[0], right[1]))


def _way(inside: Inside, call: Call, given: Value) -> Outcome:
    match given[0] % 4:
        case 0:
            name, result = "once", inside.child(replace(call, name="once"), given)
        case 1:
            name, result = "lane", inside.in_place("lane", given)
        case 3:
            name, result = "hasty", inside.in_place("hasty", given)
        case _:
            return Outcome(given, "ValidationError")
    if result.error:
        return Outcome(result.value, result.error, at=result.at or name)
    return Outcome(result.value)


def _swarm(inside: Inside, call: Call, given: Value) -> Outcome:
    count, trail = given
    number = (count + 1) % 3
    for one in range(number):
        result = inside.child(replace(call, name="thrice"), (one + 1, ()))
        if result.error and number > 1:
            raise Unforeseen  # the others are cancelled, however far they are
        if result.error:
            return Outcome(given, result.error, at=result.at or "thrice")
        count, trail = count + result.value[0], (*trail, *result.value[1])
    return Outcome((count, trail))


COMPOSITIONS: dict[str, Callable[[Inside, Call, Value], Outcome]] = {
    "pair": _pair,
    "fork": _fork,
    "way": _way,
    "swarm": _swarm,
}
