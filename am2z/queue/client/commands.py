"""Which commands may not run on a shared connection, and for how long a command blocks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from redis.exceptions import DataError

__all__ = ["check_shared", "server_timeout"]


def _spellings(*names: str) -> frozenset[str | bytes]:
    """The ways in which programs write a command's name, so that one look-up tells."""
    both = {spelling for name in names for spelling in (name, name.lower())}
    return frozenset(both | {spelling.encode() for spelling in both})


STATEFUL = _spellings(
    "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "SELECT", "AUTH", "HELLO", "RESET", "QUIT",
    "MONITOR", "SYNC", "PSYNC", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE",
    "PUNSUBSCRIBE", "SUNSUBSCRIBE", "CLIENT REPLY", "CLIENT TRACKING", "READONLY", "READWRITE",
)  # fmt: skip
"""Commands that change the connection itself, or that are answered more than once."""

_TIMEOUT_LAST = _spellings(
    "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX",
)  # fmt: skip
_TIMEOUT_FIRST = _spellings("BLMPOP", "BZMPOP")
_STREAM_READS = _spellings("XREAD", "XREADGROUP")
_BLOCK = _spellings("BLOCK")
_STREAMS = _spellings("STREAMS")

BLOCKING = _TIMEOUT_LAST | _TIMEOUT_FIRST | _STREAM_READS
"""Commands that may wait on the server (``XREAD`` and ``XREADGROUP`` only with ``BLOCK``)."""


def server_timeout(args: tuple[Any, ...]) -> float | None:
    """For how many seconds the server may hold this command; ``None`` if it does not block.

    Raises ``DataError`` for a timeout of zero: a server that vanished would never be noticed.
    """
    name = args[0] if args else None
    if name not in BLOCKING:
        return None
    scale = 1.0
    if name in _STREAM_READS:
        scale = 0.001
        found = _block_option(args)
        if found is None:
            return None
    elif name in _TIMEOUT_LAST:
        found = args[-1]
    else:
        found = args[1] if len(args) > 1 else None
    try:
        seconds = float(found) * scale
    except (TypeError, ValueError):
        raise DataError(f"{found!r} is no timeout of {name!r}: give a number") from None
    if not 0 < seconds < float("inf"):
        raise DataError(f"{name!r} needs a finite timeout greater than zero, not {found!r}")
    return seconds


def check_shared(args: tuple[Any, ...]) -> None:
    """Refuse, with ``DataError``, what must not run on a connection that everybody shares."""
    name = args[0] if args else None
    if name in STATEFUL:
        raise DataError(
            f"{name!r} would change the connection that all tasks share: "
            "use pipeline(transaction=True) for MULTI and EXEC, and the URL for the rest"
        )
    if name in BLOCKING and server_timeout(args) is not None:
        raise DataError(
            f"{name!r} would block the connection that all tasks share: "
            "use client.block(..., timeout=seconds)"
        )


def _block_option(args: tuple[Any, ...]) -> Any:
    for option, value in pairwise(args):
        if option in _STREAMS:
            return None  # what follows are names of streams
        if option in _BLOCK:
            return value
    return None
