"""A failure, told so that one can learn from it."""

from __future__ import annotations

import linecache
import textwrap
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType

from harness.catalogue import Rule

__all__ = ["describe", "is_crash", "leaves", "one_line", "tell"]

_HARNESS = Path(__file__).parent
_SPEAKS_FOR_THE_RUNTIME = ("conformance", "collector.py", "waiting.py", "processors.py", "zoo")
"""The parts of the kit whose errors say something about the runtime under test."""

_PLUMBING = ("/trio/", "/contextlib.py", "/harness/kit.py", "/harness/trial.py", "/outcome/")
_WIDTH = 96


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside a group, however deep; the error itself where it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def is_crash(error: BaseException) -> bool:
    """Whether an error came from the kit itself, so that it says nothing of the runtime."""
    if isinstance(error, AssertionError):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    where = Path(frames[-1].filename)
    if not where.is_relative_to(_HARNESS):
        return False
    return where.relative_to(_HARNESS).parts[0] not in _SPEAKS_FOR_THE_RUNTIME


def one_line(error: BaseException) -> str:
    """The first line of an error, in at most 200 characters."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, AssertionError):
        return (text or _source(error) or "an assertion without a message")[:200]
    return f"{type(error).__name__}: {text}"[:200]


def describe(error: BaseException, body: CodeType) -> str:
    """What was seen: the line of the rule, and what the assertion or the error says."""
    frames = traceback.extract_tb(error.__traceback__)
    lines: list[str] = []
    for frame in reversed(frames):
        if frame.filename == body.co_filename and frame.name == body.co_name:
            source = linecache.getline(frame.filename, frame.lineno or 0).strip()
            lines += [f"{_short_path(frame.filename)}:{frame.lineno}", f"> {source}"]
            break
    message = str(error) or "(no message)"
    lines.append(
        message if isinstance(error, AssertionError) else f"{type(error).__name__}: {message}"
    )
    lines += [str(note) for note in getattr(error, "__notes__", ())]
    if not isinstance(error, AssertionError):
        shown = [f for f in frames if not any(part in f.filename for part in _PLUMBING)]
        lines += [f"  at {_short_path(f.filename)}:{f.lineno} in {f.name}" for f in shown[-8:]]
        if error.__cause__ is not None:
            lines.append(f"  caused by {type(error.__cause__).__name__}: {error.__cause__}")
    return "\n".join(lines)


def tell(
    rule: Rule,
    runtime: str,
    *,
    reason: str,
    seen: Iterable[str],
    events: Iterable[str],
    replay: str,
    seed: int,
    program: str = "",
) -> str:
    """The whole story of a failure."""
    parts = [
        f"{rule.id}  {rule.level}{'  (safety)' if rule.safety else ''}  on {runtime}: {reason}",
        _paragraph("The rule", rule.text),
        _paragraph("Why", rule.intent),
        _block("The program", program.splitlines()) if program else "",
        _block("What was seen", seen),
        _block("Events", list(events) or ["none were recorded"]),
        _paragraph("If it fails", rule.help),
        _block("Replay", [f"{replay}    (seed {seed})"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _source(error: BaseException) -> str:
    """The line of source that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line or "") if frames else ""


def _paragraph(title: str, text: str) -> str:
    return f"{title}:\n" + textwrap.fill(
        " ".join(text.split()), _WIDTH, initial_indent="    ", subsequent_indent="    "
    )


def _block(title: str, lines: Iterable[str]) -> str:
    return f"{title}:\n" + textwrap.indent("\n".join(lines), "    ")


def _short_path(filename: str) -> str:
    path = Path(filename)
    for base in (_HARNESS.parent, Path.cwd()):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return filename
