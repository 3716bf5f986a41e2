"""Several worker processes under one parent: what crashes is replaced, orders are passed on.

Each child has a line (a pair of sockets) to its parent. Orders go over it, not as signals: service
managers often signal parent and children alike, and a child must not take one order for two. When
the parent dies the line closes, and the child stops: there are no orphans.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

import trio

from am2z.cli.serve import FINISH, INTERRUPTED, orders, say

__all__ = ["supervise"]

FIRST_PAUSE = 0.5
"""Seconds before a child that crashed is replaced; twice as many after each further crash."""
LONGEST_PAUSE = 30.0
SETTLED = 60.0
"""A child that lived for so many seconds was no failed attempt: the pauses begin anew."""
MARGIN = 15.0
"""So many seconds after it should have ended a child is killed."""


async def supervise(
    command: Sequence[str], count: int, grace: float, env: Mapping[str, str]
) -> int:
    """Run ``count`` processes of ``command`` until told to stop; answers the exit status.

    ``command`` gets the number of the descriptor of its line as one more argument; ``env`` is its
    environment.
    """
    return await _Supervisor(command, count, grace, env).run()


class _Child:
    def __init__(self, process: trio.Process, line: trio.SocketStream) -> None:
        self.process = process
        self.line = line

    async def tell(self, order: bytes) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.line.send_all(order)


class _Supervisor:
    def __init__(
        self, command: Sequence[str], count: int, grace: float, env: Mapping[str, str]
    ) -> None:
        self._command = command
        self._env = env
        self._count = count
        self._grace = grace
        self._children: set[_Child] = set()
        self._order: bytes | None = None
        self._stopping = trio.Event()
        self._first = trio.Event()  # the first child serves, or will not
        self._has_served = False
        self._tending = trio.CancelScope()  # with a deadline once they have been told to end
        self._status = 0

    async def run(self) -> int:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._take_signals, signals)
                with self._tending:
                    async with trio.open_nursery() as tending:
                        # Where one cannot serve, none can: then it is said once, and is the end.
                        tending.start_soon(self._tend)
                        await self._first.wait()
                        for _ in range(self._count - 1):
                            tending.start_soon(self._tend)
                nursery.cancel_scope.cancel()
        if self._tending.cancelled_caught:
            say("worker processes that did not end were killed; their leases bring their work back")
            return self._status or 1
        if self._has_served:
            say("all worker processes have ended")
        return self._status

    async def _take_signals(self, signals: AsyncIterator[int]) -> None:
        async for order, number in orders(signals):
            if number == signal.SIGINT:
                self._status = INTERRUPTED
            await self._tell_all(order)

    async def _tell_all(self, order: bytes) -> None:
        self._order = order
        self._stopping.set()
        patience = MARGIN + (self._grace if order == FINISH else 0)
        self._tending.deadline = trio.current_time() + patience
        for child in list(self._children):
            await child.tell(order)

    async def _tend(self) -> None:
        """Keep one child alive."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            began = trio.current_time()
            child = await self._start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, child)
                status = await self._wait(child)
                nursery.cancel_scope.cancel()
            if self._stopping.is_set():
                break
            if not self._has_served:  # it has said why
                self._status = status if status in (1, 2) else 1
                self._stopping.set()
                break
            if trio.current_time() - began >= SETTLED:
                pause = FIRST_PAUSE
            say(
                f"worker process {child.process.pid} has ended ({_describe(status)}); "
                f"another one starts in {pause:g} s"
            )
            with trio.move_on_after(pause):
                await self._stopping.wait()
            pause = min(2 * pause, LONGEST_PAUSE)
        self._first.set()

    async def _listen(self, child: _Child) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if await child.line.receive_some(1):
                self._has_served = True
                self._first.set()

    async def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await trio.lowlevel.open_process(
                [*self._command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=self._env,
                process_group=0,  # what a terminal sends, it sends to us alone
                stdin=subprocess.DEVNULL,
            )
        child = _Child(process, trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        self._children.add(child)
        if self._order is not None:  # given while it was started
            await child.tell(self._order)
        return child

    async def _wait(self, child: _Child) -> int:
        """Wait for the end of a child; it does not outlive us."""
        try:
            return await child.process.wait()
        finally:
            self._children.discard(child)
            if child.process.returncode is None:
                child.process.kill()
                with trio.CancelScope(shield=True):
                    await child.process.wait()
            child.line.socket.close()


def _describe(status: int) -> str:
    if status < 0:
        with suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit status {status}"
