"""States, errors and event data as bytes, and back.

The bytes are MessagePack with unordered collections sorted, so that equal values have equal bytes
and a checksum means something. Nothing here ever evaluates what it reads: a class is found by name
among those that the process has imported, or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from am2z.errors import (
    AM2ZError,
    PayloadTooLargeError,
    StateCorruptError,
    ValidationError,
)
from am2z.state import AppState, StateT, find_state_class
from am2z.typenames import type_name

__all__ = [
    "checksum",
    "copy_event",
    "copy_state",
    "decode_error",
    "decode_mapping",
    "decode_named_state",
    "decode_state",
    "encode_error",
    "encode_event",
    "encode_mapping",
    "encode_state",
]

MAX_EVENT_BYTES = 65_536
MAX_ERROR_BYTES = 65_536
MAX_ERROR_MESSAGE = 4_096
_LAST_TO_GO = ("type", "code", "category", "severity", "retryable", "failed_processor", "fields")

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_mapping_decoder = msgspec.msgpack.Decoder(dict[str, Any])
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}

_CANNOT_ENCODE = (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError)


def encode_state(state: AppState, limit: int | None = None, *, session_id: str = "") -> bytes:
    """The canonical bytes of a state.

    Raises ``ValidationError`` naming the field that cannot cross the wire, and
    ``PayloadTooLargeError`` when there are more than ``limit`` bytes. ``session_id`` is the session
    that a state without one will have: its name is not among the bytes, but counts as one of them.
    """
    if not isinstance(state, AppState):
        raise ValidationError(
            "state", f"is a {type(state).__name__}, not an AppState; subclass am2z.AppState"
        )
    try:
        data = _encoder.encode(state)
    except _CANNOT_ENCODE as error:
        path, why = _find_culprit(state, error)
        raise ValidationError(path, f"cannot cross the wire: {why}") from error
    size = len(data)
    if session_id:
        size += len(_encoder.encode(session_id)) - 1  # in place of the empty one
    if limit is not None and size > limit:
        raise PayloadTooLargeError(
            f"the state is {size} bytes, more than the {limit} that max_payload_bytes allows; "
            "keep large data elsewhere and put a reference into the state",
            context={"size": size, "limit": limit},
        )
    return data


def decode_state(cls: type[StateT], data: bytes) -> StateT:
    """The state of class ``cls`` that ``encode_state`` turned into ``data``.

    Raises ``ValidationError`` with the path of the first field whose value does not fit.
    """
    decoder = _decoders.get(cls)
    if decoder is None:
        decoder = _decoders[cls] = _make_decoder(cls)
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]  # it is of `cls`
    except AM2ZError:
        raise
    except Exception as error:  # a class may check itself in __post_init__, and raise anything
        path, why = _split_path(str(error))
        raise ValidationError(
            path, f"does not fit {cls.__qualname__}: {why}", context={"type": type_name(cls)}
        ) from error


def decode_named_state(name: str, data: bytes, expected: type[AppState] = AppState) -> AppState:
    """The state of the class known as ``name``, which must be (a subclass of) ``expected``.

    Raises ``ValidationError`` where this process has not imported the class.
    """
    cls = find_state_class(name)
    if cls is None:
        raise ValidationError(
            "state", f"its type {name!r} is unknown here; import the module that defines it"
        )
    if not issubclass(cls, expected):
        raise ValidationError("state", f"is a {name}, not a {type_name(expected)}")
    return decode_state(cls, data)


def copy_state(state: StateT, limit: int | None = None) -> StateT:
    """What arrives when ``state`` crosses an execution boundary: an equal value, nothing shared."""
    return decode_state(type(state), encode_state(state, limit))


def checksum(data: bytes) -> str:
    """SHA-256 of canonical bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def encode_error(error: AM2ZError) -> bytes:
    """An error as bytes; whatever in it is not plain data goes as text.

    One of more than ``MAX_ERROR_BYTES`` loses what is least needed to understand it: its context,
    notes and causes, the end of its message, and its own fields where those are what is large.
    """
    data = error.to_dict()
    packed = _encoder.encode(data)
    if len(packed) <= MAX_ERROR_BYTES:
        return packed
    told = {name: data[name] for name in _LAST_TO_GO if name in data}
    told["message"] = data["message"][:MAX_ERROR_MESSAGE]
    told["context"] = {"shortened_from_bytes": len(packed)}
    if len(shortened := _encoder.encode(told)) > MAX_ERROR_BYTES:
        del told["fields"]
        shortened = _encoder.encode(told)
    return shortened


def decode_error(data: bytes) -> AM2ZError:
    """The error that ``encode_error`` made ``data`` of; raises ``StateCorruptError`` if none."""
    return AM2ZError.from_dict(decode_mapping(data))


def encode_mapping(data: Mapping[str, Any]) -> bytes:
    """Event data as bytes. Raises ``ValidationError`` naming what cannot cross the wire."""
    try:
        return _encoder.encode(data)
    except _CANNOT_ENCODE as error:
        path, why = _find_culprit(data, error)
        raise ValidationError(path, f"cannot cross the wire: {why}") from error


def decode_mapping(data: bytes) -> dict[str, Any]:
    """The mapping in ``data``; raises ``StateCorruptError`` where there is none."""
    try:
        return _mapping_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateCorruptError(
            f"{len(data)} bytes that are no message of AM2Z: {error}"
        ) from error


def encode_event(data: Mapping[str, Any]) -> bytes:
    """The data of an event as bytes.

    Raises ``ValidationError`` naming what cannot cross the wire, and ``PayloadTooLargeError`` for
    more than ``MAX_EVENT_BYTES``: events are kept for everybody, so large ones would fill the
    memory of the server.
    """
    packed = encode_mapping(data)
    if len(packed) > MAX_EVENT_BYTES:
        raise PayloadTooLargeError(
            f"the event's data are {len(packed)} bytes, more than {MAX_EVENT_BYTES}; put large "
            "data into the state, or elsewhere with a reference in the event",
            context={"size": len(packed), "limit": MAX_EVENT_BYTES},
        )
    return packed


def copy_event(data: Mapping[str, Any]) -> dict[str, Any]:
    """What arrives when event data crosses a boundary; raises as ``encode_event`` does."""
    return decode_mapping(encode_event(data))


def _make_decoder(cls: type) -> msgspec.msgpack.Decoder[Any]:
    try:
        return msgspec.msgpack.Decoder(cls)
    except (TypeError, NameError) as error:
        raise ValidationError(
            cls.__qualname__, f"has a field whose type cannot cross the wire: {error}"
        ) from error


def _find_culprit(value: object, error: Exception) -> tuple[str, str]:
    """The path and the reason of the innermost part of ``value`` that cannot be encoded.

    Slow, and only run when encoding has failed already.
    """
    if isinstance(error, RecursionError):
        if path := _cycle(value, "", ()):
            return path, "it contains itself"
        return "state", "it is nested too deeply"
    path, why = "", str(error)
    found = True
    while found:
        found = False
        for step, part in _parts(value):
            try:
                _encoder.encode(part)
            except _CANNOT_ENCODE as inner:
                path, value, why, found = path + step, part, str(inner), True
                break
    return path.lstrip(".") or "state", _advice(value, why)


def _advice(value: object, why: str) -> str:
    """What to do about the innermost part that cannot be encoded."""
    if isinstance(value, Mapping) and not all(isinstance(key, str) for key in value):
        return "the keys of a mapping must be strings"
    if isinstance(value, set | frozenset):
        return f"the values of a set must be of one kind that can be sorted ({why})"
    return why


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """The parts of a container, each with its step in a path."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f".{name}", getattr(value, name)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, list | tuple | set | frozenset):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield f".{name}", getattr(value, name)


def _cycle(value: object, path: str, above: tuple[int, ...]) -> str | None:
    """The path at which ``value`` contains one of the containers above it."""
    if id(value) in above:
        return path.lstrip(".")
    for step, part in _parts(value) if len(above) < 200 else ():
        if found := _cycle(part, path + step, (*above, id(value))):
            return found
    return None


def _split_path(message: str) -> tuple[str, str]:
    """msgspec ends its messages with the path: ``... - at `$.items[0]```."""
    why, _, path = message.partition(" - at `$")
    return path.rstrip("`").lstrip(".") or "state", why
