"""Error replies that say: not here. The command did not run, and may run elsewhere or later."""

from __future__ import annotations

from enum import Enum
from typing import Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

__all__ = ["VALUES", "Detour", "command_name", "describe", "detour_of"]

VALUES = frozenset((bytes, int, list, type(None)))
"""The types of replies that are no errors."""


class Detour(Enum):
    """Where to go instead."""

    LEAVE = "leave"
    """This server cannot do it any more, so it is perhaps not the master any more."""
    MOVED = "moved"
    """Another server has the slot."""
    ASK = "ask"
    """The slot is being moved, and this key is gone already or has never been."""
    WAIT = "wait"
    """The slot is being moved, and some keys are here and some are there."""


_BY_CLASS: dict[type, Detour] = {
    ReadOnlyError: Detour.LEAVE,
    BusyLoadingError: Detour.LEAVE,
    MasterDownError: Detour.LEAVE,
    ClusterDownError: Detour.LEAVE,
    MovedError: Detour.MOVED,
    AskError: Detour.ASK,
    TryAgainError: Detour.WAIT,
}
_LEAVE_CODES = ("UNBLOCKED ", "NOREPLICAS ")
_IN_SCRIPT = ": -READONLY "  # how a server before 7.0 reports it out of a script


def detour_of(reply: Any, replies: int = 1) -> Detour | None:
    """What a raw reply says; ``None`` for values and for every error that is the caller's.

    For the ``replies`` of a pipeline: something only if *no* step of it has run.
    """
    cls = type(reply)
    if replies > 1 and cls is list:
        return _of_pipeline(reply)
    if cls is ResponseError:
        text = str(reply)
        return Detour.LEAVE if text.startswith(_LEAVE_CODES) or _IN_SCRIPT in text else None
    return _BY_CLASS.get(cls)


def describe(error: Any) -> str:
    """A refusal in words: redis-py drops the code of it."""
    if isinstance(error, AskError):
        verb = "has moved" if isinstance(error, MovedError) else "is being moved"
        return f"slot {error.slot_id} {verb} to {error.host}:{error.port}"
    return str(error)


def _of_pipeline(replies: list[Any]) -> Detour | None:
    if isinstance(replies[-1], ExecAbortError):
        # The transaction was refused whole, because of one of its steps.
        steps = [detour for step in replies[:-1] if (detour := detour_of(step)) is not None]
        return steps[0] if steps else None
    found = [detour_of(step) for step in replies]
    return found[0] if None not in found else None


def command_name(data: bytes) -> bytes:
    """The name of the first command in packed bytes, in upper case."""
    return bytes(data.split(b"\r\n", 3)[2]).upper()
