"""Dialling a server: password, database, name, and whether it is what was looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from .connection import Connection
from .credentials import credentials_from
from .resp import pack
from .tls import explain_tls
from .transport import WIRE_ERRORS, Wire, open_wire
from .url import Target

__all__ = ["ask_once", "dial"]

Command = Sequence[Any]


async def dial(
    server: Target,
    *,
    name: str,
    on_connection: Callable[[int], None],
    stall_limit: float | None = None,
    needs_master: bool = False,
) -> Connection:
    """Connect and shake hands: password, database, client name. The caller bounds the time.

    Raises ``OSError`` or ``redis.exceptions.RedisError`` (``AuthenticationError`` for a refused
    password), and whatever ``on_connection(1)`` raises. ``needs_master``: a ``ConnectionError``
    for a server that is not one.
    """
    introduction = await _introduction(server)
    wire = await open_wire(server)
    counted = False
    try:
        on_connection(1)
        counted = True
        commands: list[Command] = [
            *introduction,
            ("CLIENT", "SETNAME", "".join(c if "!" <= c <= "~" else "_" for c in name)),
            ("PING",),  # the one that a server which still loads its data set refuses
            *([("ROLE",)] if needs_master else []),
            ("CLIENT", "ID"),
        ]
        replies = await _converse(wire, commands, server)
        if needs_master:
            _check_master(replies[-2], server)
    except BaseException:
        wire.close()
        if counted:
            on_connection(-1)
        raise
    client_id = replies[-1] if isinstance(replies[-1], int) else None
    return Connection(
        wire, server, client_id, stall_limit=stall_limit, on_close=lambda: on_connection(-1)
    )


async def ask_once(target: Target, command: Command) -> Any:
    """The reply to one command, on a connection of its own. The caller bounds the time.

    Raises ``OSError`` or ``redis.exceptions.RedisError``.
    """
    introduction = await _introduction(target)
    wire = await open_wire(target)
    try:
        return (await _converse(wire, [*introduction, command], target))[-1]
    finally:
        wire.close()


async def _introduction(target: Target) -> list[Command]:
    """Who we are and which database we want."""
    commands: list[Command] = []
    if target.is_fake:
        pass
    elif target.provider is not None:
        if credentials := await credentials_from(target.provider):
            commands.append(("AUTH", *credentials))
    elif target.password is not None:
        user = () if target.username is None else (target.username,)
        commands.append(("AUTH", *user, target.password))
    if target.db:
        commands.append(("SELECT", target.db))
    return commands


async def _converse(wire: Wire, commands: list[Command], target: Target) -> list[Any]:
    """Send all of it in one piece; the replies. Raises the first refusal that matters."""
    replies: list[Any] = []
    refusal: RedisError | None = None
    unsent: Exception | None = None
    try:
        await wire.send(b"".join(pack(tuple(command)) for command in commands))
    except WIRE_ERRORS as error:
        unsent = error  # receiving tells why: a server that closes has said so before
    while len(replies) < len(commands):
        try:
            fresh = await wire.receive()
        except WIRE_ERRORS as error:
            # A server that is full or protected says so and closes: that tells more.
            if refusal is not None:
                raise refusal from None
            if target.scheme == "rediss" and not replies:
                raise _closed_after_tls(target, unsent, error) from error
            raise
        for reply in fresh:
            command = commands[min(len(replies), len(commands) - 1)]
            replies.append(reply)
            if isinstance(reply, RedisError):
                refusal = refusal or reply
                if not _may_be_denied(command, reply):
                    raise reply
    return replies


def _closed_after_tls(target: Target, *errors: Exception | None) -> RedisConnectionError:
    """What it means that a server breaks off as soon as TLS is there.

    It says why in an alert, and the alert is lost if the server was quicker to close.
    """
    for error in errors:
        if error is not None and (told := explain_tls(error.__cause__ or error)) is not None:
            return RedisConnectionError(told)
    if "ssl_certfile" in target.tls:
        return RedisConnectionError(
            "it closed the connection after the TLS handshake: perhaps it does not trust the "
            "client's TLS certificate, the one of ssl_certfile"
        )
    return RedisConnectionError(
        "it closed the connection after the TLS handshake: if it wants to see a client's TLS "
        "certificate, name one in ssl_certfile, and its key in ssl_keyfile"
    )


def _may_be_denied(command: Command, error: RedisError) -> bool:
    """Whether the connection is good all the same: a name and an id are not worth failing for."""
    if isinstance(error, AuthenticationError | AuthorizationError | BusyLoadingError):
        return False
    if command[0] in ("CLIENT", "PING", "ROLE"):
        return isinstance(error, NoPermissionError | ResponseError)
    return False


def _check_master(role: Any, server: Target) -> None:
    """Raise for a server that says that it is none; one that may not tell shows it by READONLY."""
    if isinstance(role, list) and role and role[0] != b"master":
        what = role[0].decode("utf-8", "replace") if isinstance(role[0], bytes) else "no server"
        what = {"slave": "a replica"}.get(what, what)
        raise RedisConnectionError(f"{server.place} is said to be the master and is {what}")
