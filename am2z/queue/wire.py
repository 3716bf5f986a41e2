"""What the scripts answer, as Python values.

Redis is outside the process: nothing read from it is trusted. Every function here gives a value of
the right type or raises ``WireError``; none of them gives half a value.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from am2z.queue.keys import decode

__all__ = [
    "AckAnswer",
    "Acked",
    "CancelAnswer",
    "CancelOrder",
    "Claimed",
    "Claims",
    "Counts",
    "EnqueueAnswer",
    "Enqueued",
    "Finished",
    "LockFree",
    "Look",
    "NackAnswer",
    "Status",
    "StreamEvent",
    "Why",
    "WireError",
    "parse_event",
    "parse_inbox",
    "readable",
]

_log = logging.getLogger("am2z.replies")


class WireError(ValueError):
    """Redis answered something that this version of AM2Z does not write.

    Another program uses the namespace, or another version of AM2Z does: give each its own.
    """


class Status(StrEnum):
    """Where an execution stands."""

    UNKNOWN = ""
    WAITING = "w"
    DELAYED = "y"
    ACTIVE = "a"
    DONE = "D"
    FAILED = "F"


class Why(StrEnum):
    """Why an execution ended, where its worker did not say so itself (``NONE``)."""

    NONE = ""
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    POISON = "poison"
    ORPHAN = "orphan"
    LOST = "lost"
    CORRUPT = "corrupt"


class EnqueueAnswer(StrEnum):
    """What became of a request to enqueue."""

    OK = "ok"
    EXISTS = "exists"
    FINISHED = "finished"
    STOPPED = "stopped"
    FULL = "full"
    UNSERVED = "unserved"
    ORPHAN = "orphan"
    MISMATCH = "mismatch"


class AckAnswer(StrEnum):
    """What became of a reported end. ``ALREADY``: this very report had arrived before."""

    OK = "ok"
    ALREADY = "already"
    LOST = "lost"
    STOPPED = "stopped"


class NackAnswer(StrEnum):
    """What became of an execution that was given back."""

    OK = "ok"
    LOST = "lost"
    STOPPED = "stopped"


class CancelAnswer(StrEnum):
    """What a request to cancel found."""

    OK = "ok"
    ABSENT = "absent"
    FINISHED = "finished"


class Finished(NamedTuple):
    """The end of an execution. ``body`` is None where it is too long for an inbox: look for it."""

    id: str
    status: Status
    why: Why
    version: int
    event_id: str | None
    body: bytes | None


class CancelOrder(NamedTuple):
    """Stop running ``id`` under this fence: it has ended already, nobody wants its result."""

    id: str
    fence: int


class LockFree(NamedTuple):
    """The lock that ``owner`` waits for is free, and its turn has come."""

    owner: str


class Enqueued(NamedTuple):
    """``waiting`` counts the processor's waiting work (OK, FULL); ``finished`` only if FINISHED."""

    answer: EnqueueAnswer
    waiting: int = 0
    finished: Finished | None = None


class Claimed(NamedTuple):
    """An execution that is now ours, under a lease and a fence."""

    id: str
    fence: int
    attempt: int
    deliveries: int
    processor: str
    session_id: str | None
    payload: bytes


class Claims(NamedTuple):
    """What a claim got.

    ``next_due``: seconds until there may be more, 0 where more waits, None if nothing is delayed.

    ``acked`` answers the reports that came with it, in order.
    """

    items: list[Claimed]
    next_due: float | None
    acked: Sequence[Acked] = ()


class Acked(NamedTuple):
    """``version`` is that of the session's state which was committed, 0 without one."""

    answer: AckAnswer
    version: int = 0


class Look(NamedTuple):
    """Where an execution stands; ``progress`` in percent, ``finished`` once it is."""

    id: str
    status: Status
    progress: float | None = None
    finished: Finished | None = None


class Counts(NamedTuple):
    """How many executions of one processor there are."""

    waiting: int
    active: int
    delayed: int
    completed: int
    failed: int


class StreamEvent(NamedTuple):
    """One event of the stream; what does not apply to its type is None (``data``: empty)."""

    event_id: str
    type: str
    execution_id: str | None
    processor: str | None
    session_id: str | None
    attempt: int | None
    name: str | None
    data: bytes
    why: str | None


_EVENT_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_HEAD_LIMIT = 4096  # the longest id, encoded, and the rest of a head fit many times over
_EnumT = TypeVar("_EnumT", bound=StrEnum)
_T = TypeVar("_T")


def readable(items: Iterable[Any], read: Callable[[Any], _T]) -> list[_T]:
    """What ``read`` makes of each item; one that it refuses is logged and left out.

    For lists of what has nothing to do with each other: one bad entry must not hide the rest.
    """
    found = []
    for item in items:
        try:
            found.append(read(item))
        except WireError as error:
            _log.warning("an entry that cannot be read was skipped: %s", error)
    return found


def parse_inbox(data: bytes) -> Finished | CancelOrder | LockFree:
    """One element of an inbox.

    Raises ``WireError`` for anything that the scripts do not write.
    """
    head = data[:_HEAD_LIMIT].split(b" ", 5)
    if len(head) == 2 and len(data) <= _HEAD_LIMIT and head[1][:1] == b"!":
        return CancelOrder(as_name(head[0]), as_int(head[1][1:]))
    if len(head) == 2 and head[1] == b"+":
        return LockFree(as_name(head[0]))
    if len(head) != 6:
        raise WireError(f"this is no entry of an inbox: {data[:80]!r}")
    identifier, status, why, version, event_id, rest = head
    ended = as_enum(Status, status)
    if ended not in (Status.DONE, Status.FAILED):
        raise WireError(f"an execution cannot have finished as {status!r}")
    start = sum(map(len, head[:5])) + 5
    if rest[:1] == b"=":
        body: bytes | None = data[start + 1 :]
    elif data[start:] == b"*":
        body = None
    else:
        raise WireError(f"this is no body of a result: {rest[:80]!r}")
    return Finished(
        as_name(identifier),
        ended,
        Why.NONE if why == b"-" else as_enum(Why, why),
        as_int(version),
        None if event_id == b"-" else as_event_id(event_id),
        body,
    )


def parse_finished(data: Any) -> Finished:
    """An entry as ``enqueue`` and ``look`` answer it. Raises ``WireError``."""
    entry = parse_inbox(as_bytes(data))
    if not isinstance(entry, Finished):
        raise WireError(f"this is no finished execution: {entry!r:.80}")
    return entry


def parse_event(event_id: bytes | str, fields: Mapping[bytes, bytes]) -> StreamEvent:
    """One entry of the stream of events, as XREAD gives it. Raises ``WireError``."""
    if not isinstance(fields, Mapping) or b"t" not in fields:
        raise WireError(f"this is no event: {fields!r:.80}")
    raw = event_id.encode() if isinstance(event_id, str) else event_id

    def name(field: bytes) -> str | None:
        return as_name(fields[field]) if field in fields else None

    def text(field: bytes) -> str | None:
        return as_text(fields[field]) if field in fields else None

    return StreamEvent(
        as_event_id(raw),
        as_text(fields[b"t"]),
        name(b"i"),
        name(b"p"),
        name(b"s"),
        as_int(fields[b"a"]) if b"a" in fields else None,
        text(b"n"),
        as_bytes(fields.get(b"d", b"")),
        text(b"y"),
    )


def as_bytes(value: Any) -> bytes:
    """``value`` if it is bytes. Raises ``WireError``."""
    if isinstance(value, bytes):
        return value
    raise WireError(f"expected bytes, Redis answered {value!r:.80}")


def as_text(value: Any) -> str:
    """Bytes as text. Raises ``WireError``."""
    try:
        return as_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise WireError(f"expected text, Redis answered {value!r:.80}") from error


def as_name(value: Any) -> str:
    """A part of a key as the name it stands for. Raises ``WireError``."""
    try:
        return decode(as_text(value))
    except WireError:
        raise
    except ValueError as error:
        raise WireError(str(error)) from error


def as_session(value: Any) -> str | None:
    """A group as the session it stands for; None is for work without a session."""
    return None if value == b"" else as_name(value)


def as_int(value: Any) -> int:
    """An integer, or its digits. Raises ``WireError``."""
    if isinstance(value, int):
        return value
    digits = as_bytes(value)
    if 0 < len(digits) <= 20 and digits.isdigit():
        return int(digits)
    raise WireError(f"expected a number, Redis answered {value!r:.80}")


def as_event_id(value: Any) -> str:
    """The id of an entry of a stream. Raises ``WireError``."""
    text = as_text(value)
    if _EVENT_ID.fullmatch(text):
        return text
    raise WireError(f"expected the id of an event, Redis answered {text!r:.80}")


def as_enum(kind: type[_EnumT], value: Any) -> _EnumT:
    """The member of ``kind`` of this value. Raises ``WireError``."""
    try:
        return kind(as_text(value))
    except WireError:
        raise
    except ValueError as error:
        raise WireError(f"{value!r:.80} is no {kind.__name__}") from error


def as_list(
    value: Any, multiple_of: int = 1, at_least: int = 0, exactly: int | None = None
) -> list[Any]:
    """A list of so many elements. Raises ``WireError``."""
    if (
        isinstance(value, list)
        and len(value) >= at_least
        and len(value) % multiple_of == 0
        and exactly in (None, len(value))
    ):
        return value
    raise WireError(f"expected a list, Redis answered {value!r:.80}")
