"""Identifiers: short, unique, made of characters that every key and URL can hold."""

from __future__ import annotations

import os

from am2z.errors import ConfigurationError

__all__ = ["MAX_NAME", "check_execution_id", "check_name", "new_id"]

MAX_NAME = 256
"""The longest name of a processor or session, in characters."""


_LENGTH = 16
_AT_ONCE = 64
# Eight bytes stand for each of the 32 characters: all are equally likely.
_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8

_fresh: list[str] = []
"""Identifiers that nobody has yet: asking the system for each by itself costs ten times as much."""

# A child process must not give out what its parent gives out too.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh.clear)


def new_id() -> str:
    """A fresh random identifier: 16 characters (80 bits) of a to z and 2 to 7."""
    try:
        return _fresh.pop()  # one step, so that no two threads get the same
    except IndexError:
        text = os.urandom(_LENGTH * _AT_ONCE).translate(_CHARACTERS).decode()
        first, *others = (text[i : i + _LENGTH] for i in range(0, len(text), _LENGTH))
        _fresh.extend(others)
        return first


def check_name(name: object, what: str) -> str:
    """``name`` if it may be the name of a ``what`` (a processor, a session, an event).

    Raises ``ConfigurationError`` for what is not a string, is empty, longer than 256 characters, or
    holds control characters or lone surrogates: such names cannot be printed, logged or encoded.
    """
    if isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable():
        return name
    raise ConfigurationError(
        f"{name!r:.80} cannot be the name of a {what}: give a string of 1 to {MAX_NAME} "
        "printable characters"
    )


def check_execution_id(execution_id: object) -> str:
    """``execution_id`` if it may be one: letters, digits, ``. _ - ~``, at most 200.

    Raises ``ConfigurationError`` otherwise.
    """
    if (
        isinstance(execution_id, str)
        and 0 < len(execution_id) <= 200
        and execution_id.isascii()
        and execution_id.translate(_PUNCTUATION).isalnum()
    ):
        return execution_id
    raise ConfigurationError(
        f"{execution_id!r:.80} cannot be an execution id: give 1 to 200 of the characters "
        "A-Z a-z 0-9 . _ - ~"
    )


_PUNCTUATION = str.maketrans({".": "0", "_": "0", "-": "0", "~": "0"})
