"""RESP2: packing commands and reading replies, with hiredis where it is installed."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any, Protocol

from redis.connection import Connection as _RedisConnection
from redis.connection import DefaultParser
from redis.exceptions import DataError, InvalidResponse, RedisError, ResponseError

hiredis: Any
try:
    hiredis = importlib.import_module("hiredis")
except ImportError:  # the speed extra is optional
    hiredis = None

__all__ = ["INCOMPLETE", "ReplyReader", "new_reader", "pack"]

Argument = bytes | bytearray | memoryview | str | int | float

MAX_DEPTH = 32
"""How deeply arrays may be nested; what the scripts answer are three."""
MAX_LINE = 1024 * 1024
"""How long a line of a reply may be, in bytes: a number, a status or an error."""

INCOMPLETE = object()
"""What ``ReplyReader.gets`` gives when it has no whole reply yet (``None`` is a reply)."""


class ReplyReader(Protocol):
    """Turns a stream of bytes into replies; an error reply is given as an exception object."""

    def feed(self, data: bytes | bytearray, /) -> None:
        """Take more bytes."""

    def gets(self) -> Any:
        """The next reply, or ``INCOMPLETE``."""


def parse_error(text: str) -> RedisError:
    """An error reply as the class of ``redis.exceptions`` that redis-py makes of it."""
    try:
        error: RedisError = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]  # redis-py
    except ValueError:  # a redirection that names no place
        return ResponseError(text)
    return error


_pack_pieces: Callable[..., list[Any]] = _RedisConnection().pack_command


def _pack_slowly(args: tuple[Any, ...]) -> bytes:
    """redis-py's own packing: splits ``CONFIG GET``, and says what it cannot take."""
    plain = (bytes(arg) if isinstance(arg, bytearray | memoryview) else arg for arg in args)
    return b"".join(_pack_pieces(*plain))


def pack(args: tuple[Any, ...]) -> bytes:
    """A command as RESP bytes. Raises ``redis.exceptions.DataError`` for a value it cannot hold."""
    name = args[0] if args else None
    if not isinstance(name, str | bytes) or not name:
        raise DataError("a Redis command starts with its name: give a non-empty string first")
    if hiredis is None or (" " in name if isinstance(name, str) else b" " in name):
        return _pack_slowly(args)
    try:
        packed: bytes = hiredis.pack_command(args)
    except TypeError:
        return _pack_slowly(args)
    return packed


def new_reader() -> ReplyReader:
    """A reader for one connection."""
    if hiredis is None:
        return PythonReader()
    reader: ReplyReader = hiredis.Reader(
        protocolError=InvalidResponse, replyError=parse_error, notEnoughData=INCOMPLETE
    )
    return reader


class PythonReader:
    """The reader that needs no extension module.

    A reply that is not whole yet is parsed again from its start when more bytes have come; to keep
    that linear for a large string, nothing is parsed before the bytes it is known to need are here.
    ``gets`` raises ``InvalidResponse`` for what is no reply, and takes no memory for a length that
    is only claimed.
    """

    __slots__ = ("_buffer", "_needed")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0

    def feed(self, data: bytes | bytearray, /) -> None:
        self._buffer += data

    def gets(self) -> Any:
        if not self._buffer or len(self._buffer) < self._needed:
            return INCOMPLETE
        try:
            reply, end = self._parse(0)
        except _NeedMoreError as need:
            self._needed = need.total
            return INCOMPLETE
        self._needed = 0
        del self._buffer[:end]
        return reply

    def _parse(self, start: int, depth: int = 0) -> tuple[Any, int]:
        buffer = self._buffer
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            if len(buffer) - start > MAX_LINE:
                raise InvalidResponse(f"a line of more than {MAX_LINE} bytes is no RESP2 reply")
            raise _NeedMoreError(len(buffer) + 1)
        kind, line, after = buffer[start : start + 1], buffer[start + 1 : line_end], line_end + 2
        match kind:
            case b"+":
                return bytes(line), after
            case b"-":
                return parse_error(line.decode("utf-8", "replace")), after
            case b":":
                return _number(line), after
            case b"$":
                return self._parse_string(_length(line), after)
            case b"*":
                return self._parse_array(_length(line), after, depth + 1)
        raise InvalidResponse(f"not a RESP2 reply: {bytes(buffer[start:line_end])[:60]!r}")

    def _parse_string(self, length: int, start: int) -> tuple[bytes | None, int]:
        if length < 0:
            return None, start
        end = start + length
        if len(self._buffer) < end + 2:
            raise _NeedMoreError(end + 2)
        if self._buffer[end : end + 2] != b"\r\n":
            raise InvalidResponse("a RESP2 string is longer than it says")
        return bytes(self._buffer[start:end]), end + 2

    def _parse_array(self, count: int, start: int, depth: int) -> tuple[list[Any] | None, int]:
        if count < 0:
            return None, start
        if depth > MAX_DEPTH:
            raise InvalidResponse(f"a RESP2 reply nested more than {MAX_DEPTH} deep")
        items = []
        for _ in range(count):
            item, start = self._parse(start, depth)
            items.append(item)
        return items, start


_NUMBER = re.compile(rb"[+-]?[0-9]{1,19}")


def _number(line: bytearray) -> int:
    if not _NUMBER.fullmatch(line):
        raise InvalidResponse(f"not a number of RESP2: {bytes(line)[:60]!r}")
    return int(line)


def _length(line: bytearray) -> int:
    length = _number(line)
    if length < -1:
        raise InvalidResponse(f"not a length of RESP2: {length}")
    return length


class _NeedMoreError(Exception):
    """The buffer must be at least ``total`` bytes long before parsing can get further."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.total = total
