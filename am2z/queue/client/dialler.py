"""Dialling: finding the server, bounding the time, and saying plainly what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import trio
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    RedisError,
    ResponseError,
)

from am2z.errors import ConfigurationError, NetworkError

from .connection import Connection
from .discovery import Locator
from .explain import explain
from .faults import CredentialsError
from .handshake import dial
from .locate import locate
from .transport import WIRE_ERRORS
from .url import Address, Target

__all__ = ["DIAL_ERRORS", "REFUSALS", "Dialler"]

DIAL_ERRORS = (*WIRE_ERRORS, RedisError, trio.TooSlowError)
"""What dialling may raise."""
REFUSALS = (AuthenticationError, AuthorizationError)
"""Those of them that will not pass by themselves."""


class Dialler:
    """Dials the server that is the right one, as its locator knows it."""

    def __init__(
        self,
        target: Target,
        locator: Locator,
        *,
        name: str,
        connect_timeout: float,
        stall_limit: float,
        on_connection: Callable[[int], None],
    ) -> None:
        self.target = target
        self.locator = locator
        self._server = target
        self._name = name
        self._connect_timeout = connect_timeout
        self._stall_limit = stall_limit
        self._on_connection = on_connection

    @property
    def where(self) -> str:
        """The server that is the right one, for messages."""
        where = self.target.safe_url
        return f"{where} (at {self._server.place})" if self.target.found_by else where

    def is_current(self, connection: Connection) -> bool:
        """Whether this is a connection to the server that is the right one now."""
        return connection.server.place == self._server.place

    async def first(self) -> Connection:
        """Dial for the first time. Raises ``NetworkError`` and ``ConfigurationError``."""
        where = self.target.safe_url
        if self.target.is_fake:  # to import it takes far longer than to dial it, which is timed
            import_module(".fake", __package__)
        try:
            return await self.shared()
        except CredentialsError as error:
            raise NetworkError(f"no credentials for Redis at {where}: {error}", where) from error
        except REFUSALS as error:
            raise NetworkError(
                f"Redis at {where} refused the password: {error}. "
                "Correct the user and the password",
                where,
            ) from error
        except ResponseError as error:
            raise ConfigurationError(f"Redis at {where} refused the connection: {error}") from error
        except DIAL_ERRORS as error:
            raise NetworkError(
                f"cannot reach Redis at {where}: {self.explain(error)}. "
                "Start the server, or correct redis_url",
                where,
            ) from error

    async def shared(self) -> Connection:
        """Find the server and dial it; if that fails, the next one that somebody knows of.

        Raises one of ``DIAL_ERRORS``.
        """
        locator, timeout = self.locator, self._connect_timeout
        error: Exception | None = None
        with trio.move_on_after(timeout):
            for chance in range(locator.chances, 0, -1):
                try:
                    server = await locate(locator, timeout=timeout / (locator.chances + 1))
                    connection = await self._dial(
                        server,
                        stall_limit=self._stall_limit,
                        needs_master=locator.needs_master,
                        timeout=timeout if chance == 1 else timeout / 2,
                    )
                except REFUSALS:
                    raise
                except DIAL_ERRORS as failure:
                    error = failure
                    locator.failed()
                else:
                    self._server = server
                    return connection
        locator.failed()
        raise error or trio.TooSlowError

    async def is_replaced(self) -> bool:
        """Whether another server is said to be the right one by now. False if nobody tells."""
        try:
            server = await locate(self.locator, timeout=self._connect_timeout)
        except DIAL_ERRORS:
            return False
        return server.place != self._server.place

    async def another(self) -> Connection:
        """Dial the same server once more, for commands that may block."""
        return await self._dial(self._server, stall_limit=None)

    async def beside(self, address: Address) -> Connection:
        """Dial another server with the same name and password."""
        return await self._dial(self._server.at(address), stall_limit=self._stall_limit)

    async def _dial(
        self,
        server: Target,
        *,
        stall_limit: float | None,
        needs_master: bool = False,
        timeout: float | None = None,
    ) -> Connection:
        with trio.fail_after(self._connect_timeout if timeout is None else timeout):
            return await dial(
                server,
                name=self._name,
                on_connection=self._on_connection,
                stall_limit=stall_limit,
                needs_master=needs_master,
            )

    def explain(self, error: BaseException) -> str:
        """What went wrong, in words."""
        if isinstance(error, trio.TooSlowError):
            return f"no answer within {self._connect_timeout:g} s"
        return explain(error)
