"""Keep secrets out of what is logged.

Logs are copied to places that no secret may reach, so every value on its way into a record passes
through here. Two things give a secret away: the name it is stored under, and a few shapes of text
(a URL with a password, ``password=...``, a bearer token).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["HIDDEN", "as_pairs", "redact", "redact_text"]

HIDDEN = "***"

# "token" must end there: `max_tokens` counts something and is no secret.
_NAMES = (
    r"pass(?:word|wd|phrase)|pwd|secret|token(?![a-z])|credential|authorization|cookie"
    r"|(?:api|private|access|secret)[_\- ]?key"
)
_secret_name = re.compile(_NAMES, re.IGNORECASE)
# Greedy up to the last @ before the path: a password may itself hold one.
_url_password = re.compile(r"(\b[a-z][a-z0-9+.\-]*://[^\s/@:]*:)[^\s/]+@", re.IGNORECASE)
_bearer = re.compile(r"\b(Bearer|Basic)\s+[\w\-.~+/]{6,}=*", re.IGNORECASE)
_plain_word = re.compile(r"[^\s'\"=]+")
_assignment = re.compile(
    rf"((?:{_NAMES})\w*[\"']?\s*[=:]\s*)"
    r"(?!\*\*\*)(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&)}\]\"']+)",
    re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """``text`` with what looks like a secret replaced by ``***``.

    Example: ``redact_text("redis://:hunter2@db/0")`` gives ``"redis://:***@db/0"``.
    """
    text = _url_password.sub(rf"\1{HIDDEN}@", text)
    text = _bearer.sub(rf"\1 {HIDDEN}", text)
    return _assignment.sub(rf"\1{HIDDEN}", text)


def redact(value: Any, *, depth: int = 0) -> Any:
    """A copy of ``value`` that is safe to log.

    Entries of mappings whose name says "secret" become ``***``, text passes through
    ``redact_text``, numbers and ``None`` stay what they are. Everything else becomes its redacted
    ``repr``, and so does what is nested deeper than any context should be.

    Example: ``redact({"user": "ada", "password": "x"})`` gives
    ``{"user": "ada", "password": "***"}``.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth < 6:
        if isinstance(value, Mapping):
            return {
                str(name): HIDDEN if _secret_name.search(str(name)) else redact(v, depth=depth + 1)
                for name, v in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [redact(item, depth=depth + 1) for item in value]
    return redact_text(_safe_repr(value))


def as_pairs(context: Mapping[str, Any]) -> str:
    """``context`` as ``key=value key=value``, redacted and on one line.

    Text that holds blanks, quotes or anything that cannot be printed is quoted.

    Example: ``as_pairs({"queue": "resize", "note": "two words"})`` gives
    ``"queue=resize note='two words'"``.
    """
    return " ".join(f"{name}={_one_word(v)}" for name, v in redact(context).items())


def _one_word(value: object) -> str:
    if isinstance(value, str) and _plain_word.fullmatch(value) and value.isprintable():
        return value
    return repr(value)


def _safe_repr(value: object) -> str:
    """``repr`` of a value that a user wrote: logging must not fail because it does."""
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__} whose repr failed>"
