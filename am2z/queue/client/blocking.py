"""Blocking commands: connections of their own, and a cancellation that loses no element."""

from __future__ import annotations

import math
from typing import Any

import trio
from redis.exceptions import RedisError

from .connection import Connection
from .detour import describe, detour_of
from .faults import ConnectionLostError
from .link import Link
from .resp import pack
from .waiter import PENDING, Waiter

__all__ = ["BlockingPool"]

UNBLOCK_LIMIT = 2.0
"""A cancelled blocking command is shielded for at most so many seconds."""
LAST_UNBLOCK = 0.1
"""The same for each once the time of a client that leaves is over."""
MARGIN = 2.0
"""So many seconds after its own timeout a blocking command must have been answered."""
MAX_IDLE = 8
"""So many connections are kept for the next blocking command."""


class BlockingPool:
    """The connections on which commands may block, each for one command at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.leaves_by = math.inf
        """When all of it shall be over."""
        self._idle: list[Connection] = []
        link.on_reconnect.append(self._forget_idle)

    async def run(self, data: bytes, timeout: float, replies: int = 1) -> Any:
        """Run a packed blocking command that the server ends by itself after ``timeout`` seconds.

        With ``replies`` above one, other commands come after it in the same piece, which the server
        runs as soon as that one has ended; their replies come together, as a list.

        Cancelled while it waits, it unblocks the connection and waits for the server's answer: an
        element that had been popped already is *returned*, and the cancellation strikes at the
        caller's next checkpoint; otherwise the cancellation goes on at once.
        """
        connection = await self._take()
        waiter = Waiter(replies)
        connection.submit(data, waiter)
        try:
            with trio.move_on_after(timeout + MARGIN):
                await waiter.wait()
        except trio.Cancelled:
            await self._unblock(connection, waiter)
            # With an element in hand the cancellation is not raised here, which would lose it:
            # trio raises it again at the next checkpoint.
            if waiter.reply is None or isinstance(waiter.reply, Exception):
                self._give_back(connection)
                raise
        except BaseException:
            connection.drop("a blocking command was interrupted")
            raise
        if waiter.reply is PENDING:
            connection.drop(f"no reply within {timeout + MARGIN:g} s to a command that blocks")
            self._forget_idle()
        reply: Any = waiter.reply
        last = reply[-1] if replies > 1 and isinstance(reply, list) else reply
        detour = detour_of(last)
        if detour is not None and self._link.understands(detour):
            self._link.divert(connection, detour, last)
            reply = ConnectionLostError(
                f"another server has to be asked: {describe(last)}", maybe_sent=False
            )
        self._give_back(connection)
        return reply

    async def _unblock(self, connection: Connection, waiter: Waiter) -> None:
        """Make the server answer the command that blocks, and see its answer.

        ``CLIENT UNBLOCK`` answers 0 while the command is still on its way to the server, or when
        its answer is on its way back: so it is asked again until the answer is here. The connection
        is not used again before the last ``CLIENT UNBLOCK`` was answered: a late one would hit the
        next command.
        """
        # An access list may hide the id, and on another server it is another client's.
        if connection.client_id is None or not self._link.is_current(connection):
            connection.drop("a blocking command was cancelled")
            return
        unblock = pack(("CLIENT", "UNBLOCK", connection.client_id))
        pause = 0.001
        now = trio.current_time()
        until = min(now + UNBLOCK_LIMIT, max(self.leaves_by, now + LAST_UNBLOCK))
        with trio.CancelScope(shield=True, deadline=until) as scope:
            while waiter.reply is PENDING:
                try:
                    answer = await self._link.exchange(unblock)
                except ConnectionLostError:
                    continue  # it is dialled anew, and the scope bounds how long that may take
                except RedisError:
                    break
                if isinstance(answer, RedisError):
                    break  # an access list may forbid it
                with trio.move_on_after(pause):
                    await waiter.wait()
                pause = min(pause * 2, 0.05)
            await waiter.wait()
        # Also when the answer came but that of the last CLIENT UNBLOCK did not.
        if scope.cancelled_caught:
            connection.drop("a cancelled blocking command could not be unblocked")

    def _forget_idle(self) -> None:
        """One line fell silent: so may have those that nobody uses, which would not be noticed."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.drop("another connection to the same server was lost")

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_ready and self._link.is_current(connection):
                return connection
            connection.drop("it is not needed any more")
        return await self._link.dial_another()

    def _give_back(self, connection: Connection) -> None:
        if len(self._idle) >= MAX_IDLE:
            connection.drop("it is not needed any more")
        elif connection.is_ready:
            self._idle.append(connection)
