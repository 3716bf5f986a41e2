"""fakeredis as a wire: a Redis inside this process, without a thread and without a port.

Commands run at once, in the task that sends them. Blocking commands are tried in their form that
does not block, and parked when there is nothing yet; after each command that changed something the
parked ones are tried again, the one that has waited longest first.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from contextlib import suppress
from typing import Any

import fakeredis
import trio
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from .fake_blocking import Attempt, blocking_attempt
from .resp import pack
from .url import Target

__all__ = ["FakeWire", "fake_client", "fake_server"]

_servers: dict[str, fakeredis.FakeServer] = {}
_servers_lock = threading.Lock()


def fake_server(name: str = "") -> fakeredis.FakeServer:
    """The server of ``fake://name``: one for each name in the process, and for all its threads."""
    with _servers_lock:
        if name not in _servers:
            _servers[name] = fakeredis.FakeServer(version=(7,))
        return _servers[name]


def fake_client(target: Target, **options: Any) -> Redis:
    """A synchronous client of the server that a ``fake://`` URL names."""
    for unused in ("socket_timeout", "socket_connect_timeout", "retry"):
        options.pop(unused, None)
    server = fake_server(target.path)
    client: Redis = fakeredis.FakeRedis(server=server, db=target.db, protocol=2, **options)
    return client


class _Hub:
    """The parked commands of one server in one run of trio."""

    def __init__(self, server: fakeredis.FakeServer) -> None:
        self.parked: list[FakeWire] = []
        self.changed = False
        self._server = server
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()
        self._watched: set[int] = set()

    def park(self, wire: FakeWire) -> None:
        self.parked.append(wire)
        if wire.db not in self._watched:
            self._watched.add(wire.db)
            with self._server.lock:
                self._server.dbs[wire.db].add_change_callback(self._touched)

    def leave(self, wire: FakeWire) -> None:
        if wire in self.parked:
            self.parked.remove(wire)
        if not self.parked:
            with self._server.lock:
                for db in self._watched:
                    self._server.dbs[db].remove_change_callback(self._touched)
            self._watched.clear()

    def _touched(self) -> None:
        """Called by fakeredis with its lock held, from whatever thread changed something."""
        self.changed = True
        if threading.get_ident() != self._thread:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self.serve, idempotent=True)

    def serve(self) -> None:
        """Try the parked commands again, for as long as one of them got something."""
        while self.changed:
            self.changed = False
            for wire in tuple(self.parked):
                wire.try_parked()

    def unblock(self, client_id: int) -> int:
        """``CLIENT UNBLOCK``: answer the parked command of that client with nothing."""
        for wire in self.parked:
            if wire.client_id == client_id:
                wire.answer_parked(None)
                return 1
        return 0


_hubs: trio.lowlevel.RunVar[dict[fakeredis.FakeServer, _Hub]] = trio.lowlevel.RunVar("am2z_hubs")


def _hub_of(server: fakeredis.FakeServer) -> _Hub:
    try:
        hubs = _hubs.get()
    except LookupError:
        hubs = {}
        _hubs.set(hubs)
    if server not in hubs:
        hubs[server] = _Hub(server)
    return hubs[server]


class FakeWire:
    """A wire to a fakeredis server of this process."""

    progress = 0  # nothing here comes piece by piece

    def __init__(self, target: Target) -> None:
        self.db = target.db
        server = fake_server(target.path)
        connection = fakeredis.FakeRedisConnection(server=server, db=target.db, protocol=2)
        connection.connect()
        self._connection: Any = connection
        self._socket: Any = connection.get_socket()
        self._hub = _hub_of(server)
        self._requests: deque[list[bytes]] = deque()
        self._replies: list[Any] = []
        self._wake = trio.Event()
        self._attempt: Attempt | None = None
        self._deadline = math.inf
        self._is_closed = False
        self.client_id: int = self.run([b"CLIENT", b"ID"])

    def send_now(self, data: bytes) -> int:  # noqa: ARG002 - it lets others run first
        return 0

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise RedisConnectionError("the connection is closed")
        self._requests.extend(_split_requests(data))
        self._work()

    async def receive(self) -> list[Any]:
        while not self._replies:
            if self._is_closed:
                raise RedisConnectionError("the connection is closed")
            self._wake = trio.Event()
            with trio.move_on_at(self._deadline):
                await self._wake.wait()
            if trio.current_time() >= self._deadline:
                self.answer_parked(None)
        await trio.lowlevel.checkpoint_if_cancelled()
        replies, self._replies = self._replies, []
        return replies

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._hub.leave(self)
        self._connection.disconnect()
        self._wake.set()

    def run(self, fields: list[bytes]) -> Any:
        """Run a command that does not block; the reply, an error as an exception object."""
        socket = self._socket
        socket.sendall(pack(tuple(fields)))
        if socket.responses is None:
            raise RedisConnectionError("the server closed the connection")
        return socket.responses.get_nowait()

    def try_parked(self) -> None:
        """Try the parked command again, and answer it if there is something now."""
        if self._attempt is None:
            return
        try:
            reply = self._attempt(self.run)
        except RedisConnectionError:
            # Another client's command led here, and it is this connection that is broken.
            self.close()
            return
        if reply is not None:
            self.answer_parked(reply)

    def answer_parked(self, reply: Any) -> None:
        """Answer the parked command, if there still is one, and go on with what came after it."""
        if self._attempt is None:
            return
        self._attempt = None
        self._deadline = math.inf
        self._hub.leave(self)
        self._answer(reply)
        self._work()

    def _answer(self, reply: Any) -> None:
        self._replies.append(reply)
        self._wake.set()

    def _work(self) -> None:
        while self._requests and self._attempt is None:
            fields = self._requests.popleft()
            name = fields[0].upper()
            if name == b"CLIENT" and len(fields) > 2 and fields[1].upper() == b"UNBLOCK":
                self._answer(self._hub.unblock(int(fields[2])))
                continue
            try:
                blocking = blocking_attempt(name, fields, self.run)
            except ResponseError as error:
                self._answer(error)
                continue
            if blocking is None:
                self._answer(self.run(fields))
            elif (reply := blocking.attempt(self.run)) is not None:
                self._answer(reply)
            else:
                self._attempt = blocking.attempt
                if blocking.seconds > 0:
                    self._deadline = trio.current_time() + blocking.seconds
                self._hub.park(self)
                self._wake.set()  # the reader has to learn of the deadline
            if self._hub.changed:
                self._hub.serve()


def _split_requests(data: bytes) -> list[list[bytes]]:
    """The commands in what the client has packed (always whole ones)."""
    requests, position = [], 0
    while position < len(data):
        end = data.index(b"\r\n", position)
        count, position = int(data[position + 1 : end]), end + 2
        fields = []
        for _ in range(count):
            end = data.index(b"\r\n", position)
            start, length = end + 2, int(data[position + 1 : end])
            fields.append(data[start : start + length])
            position = start + length + 2
        requests.append(fields)
    return requests
