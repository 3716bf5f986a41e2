"""What a failure was made of: the program, the two answers, the events."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import msgspec

from harness.outcome import Story
from harness.trace import EventTrace

__all__ = ["Counterexample", "evidence", "finished", "printable"]


_LONGEST = 20_000


class Counterexample(AssertionError):  # noqa: N818 - what it is, rather than an error
    """A rule is broken by a program: the smallest one that was found, and the two answers.

    What checks by generated programs raises it; every report shows its parts. ::

        raise Counterexample("the model forbids it", program=str(program),
                             expected="version 3", actual="version 2")
    """

    def __init__(self, message: str, *, program: str, expected: str = "", actual: str = "") -> None:
        super().__init__(message)
        self.program = program
        self.expected = expected
        self.actual = actual


def _program(error: BaseException) -> str:
    """The program that an error tells of: a ``Counterexample``'s, or Hypothesis's example."""
    if isinstance(error, Counterexample):
        return error.program
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    return "\n".join(note for note in notes if note.startswith("Falsifying example"))


def _compared(error: BaseException) -> tuple[str, str]:
    """Expected and actual, where an error tells them: rules say ``assert actual == expected``."""
    if isinstance(error, Counterexample):
        return error.expected, error.actual
    text, _, _ = str(error).partition("\n")
    if not isinstance(error, AssertionError) or not text.startswith("assert "):
        return "", ""
    source = text.removeprefix("assert ")
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", ""
    match tree:
        case ast.Compare(left=left, ops=[ast.Eq() | ast.Is()], comparators=[right]):
            sides = (ast.get_source_segment(source, side) or "" for side in (right, left))
            return next(sides), next(sides)
    return "", ""


def printable(text: str) -> str:
    """Text that can be written down, whatever and how much a runtime put into its messages."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} … ({len(text) - _LONGEST} more characters)"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def evidence(error: BaseException) -> Story:
    """What an error itself tells."""
    expected, actual = _compared(error)
    return Story(
        program=printable(_program(error)),
        expected=printable(expected),
        actual=printable(actual),
    )


def finished(story: Story, *, seen: Iterable[str], trace: EventTrace, replay: str) -> Story:
    """The story with everything else that is known when the rule has ended."""
    return msgspec.structs.replace(
        story,
        seen=tuple(printable(text) for text in seen),
        events=tuple(trace.moments()),
        events_left_out=trace.left_out,
        replay=replay,
    )
