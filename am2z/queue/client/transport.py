"""Reaching the server: TCP, TLS or a Unix socket, as one small interface for the connection.

``Wire`` is the seam between the client and the network. Everything above it is the same for a
socket and for fakeredis in the same process (``fake.py``).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Protocol

import trio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from .resp import INCOMPLETE, ReplyReader, new_reader
from .tls import tls_context
from .url import Target

__all__ = ["WIRE_ERRORS", "Wire", "open_wire"]

WIRE_ERRORS = (
    OSError,  # ssl.SSLError is one
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    RedisConnectionError,
    InvalidResponse,
)
"""What sending and receiving may raise when the connection is of no more use."""


READ_SIZE = 65536


class Wire(Protocol):
    """Bytes of commands in, replies out."""

    progress: int
    """Grows while a large reply comes in, or a large command goes out, piece by piece."""

    def send_now(self, data: bytes) -> int:
        """Send as much as can be sent without waiting, perhaps nothing; how many bytes it was.

        Raises nothing: whatever is wrong with the wire, ``send`` will meet it.
        """

    async def send(self, data: bytes) -> None:
        """Send packed commands. Raises one of ``WIRE_ERRORS``."""

    async def receive(self) -> list[Any]:
        """Wait for replies and give all that are there, at least one, in order.

        An error reply is an exception object of ``redis.exceptions``. Raises one of
        ``WIRE_ERRORS`` when the connection is broken or its other end closed it.
        """

    def close(self) -> None:
        """Close at once, without waiting. Later calls do nothing."""


class SocketWire:
    """A wire over a plain socket.

    It does what ``trio.SocketStream`` does, but waits before it reads and does not yield after it
    wrote: the reader nearly always has to wait, the writer nearly never. What this saves, a failed
    read and a round through the scheduler, is a fifth of the work of a lone command.
    """

    __slots__ = ("_reader", "_socket", "progress")

    def __init__(self, stream: trio.SocketStream) -> None:
        self.progress = 0
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._reader = new_reader()

    def send_now(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except OSError:  # BlockingIOError is one
            return 0

    async def send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self._send_rest(memoryview(data)[sent:])

    async def _send_rest(self, rest: memoryview) -> None:
        while rest:
            self._check_open()
            await trio.lowlevel.wait_writable(self._socket)
            with suppress(BlockingIOError):
                rest = rest[self._socket.send(rest) :]
                self.progress += 1

    async def receive(self) -> list[Any]:
        while True:
            self._check_open()
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(READ_SIZE)
            except BlockingIOError:
                continue
            self.progress += 1
            if replies := _feed(self._reader, data):
                return replies

    def _check_open(self) -> None:
        # The connection can be dropped between two reads, and trio must never be asked to wait for
        # a closed socket: it has no number, and trio would take -1 for one.
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("the connection is closed")

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class TlsWire:
    """A wire over TLS."""

    __slots__ = ("_raw", "_reader", "_stream", "progress")

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.progress = 0
        self._stream = stream
        self._raw = stream.transport_stream.socket
        self._reader = new_reader()

    def send_now(self, data: bytes) -> int:  # noqa: ARG002 - TLS cannot
        return 0

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive(self) -> list[Any]:
        while True:
            data = await self._stream.receive_some(READ_SIZE)
            self.progress += 1
            if replies := _feed(self._reader, data):
                return replies

    def close(self) -> None:
        # Straight at the socket: aclose() is a checkpoint, and TLS would say good-bye to a peer
        # that may be gone.
        self._raw.close()


def _feed(reader: ReplyReader, data: bytes | bytearray) -> list[Any]:
    if not data:
        raise RedisConnectionError("the server closed the connection")
    reader.feed(data)
    replies: list[Any] = []
    try:
        while (reply := reader.gets()) is not INCOMPLETE:
            replies.append(reply)
    except MemoryError as error:  # hiredis reserves room for as many elements as are announced
        raise InvalidResponse("it announced a reply larger than the memory") from error
    return replies


async def open_wire(target: Target) -> Wire:
    """Connect to ``target``. Raises ``OSError``; the caller bounds the time."""
    if target.is_fake:
        from .fake import FakeWire  # noqa: PLC0415 - fakeredis is only for those who ask for it

        return FakeWire(target)
    if target.scheme == "unix":
        return SocketWire(await trio.open_unix_socket(target.path))
    try:
        stream = await trio.open_tcp_stream(target.host, target.port)
    except (ValueError, OverflowError) as error:  # UnicodeError is one: a label is too long
        raise OSError(f"{target.place} cannot be an address: {error}") from None
    # An idle connection whose other end vanished is found out by the kernel; a busy one by the
    # deadline on its oldest command.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if target.scheme != "rediss":
        return SocketWire(stream)
    try:
        secure = trio.SSLStream(stream, tls_context(target), server_hostname=target.host)
        await secure.do_handshake()
    except BaseException:
        stream.socket.close()
        raise
    return TlsWire(secure)
