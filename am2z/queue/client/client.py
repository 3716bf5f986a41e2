"""``RedisClient``: redis-py's commands and a few fast paths, for any number of trio tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import trio
from redis import Redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.commands.core import AsyncCoreCommands
from redis.exceptions import NoScriptError, ResponseError

from .blocking import BlockingPool
from .check import check_server
from .commands import check_shared, server_timeout
from .credentials import CredentialProvider
from .dialler import Dialler
from .discovery import locator_for
from .link import Link
from .pipeline import Pipeline
from .resp import pack
from .script import Script
from .sync import plain_client_of
from .url import Target, parse_url

__all__ = ["RedisClient", "open_client"]

SILENCE = 2.0
"""Seconds after which a connection on which a command is unanswered counts as dead, at most."""


@asynccontextmanager
async def open_client(
    url: str,
    *,
    name: str = "am2z",
    connect_timeout: float = 2.0,
    patience: float = 5.0,
    on_connection: Callable[[int], None] | None = None,
    key: str | None = None,
    credential_provider: CredentialProvider | None = None,
) -> AsyncIterator[RedisClient]:
    """Connect to the Redis at ``url`` for the length of the block; nothing outlives the block.

    ``name`` is shown in the server's ``CLIENT LIST``. A connection may take ``connect_timeout``
    seconds to come about. ``patience`` (seconds) bounds two things: how long a command waits for a
    lost connection to come back, and, up to 2 seconds, how long the server may leave a command
    unanswered before the connection counts as dead. ``on_connection`` is called with ``+1`` and
    ``-1`` as each physical connection is opened and closed; it may raise to refuse one.
    (Connections that only ask a sentinel or a cluster where the server is are not counted.)

    ``redis+sentinel://`` finds the master anew at each dial, and after a failover. With
    ``redis+cluster://`` the client serves the keys of one slot, that of ``key``, and follows them
    from node to node. ``credential_provider`` has redis-py's ``get_credentials()``, which gives
    ``(user, password)``; it is asked anew at each dial, in a thread.

    Raises ``ConfigurationError`` for a malformed URL and for a server that would lose work (too
    old, or evicting keys); ``NetworkError`` when there is no server or it refuses the password. The
    password is never shown.

    Example::

        async with open_client("redis://localhost:6379/0") as client:
            await client.call("SET", "greeting", "hello")
            print(await client.call("GET", "greeting"))  # b'hello'
    """
    target = parse_url(url).identified_by(credential_provider)
    dialler = Dialler(
        target,
        locator_for(target, key),
        name=name,
        connect_timeout=connect_timeout,
        stall_limit=min(patience, SILENCE),
        on_connection=on_connection or _count_nothing,
    )
    link = Link(dialler, patience=patience)
    client = RedisClient(target, link, key)
    first = await dialler.first()
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            link.start(nursery, first)
            try:
                await check_server(client, connect_timeout)
                yield client
            except trio.Cancelled:
                raise
            except BaseException as error:
                # Kept aside, for a nursery would wrap the error of the block into a group.
                if nursery.cancel_scope.cancel_called:
                    raise
                failure = error
            finally:
                link.close()
                nursery.cancel_scope.cancel()
    finally:
        link.close()
        if failure is not None:
            raise failure


def _count_nothing(_change: int) -> None:
    """Stand in for ``on_connection`` where nobody counts."""


class RedisClient(AsyncCoreCommands):
    """An async Redis client for trio. Made by ``open_client``; any number of tasks may share it.

    It has every command method of redis-py (``await client.hset(...)``), and for the paths that
    must be fast ``call``, ``run_script`` and ``pipeline``, which give raw replies: ``bytes``,
    ``int``, ``None`` and lists of them. Error replies are raised as ``redis.exceptions``.

    A command that may have reached the server is never sent a second time unless the caller says
    ``idempotent=True``: when the connection is lost meanwhile, ``ConnectionLostError`` (a
    ``redis.exceptions.ConnectionError``) is raised.
    """

    _event_dispatcher: Any = None  # redis-py's protocol asks for it, its command methods do not

    def __init__(self, target: Target, link: Link, key: str | None = None) -> None:
        self.url = target.url
        self.safe_url = target.safe_url
        """The URL with the password hidden: the one to show."""
        self.is_fake = target.is_fake
        self.probe = None if target.found_by else key
        """A key of ours that this server must have; ``None`` where that is not to be doubted."""
        self.on_reconnect = link.on_reconnect
        """Called, without arguments, each time the shared connection was lost and is back."""
        self._target = target
        self._key = key
        self._link = link
        self._exchange = link.exchange
        self._blocking = BlockingPool(link)

    def __repr__(self) -> str:
        return f"<RedisClient {self.safe_url}{' (closed)' if self._link.is_closed else ''}>"

    async def call(self, *args: bytes | str | float, idempotent: bool = False) -> Any:
        """Run one command and give its raw reply.

        ``idempotent`` says that running it twice does no harm: it is then sent again when the
        connection is lost before the reply came.

        Raises ``redis.exceptions.RedisError``: the server's error as its own class, or
        ``ConnectionError`` when the server is away for longer than the client's patience.

        Example::

            await client.call("HGETALL", "user:1", idempotent=True)
        """
        check_shared(args)
        reply = await self._exchange(pack(args), idempotent=idempotent)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def run_script(
        self,
        script: Script,
        keys: Sequence[Any] = (),
        args: Sequence[Any] = (),
        *,
        idempotent: bool = False,
    ) -> Any:
        """Run a script by its SHA-1, by its text when the server does not know it; the raw reply.

        Raises what ``call`` raises.
        """
        tail = (len(keys), *keys, *args)
        data = pack(("EVALSHA", script.sha, *tail))
        reply = await self._exchange(data, idempotent=idempotent)
        if isinstance(reply, NoScriptError):
            data = pack(("EVAL", script.text, *tail))
            reply = await self._exchange(data, idempotent=idempotent)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def block(self, *args: bytes | str | float, timeout: float) -> Any:
        """Run a blocking command (``BLPOP``, ``XREAD BLOCK`` …) on a connection of its own.

        The command itself carries the server's timeout, which must be finite; ``timeout`` is the
        same in seconds and lets the client notice a server that has vanished. The raw reply, which
        is ``None`` when the time ran out.

        Cancelling it loses nothing: an element that the server had handed out already is returned,
        and the cancellation strikes at the next checkpoint.

        Raises what ``call`` raises.

        Example::

            popped = await client.block("BLPOP", "inbox", 5, timeout=5)
        """
        data = pack(args)
        await trio.lowlevel.checkpoint_if_cancelled()
        reply = await self._blocking.run(data, timeout)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def block_then_run(
        self,
        *args: bytes | str | float,
        timeout: float,
        script: Script,
        keys: Sequence[Any] = (),
        script_args: Sequence[Any] = (),
    ) -> tuple[Any, Any]:
        """Run a blocking command, and a script in the moment in which it ends; both raw replies.

        They are sent in one piece: between the end of the wait and the script there is no way to
        the client and back. That of the blocking command may be an exception object; the script
        runs all the same.

        Cancelling it ends the wait, and loses nothing that the script has done: its reply is
        returned, and the cancellation strikes at the next checkpoint.

        Raises what ``call`` raises, and ``NoScriptError`` where the server does not know the
        script, which ``run_script`` tells it.

        Example::

            popped, answer = await client.block_then_run(
                "BLPOP", "news", 5, timeout=5, script=READ, keys=["board"]
            )
        """
        tail = (len(keys), *keys, *script_args)
        data = pack(args) + pack(("EVALSHA", script.sha, *tail))
        await trio.lowlevel.checkpoint_if_cancelled()
        reply = await self._blocking.run(data, timeout, 2)
        if isinstance(reply, Exception):
            raise reply
        blocked, answer = reply
        if isinstance(answer, Exception):
            raise answer
        return blocked, answer

    def leave(self, deadline: float) -> None:
        """Cancelled blocking commands shall be over by then, on trio's clock: the client leaves.

        One that a server leaves unanswered for longer is given up with its connection.
        """
        self._blocking.leaves_by = deadline

    def pipeline(self, *, transaction: bool = False) -> Pipeline:
        """An empty pipeline; see ``Pipeline``."""
        return Pipeline(self._exchange, transaction=transaction)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command as redis-py's command methods ask for it; the reply in redis-py's shape.

        Blocking commands take a connection of their own.
        """
        options.pop(NEVER_DECODE, None)
        empty = options.pop(EMPTY_RESPONSE, _NO_EMPTY)
        options.pop("keys", None)
        try:
            if (timeout := server_timeout(args)) is None:
                reply = await self.call(*args)
            else:
                reply = await self.block(*args, timeout=timeout)
        except ResponseError:
            if empty is not _NO_EMPTY:
                return empty
            raise
        callback = _plain_redis().response_callbacks.get(args[0])
        return reply if callback is None else callback(reply, **options)

    def sync_client(self, **options: Any) -> Redis:
        """A plain redis-py client of the same server for a thread; see the function of that name.

        It finds the server by itself, so it works while the event loop is held up.
        """
        return plain_client_of(self._target, self._key, **options)

    def get_encoder(self) -> Any:
        """How redis-py's command methods turn text into bytes."""
        return _plain_redis().get_encoder()

    def get_connection_kwargs(self) -> dict[str, Any]:
        """What redis-py's command methods want to know of the connection."""
        return {"protocol": 2, "decode_responses": False}


_NO_EMPTY = object()


@cache
def _plain_redis() -> Redis:
    """A client of redis-py that never connects: it knows the shapes of replies for RESP2."""
    return Redis(protocol=2)
