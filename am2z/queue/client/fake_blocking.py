"""Blocking commands for fakeredis, in terms of those that do not block.

fakeredis' own blocking forms wait on a thread, and some answer wrongly; the forms that do not block
are right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

__all__ = ["Attempt", "Blocking", "blocking_attempt"]

Run = Callable[[list[bytes]], Any]
"""Runs a command that does not block and gives its reply, an error as an exception object."""

Attempt = Callable[[Run], Any]
"""One attempt: the reply, or ``None`` while there is nothing yet."""


@dataclass(frozen=True, slots=True)
class Blocking:
    """A blocking command: what to try, and for how many seconds (0: for ever)."""

    attempt: Attempt
    seconds: float


_POPS = {b"BLPOP": b"LPOP", b"BRPOP": b"RPOP", b"BZPOPMIN": b"ZPOPMIN", b"BZPOPMAX": b"ZPOPMAX"}
_MOVES = {b"BLMOVE": b"LMOVE", b"BRPOPLPUSH": b"RPOPLPUSH"}
_MULTI_POPS = {b"BLMPOP": b"LMPOP", b"BZMPOP": b"ZMPOP"}


def blocking_attempt(name: bytes, fields: list[bytes], run: Run) -> Blocking | None:
    """How to try the command ``fields``, whose upper-case name is ``name``; ``None`` if it does not
    block. Raises ``ResponseError`` as the server would.
    """
    if name in _POPS and len(fields) > 2:
        return Blocking(_pop(_POPS[name], fields[1:-1]), _seconds(fields[-1]))
    if name in _MOVES and len(fields) > 3:
        return Blocking(_plain([_MOVES[name], *fields[1:-1]]), _seconds(fields[-1]))
    if name in _MULTI_POPS and len(fields) > 3:
        return Blocking(_plain([_MULTI_POPS[name], *fields[2:]]), _seconds(fields[1]))
    if name in (b"XREAD", b"XREADGROUP"):
        return _stream_read(fields, run)
    return None


def _seconds(text: bytes) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ResponseError("timeout is not a float or out of range") from None
    if seconds < 0:
        raise ResponseError("timeout is negative")
    return seconds


def _pop(command: bytes, keys: list[bytes]) -> Attempt:
    def attempt(run: Run) -> Any:
        for key in keys:
            reply = run([command, key])
            if isinstance(reply, Exception):
                return reply
            if reply:  # an element, or the pair of a sorted set
                return [key, *reply] if isinstance(reply, list) else [key, reply]
            if reply == b"":
                return [key, reply]  # the empty string is an element too
        return None

    return attempt


def _plain(fields: list[bytes]) -> Attempt:
    return lambda run: run(fields)


def _stream_read(fields: list[bytes], run: Run) -> Blocking | None:
    words = [field.upper() for field in fields]
    if b"STREAMS" not in words:
        return None
    start = words.index(b"STREAMS")
    if b"BLOCK" not in words[:start]:
        return None
    block = words.index(b"BLOCK")
    try:
        seconds = int(fields[block + 1]) / 1000
    except ValueError:
        raise ResponseError("timeout is not an integer or out of range") from None
    tail = fields[start + 1 :]
    half = len(tail) // 2
    # "$" is the stream's end at the time of the call, not of each attempt.
    ids = [
        _last_id(key, run) if place == b"$" else place
        for key, place in zip(tail[:half], tail[half:], strict=False)
    ]
    rest = fields[:block] + fields[block + 2 : start + 1] + tail[:half] + ids
    if len(tail) % 2:
        rest = fields  # for the server's own error
    return Blocking(_nothing_is_none(rest), seconds)


def _nothing_is_none(fields: list[bytes]) -> Attempt:
    return lambda run: run(fields) or None


def _last_id(key: bytes, run: Run) -> bytes:
    info = run([b"XINFO", b"STREAM", key])
    if isinstance(info, list) and b"last-generated-id" in info[::2]:
        last: bytes = info[2 * info[::2].index(b"last-generated-id") + 1]
        return last
    return b"0-0"
