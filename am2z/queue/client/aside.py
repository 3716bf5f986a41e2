"""Asking the node that a slot is being moved to: ``ASKING``, then the command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from redis.exceptions import AskError, RedisError

from .connection import Connection
from .detour import command_name
from .faults import ConnectionLostError
from .resp import pack
from .transport import WIRE_ERRORS
from .url import Address
from .waiter import Waiter

__all__ = ["Aside"]

_ASKING = pack(("ASKING",))
_SCRIPTS = frozenset((b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO", b"FCALL", b"FCALL_RO"))


class Aside:
    """Connections beside the shared one, for as long as a slot is on its way to another node."""

    def __init__(self, dial: Callable[[Address], Awaitable[Connection]]) -> None:
        self._dial = dial
        self._connections: dict[Address, Connection] = {}
        self._dialling = trio.Lock()

    async def ask(self, refusal: AskError, data: bytes, host: str) -> Any:
        """Send a command where ``refusal`` points, ``host`` if it names none; the raw reply.

        A script is not sent there, and gets the refusal as its reply: it would see the keys that
        have arrived and none of those that have not, and take the half for the whole. It has to
        wait for the end of the move. A command of a single key is right on either node.
        """
        if command_name(data) in _SCRIPTS:
            return refusal
        try:
            connection = await self._connection((refusal.host or host, refusal.port))
        except (*WIRE_ERRORS, RedisError, trio.TooSlowError) as error:
            return ConnectionLostError(
                f"the node that the slot is moved to cannot be reached: {error}", maybe_sent=False
            )
        waiter = Waiter(2)
        connection.submit(_ASKING + data, waiter)
        replies = await waiter.wait()
        return replies if isinstance(replies, ConnectionLostError) else replies[1]

    async def _connection(self, address: Address) -> Connection:
        async with self._dialling:
            connection = self._connections.get(address)
            while connection is not None and connection.is_open and not connection.is_ready:
                await connection.room()
            if connection is None or not connection.is_open:
                connection = self._connections[address] = await self._dial(address)
            return connection
