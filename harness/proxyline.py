"""One connection through ``RedisProxy``: commands there, replies back, and where it is cut."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol

import trio

from harness.resp import Messages, arguments, is_push

__all__ = ["Command", "Cut", "Line", "Traffic", "When"]

When = Literal["before", "applied", "replied"]

READ_SIZE = 65536
LINGER = 1.0
"""How long a client that was cut off may take to notice, in seconds, before it is closed on."""
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)

_log = logging.getLogger("harness.proxy")


@dataclass(frozen=True, slots=True)
class Command:
    """A command as a proxy saw it.

    - ``name``: in capitals, with the second word of such as ``CLIENT ID``; or that of its script
    - ``number``: its place among all, ``ordinal``: among those of its name; both from 1
    - ``connection``: the number of its connection, from 1
    - ``args``: every word of it, the command itself too
    """

    name: str
    number: int
    ordinal: int
    connection: int
    args: tuple[bytes, ...] = field(repr=False)


class Cut:
    """A place where a connection will be cut, once. Made by ``RedisProxy.cut``."""

    def __init__(self, matches: Callable[[Command], bool], at: int, when: When) -> None:
        self.when: When = when
        self.command: Command | None = None
        """The command at which it was cut; ``None`` as long as it was not."""
        self._matches = matches
        self._left = at
        self._struck = trio.Event()

    def __repr__(self) -> str:
        return f"<Cut {self.when} {self.command or 'not struck yet'}>"

    async def wait(self) -> Command:
        """Wait until the connection was cut; the command at which."""
        await self._struck.wait()
        assert self.command is not None
        return self.command

    def meets(self, command: Command) -> bool:
        """Whether it strikes at this command, which is counted."""
        if self._left and self._matches(command):
            self._left -= 1
            return self._left == 0
        return False

    def strike(self, command: Command) -> None:
        """Note that it is done."""
        self.command = command
        self._struck.set()


class _Gate:
    """What passes only while it is open."""

    def __init__(self) -> None:
        self._open = trio.Event()
        self._open.set()

    def open(self) -> None:
        """Let through whoever waits, and comes."""
        self._open.set()

    def close(self) -> None:
        """Let nobody through."""
        if self._open.is_set():
            self._open = trio.Event()

    async def passed(self) -> None:
        """Return when it is open."""
        while not self._open.is_set():
            await self._open.wait()


class Traffic(Protocol):
    """What the connections of a proxy have in common."""

    latency: float

    def note(self, words: tuple[bytes, ...], connection: int) -> tuple[Command, Cut | None]:
        """Record a command, and say whether its connection is cut there."""


@dataclass(slots=True)
class _Exchange:
    """A command under way."""

    command: Command
    cut: Cut | None


class Line:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(
        self, number: int, near: trio.SocketStream, far: trio.SocketStream, traffic: Traffic
    ) -> None:
        self._commands_gate, self._replies_gate = _Gate(), _Gate()
        self._number = number
        self._near = near
        self._far = far
        self._traffic = traffic
        self._scope = trio.CancelScope()
        self._asked: deque[_Exchange] = deque()
        self._answered: deque[tuple[_Exchange | None, bytes, float]] = deque()
        self._is_over = False
        self._changed = trio.lowlevel.ParkingLot()

    def drop(self) -> None:
        """End it now, whatever is under way."""
        self._scope.cancel()

    def pause(self, *, commands: bool = False, replies: bool = False) -> None:
        """Pass nothing more on, one way or both."""
        if commands:
            self._commands_gate.close()
        if replies:
            self._replies_gate.close()

    def resume(self) -> None:
        """Pass everything on again, what was held up first."""
        self._commands_gate.open()
        self._replies_gate.open()

    async def run(self) -> None:
        """Carry both ways until either end closes, or it is cut."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry_commands)
                    nursery.start_soon(self._collect_replies)
                    cut_off = await self._carry_replies()
                    nursery.cancel_scope.cancel()
                if cut_off:
                    await self._part()
        finally:
            self._far.socket.close()
            self._near.socket.close()

    async def _carry_commands(self) -> None:
        messages = Messages(inline=True)
        while data := await self._receive(self._near):
            try:
                for message in messages.feed(data):
                    if (words := arguments(message)) and await self._carry(message, words):
                        return
            except ValueError as error:
                _log.warning("connection %d is closed: %s", self._number, error)
                break
        # What was read has been sent on: a client that went away takes nothing back.
        self._scope.cancel()

    async def _carry(self, message: bytes, words: tuple[bytes, ...]) -> bool:
        """Send a command on; whether the connection ends with it."""
        command, cut = self._traffic.note(words, self._number)
        await self._commands_gate.passed()
        self._asked.append(_Exchange(command, cut))
        if cut is not None and cut.when == "before":
            self._changed.unpark_all()
            return True
        try:
            await self._far.send_all(message)
        except _GONE:
            return True  # the server is gone: what it said before is still passed on
        return cut is not None

    async def _collect_replies(self) -> None:
        messages = Messages()
        while data := await self._receive(self._far):
            due = trio.current_time() + self._traffic.latency
            for message in messages.feed(data):
                is_reply = self._asked and not is_push(message)
                self._answered.append((self._asked.popleft() if is_reply else None, message, due))
            self._changed.unpark_all()
        self._is_over = True
        self._changed.unpark_all()

    async def _carry_replies(self) -> bool:
        """Pass on what has come until it ends; whether that is because it was cut."""
        while True:
            if self._answered:
                exchange, message, due = self._answered.popleft()
                if due > trio.current_time():
                    await trio.sleep_until(due)
                await self._replies_gate.passed()
                cut = exchange.cut if exchange is not None else None
                if cut is None or cut.when == "replied":
                    await self._reply(message)
                if exchange is not None and cut is not None:
                    cut.strike(exchange.command)
                    return True
            elif self._asked and (cut := self._asked[0].cut) is not None and cut.when == "before":
                cut.strike(self._asked[0].command)
                return True
            elif self._is_over:
                return False
            else:
                await self._changed.park()

    async def _reply(self, message: bytes) -> None:
        with suppress(*_GONE):  # nobody listens; the commands that it left are still carried
            await self._near.send_all(message)

    async def _part(self) -> None:
        """Close without losing what the client has been sent and not read yet."""
        self._far.socket.close()
        with trio.move_on_after(LINGER):
            try:
                await self._near.send_eof()
            except _GONE:
                return
            while await self._receive(self._near):
                pass

    @staticmethod
    async def _receive(stream: trio.SocketStream) -> bytes | bytearray:
        try:
            return await stream.receive_some(READ_SIZE)
        except _GONE:
            return b""
