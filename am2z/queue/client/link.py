"""The shared connection, kept up: dialled anew, with growing pauses, for as long as it is wanted.

Commands wait for it, up to a bounded time. One that may have reached the server is never sent a
second time unless its caller said that this does no harm. One that was refused, because the server
is not the right one any more, did not run: it goes to the right one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio
from redis.backoff import EqualJitterBackoff
from redis.exceptions import MovedError, ReadOnlyError, RedisError

from am2z.errors import AM2ZError

from .aside import Aside
from .connection import Connection
from .detour import VALUES, Detour, describe, detour_of
from .dialler import DIAL_ERRORS, REFUSALS, Dialler
from .faults import ClientClosedError, ConnectionLostError, copied
from .url import Address
from .waiter import Waiter

__all__ = ["Link"]

_log = logging.getLogger("am2z.connection")

_CLOSED = "the client was closed"
_ELSEWHERE = "another server is the right one now"
MASTER_CHECK = 1.0
"""Every so many seconds the sentinels are asked whether the master is still the master."""
_STEADY = 1.0
"""A connection that lived for so many seconds was good: its successor is dialled at once."""


class Link:
    """One server, one shared connection to it, and any number of further ones for blocking."""

    def __init__(self, dialler: Dialler, *, patience: float) -> None:
        self.on_reconnect: list[Callable[[], None]] = []
        self.is_closed = False
        self._dialler = dialler
        self._locator = dialler.locator
        self._aside = Aside(self._dial_beside)
        self._patience = patience
        self._shared: Connection | None = None
        self._others: set[Connection] = set()
        self._nursery: trio.Nursery | None = None
        self._changed = trio.Event()  # replaced each time it is set
        self._wanted = trio.Event()
        self._refusal: Exception | None = None
        self._last_error: Exception | None = None
        self._failures = 0

    async def exchange(self, data: bytes, replies: int = 1, *, idempotent: bool = False) -> Any:
        """Send packed commands in one piece; the raw reply, or the list of them.

        An error reply is returned as an exception object. Raises ``ConnectionLostError`` and
        ``ClientClosedError``.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        deadline: float | None = None
        attempt = 0
        while True:
            connection = self._shared
            if connection is None or not connection.is_ready:
                if deadline is None:
                    deadline = trio.current_time() + self._patience
                connection = await self.ready(deadline)
            waiter = Waiter(replies)
            connection.submit(data, waiter)
            reply = await waiter.wait()
            if replies == 1 and type(reply) in VALUES:
                return reply
            reply, is_final = await self._consider(connection, data, replies, reply)
            if type(reply) is ConnectionLostError:
                if reply.maybe_sent and not idempotent:
                    raise reply
            elif is_final:
                return reply
            else:
                attempt += 1
                await self._hold(connection, reply, deadline, attempt)
            if deadline is None:
                deadline = trio.current_time() + self._patience

    async def _hold(
        self, connection: Connection, reply: Any, deadline: float | None, attempt: int
    ) -> None:
        """Wait before a refused command is sent again, or raise when it was refused for long."""
        if deadline is not None and trio.current_time() >= deadline:
            raise ConnectionLostError(
                f"Redis at {self._dialler.where} refused this for {self._patience:g} s: "
                f"{describe(reply)}",
                maybe_sent=False,
            )
        if connection is self._shared:  # it stays: the slot is being moved away from it
            await trio.sleep(_pause(attempt))

    async def _consider(
        self, connection: Connection, data: bytes, replies: int, reply: Any
    ) -> tuple[Any, bool]:
        """The reply, or what another server said instead, and whether that is the last word."""
        detour = detour_of(reply, replies)
        if detour is None or not self.understands(detour):
            return reply, True
        if detour is Detour.ASK and replies == 1:
            reply = await self._aside.ask(reply, data, connection.server.host)
            return reply, detour_of(reply) is None
        self.divert(connection, detour, reply)
        return reply, False

    def understands(self, detour: Detour) -> bool:
        """Whether there is another way: without a cluster nobody follows it."""
        return detour is Detour.LEAVE or self._locator.follows

    def divert(self, connection: Connection, detour: Detour, reply: Any) -> None:
        """The server refused a command on ``connection``: see to it that the right one is dialled.

        What is under way on the connection still gets its replies.
        """
        if connection.is_retired or detour not in (Detour.LEAVE, Detour.MOVED):
            return
        replies = reply if isinstance(reply, list) else [reply]
        error = next(one for one in replies if isinstance(one, RedisError))
        if isinstance(error, MovedError):
            self._locator.moved((error.host or connection.server.host, error.port))
        self._last_error = error
        shared = self._shared
        if shared is not None and shared.server is connection.server:
            self._shared = None
            self._others.add(shared)
            shared.retire(describe(error))
        connection.retire(describe(error))

    async def ready(self, deadline: float) -> Connection:
        """The shared connection, once it is up and has room for another command."""
        with trio.CancelScope(deadline=deadline):
            while True:
                if self.is_closed:
                    raise ClientClosedError(
                        f"the client of {self._dialler.target.safe_url} is closed: "
                        "use it inside its `async with open_client(...)`"
                    )
                connection = self._shared
                if connection is not None and connection.is_ready:
                    return connection
                if connection is not None and connection.is_open:
                    await connection.room()
                elif self._refusal is not None:
                    self._wanted.set()
                    raise copied(self._refusal)
                else:
                    await self._changed.wait()
        detail = f": {self._last_error}" if self._last_error is not None else ""
        raise ConnectionLostError(
            f"no connection to Redis at {self._dialler.target.safe_url} "
            f"within {self._patience:g} s{detail}",
            maybe_sent=False,
        )

    async def dial_another(self) -> Connection:
        """A connection of its own for blocking commands; it is served until it is dropped.

        Dials only while the shared one is up: one task is enough to knock at a server that is away.
        """
        deadline = trio.current_time() + self._patience
        failures = 0
        while True:
            await self.ready(deadline)
            try:
                connection = await self._dialler.another()
            except REFUSALS:
                raise
            except DIAL_ERRORS as error:
                failures += 1
                if trio.current_time() >= deadline:
                    raise ConnectionLostError(
                        f"no further connection to Redis at {self._dialler.target.safe_url}: "
                        f"{self._dialler.explain(error)}",
                        maybe_sent=False,
                    ) from error
                await trio.sleep(_pause(failures))
                continue
            if not self.is_current(connection):
                connection.drop(_ELSEWHERE)
                continue
            self._serve_soon(connection)
            return connection

    def is_current(self, connection: Connection) -> bool:
        """Whether this is a connection to the server that is the right one now."""
        return self._dialler.is_current(connection)

    def start(self, nursery: trio.Nursery, first: Connection) -> None:
        """Serve ``first`` as the shared connection, and its successors, in ``nursery``."""
        self._nursery = nursery
        self._shared = first
        nursery.start_soon(self._serve, first)
        nursery.start_soon(self._keep, first)
        if self._locator.needs_master:
            nursery.start_soon(self._stay_with_master)

    def close(self) -> None:
        """Drop every connection; whoever waits for a reply gets ``ConnectionLostError``."""
        self.is_closed = True
        for connection in (self._shared, *self._others):
            if connection is not None:
                connection.drop(_CLOSED)
        self._shared = None
        self._notify()

    def _serve_soon(self, connection: Connection) -> None:
        if self._nursery is None or self.is_closed:
            connection.drop(_CLOSED)
        else:
            self._others.add(connection)
            self._nursery.start_soon(self._serve, connection)

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._others.discard(connection)

    async def _keep(self, connection: Connection) -> None:
        while True:
            born = trio.current_time()
            await connection.leaving.wait()
            if connection is self._shared:
                self._shared = None
            if self.is_closed:
                return
            _log.warning("lost the connection to %s: %s", self._dialler.where, connection.reason)
            if connection.fell_silent:
                # Those that block would notice it only when their own time is over.
                for other in tuple(self._others):
                    other.drop("another connection to the same server fell silent")
            # One that is lost as soon as it is there is no better than one that cannot be dialled.
            is_steady = trio.current_time() - born >= _STEADY
            self._failures = 0 if is_steady else self._failures + 1
            connection = await self._redial()
            for other in tuple(self._others):
                if not (self.is_current(other) or other.leaving.is_set()):
                    other.drop(_ELSEWHERE)
            self._shared = connection
            assert self._nursery is not None
            self._nursery.start_soon(self._serve, connection)
            self._notify()
            _log.info("connected to %s again", self._dialler.where)
            for hook in tuple(self.on_reconnect):
                try:
                    hook()
                except Exception:
                    _log.exception("a hook of on_reconnect failed")

    async def _stay_with_master(self) -> None:
        """Leave a master that has been replaced, which may not know it for ten seconds.

        What is written there meanwhile is thrown away when it learns that it is a replica.
        """
        while True:
            await trio.sleep(MASTER_CHECK)
            shared = self._shared
            if shared is not None and await self._dialler.is_replaced():
                error = ReadOnlyError("the sentinels name another master")
                self.divert(shared, Detour.LEAVE, error)

    async def _redial(self) -> Connection:
        while True:
            if self._failures:
                await trio.sleep(_pause(self._failures))
            try:
                return await self._dialler.shared()
            except REFUSALS as error:
                await self._refused(error)
            except (*DIAL_ERRORS, AM2ZError) as error:
                self._last_error = error
                self._failures += 1

    async def _refused(self, error: Exception) -> None:
        """Fail those who wait, and come back only after a while and when somebody asks.

        Knocking again with the same password cannot help, and may lock the user out.
        """
        _log.error("%s refuses the password: %s", self._dialler.target.safe_url, error)
        self._refusal = error
        self._wanted = trio.Event()
        self._notify()
        await trio.sleep(self._patience)
        await self._wanted.wait()
        self._refusal = None

    async def _dial_beside(self, address: Address) -> Connection:
        connection = await self._dialler.beside(address)
        self._serve_soon(connection)
        return connection

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


_backoff = EqualJitterBackoff(cap=1.0, base=0.01)


def _pause(failures: int) -> float:
    """Seconds between attempts: at most one, so that work resumes soon after Redis."""
    return _backoff.compute(min(failures, 10))  # it cannot raise two to the thousandth
