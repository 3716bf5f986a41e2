"""The shared connection, kept up: dialled anew, with growing pauses, for as long as it is wanted.

Commands wait for it, up to a bounded time. One that may have reached the server is never sent a
second time unless its caller said that this does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio
from redis.backoff import EqualJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from am2z.errors import AM2ZError, ConfigurationError, NetworkError

from .connection import Connection, dial
from .faults import ClientClosedError, ConnectionLostError
from .transport import WIRE_ERRORS
from .url import Target
from .waiter import Waiter

__all__ = ["Link"]

_log = logging.getLogger("am2z.redis")

_DIAL_ERRORS = (*WIRE_ERRORS, RedisError, trio.TooSlowError)
_REFUSALS = (AuthenticationError, AuthorizationError)
_CLOSED = "the client was closed"


class Link:
    """One server, one shared connection to it, and any number of further ones for blocking."""

    def __init__(
        self,
        target: Target,
        *,
        name: str,
        connect_timeout: float,
        patience: float,
        on_connection: Callable[[int], None],
    ) -> None:
        self.on_reconnect: list[Callable[[], None]] = []
        self.is_closed = False
        self._target = target
        self._name = name
        self._connect_timeout = connect_timeout
        self._patience = patience
        self._on_connection = on_connection
        self._shared: Connection | None = None
        self._others: set[Connection] = set()
        self._nursery: trio.Nursery | None = None
        self._changed = trio.Event()  # replaced each time it is set
        self._wanted = trio.Event()
        self._refusal: Exception | None = None
        self._last_error: Exception | None = None

    async def exchange(self, data: bytes, replies: int = 1, *, idempotent: bool = False) -> Any:
        """Send packed commands in one piece; the raw reply, or the list of them.

        An error reply is returned as an exception object. Raises ``ConnectionLostError`` and
        ``ClientClosedError``.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        deadline: float | None = None
        while True:
            connection = self._shared
            if connection is None or not connection.is_ready:
                if deadline is None:
                    deadline = trio.current_time() + self._patience
                connection = await self.ready(deadline)
            waiter = Waiter(replies)
            connection.submit(data, waiter)
            reply = await waiter.wait()
            if type(reply) is not ConnectionLostError:
                return reply
            if reply.maybe_sent and not idempotent:
                raise reply
            if deadline is None:
                deadline = trio.current_time() + self._patience

    async def ready(self, deadline: float) -> Connection:
        """The shared connection, once it is up and has room for another command."""
        with trio.CancelScope(deadline=deadline):
            while True:
                if self.is_closed:
                    raise ClientClosedError(
                        f"the client of {self._target.safe_url} is closed: "
                        "use it inside its `async with open_client(...)`"
                    )
                connection = self._shared
                if connection is not None and connection.is_ready:
                    return connection
                if connection is not None and connection.is_open:
                    await connection.room()
                elif self._refusal is not None:
                    self._wanted.set()
                    raise _copy(self._refusal)
                else:
                    await self._changed.wait()
        detail = f": {self._last_error}" if self._last_error is not None else ""
        raise ConnectionLostError(
            f"no connection to Redis at {self._target.safe_url} "
            f"within {self._patience:g} s{detail}",
            maybe_sent=False,
        )

    async def dial_first(self) -> Connection:
        """Connect for the first time. Raises ``NetworkError`` and ``ConfigurationError``."""
        where = self._target.safe_url
        try:
            return await self._dial(stall_limit=self._patience)
        except _REFUSALS as error:
            raise NetworkError(
                f"Redis at {where} refused the password: {error}. "
                "Correct the user and the password in redis_url",
                where,
            ) from error
        except ResponseError as error:
            raise ConfigurationError(f"Redis at {where} refused the connection: {error}") from error
        except _DIAL_ERRORS as error:
            raise NetworkError(
                f"cannot reach Redis at {where}: {self._explain(error)}. "
                "Start the server, or correct redis_url",
                where,
            ) from error

    async def dial_another(self) -> Connection:
        """A connection of its own for blocking commands; it is served until it is dropped.

        Dials only while the shared one is up: one task is enough to knock at a server that is away.
        """
        deadline = trio.current_time() + self._patience
        backoff, failures = _backoff(), 0
        while True:
            await self.ready(deadline)
            try:
                connection = await self._dial(stall_limit=None)
            except _REFUSALS:
                raise
            except _DIAL_ERRORS as error:
                failures += 1
                if trio.current_time() >= deadline:
                    raise ConnectionLostError(
                        f"no further connection to Redis at {self._target.safe_url}: "
                        f"{self._explain(error)}",
                        maybe_sent=False,
                    ) from error
                await trio.sleep(backoff.compute(failures))
                continue
            if self._nursery is not None and not self.is_closed:
                self._others.add(connection)
                self._nursery.start_soon(self._serve, connection)
                return connection
            connection.drop(_CLOSED)

    def start(self, nursery: trio.Nursery, first: Connection) -> None:
        """Serve ``first`` as the shared connection, and its successors, in ``nursery``."""
        self._nursery = nursery
        self._shared = first
        nursery.start_soon(self._keep, first)

    def close(self) -> None:
        """Drop every connection; whoever waits for a reply gets ``ConnectionLostError``."""
        self.is_closed = True
        for connection in (self._shared, *self._others):
            if connection is not None:
                connection.drop(_CLOSED)
        self._shared = None
        self._notify()

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._others.discard(connection)

    async def _keep(self, connection: Connection) -> None:
        while True:
            await connection.run()
            self._shared = None
            if self.is_closed:
                return
            _log.warning("lost the connection to %s: %s", self._target.safe_url, connection.reason)
            connection = self._shared = await self._redial()
            self._notify()
            _log.info("connected to %s again", self._target.safe_url)
            for hook in tuple(self.on_reconnect):
                try:
                    hook()
                except Exception:
                    _log.exception("a hook of on_reconnect failed")

    async def _redial(self) -> Connection:
        backoff, failures = _backoff(), 0
        while True:
            try:
                return await self._dial(stall_limit=self._patience)
            except _REFUSALS as error:
                await self._refused(error)
            except (*_DIAL_ERRORS, AM2ZError) as error:
                self._last_error = error
                failures += 1
                await trio.sleep(backoff.compute(failures))

    async def _refused(self, error: Exception) -> None:
        """Fail those who wait, and come back only after a while and when somebody asks.

        Knocking again with the same password cannot help, and may lock the user out.
        """
        _log.error("%s refuses the password: %s", self._target.safe_url, error)
        self._refusal = error
        self._wanted = trio.Event()
        self._notify()
        await trio.sleep(self._patience)
        await self._wanted.wait()
        self._refusal = None

    async def _dial(self, *, stall_limit: float | None) -> Connection:
        with trio.fail_after(self._connect_timeout):
            return await dial(
                self._target,
                name=self._name,
                on_connection=self._on_connection,
                stall_limit=stall_limit,
            )

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _explain(self, error: BaseException) -> str:
        if isinstance(error, trio.TooSlowError):
            return f"no answer within {self._connect_timeout:g} s"
        if isinstance(error, BusyLoadingError):
            return "it is still loading its data set"
        if isinstance(error, RedisConnectionError):
            return str(error)
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        return text or type(cause).__name__


def _backoff() -> EqualJitterBackoff:
    """Pauses between attempts, in seconds: at most one, so that work resumes soon after Redis."""
    return EqualJitterBackoff(cap=1.0, base=0.01)


def _copy(error: Exception) -> Exception:
    """The same error as a fresh object: one that many tasks raise would gather their tracebacks."""
    return type(error)(*error.args)
