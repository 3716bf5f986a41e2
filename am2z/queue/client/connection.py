"""One connection: an outbox, a queue of waiters, and the tasks that read, write and watch.

Tasks of users never touch the wire. They put packed commands into the outbox and wait for the
reply; the writer sends whatever has gathered in one piece, the reader hands replies out in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from .faults import ConnectionLostError
from .transport import WIRE_ERRORS, Wire
from .url import Target
from .waiter import Waiter

__all__ = ["Connection"]

MAX_WAITERS = 8192
"""So many commands may await their replies on one connection; further ones wait their turn."""
MAX_OUTBOX_BYTES = 16 * 1024 * 1024
"""So many bytes may await being sent; further commands wait their turn."""
WATCH_TICKS = 5
"""The watcher looks so many times in the span after which an unanswered command is given up."""


class Connection:
    """A connection that has shaken hands. ``run`` must be running for replies to come."""

    __slots__ = (
        "_fifo",
        "_on_close",
        "_outbox",
        "_outbox_bytes",
        "_reason",
        "_room",
        "_scope",
        "_stall_limit",
        "_wire",
        "_writer",
        "client_id",
        "fell_silent",
        "is_open",
        "is_retired",
        "leaving",
        "server",
    )

    def __init__(
        self,
        wire: Wire,
        server: Target,
        client_id: int | None,
        *,
        stall_limit: float | None,
        on_close: Callable[[], None],
    ) -> None:
        self.server = server
        self.client_id = client_id
        """The server's number for this connection; ``None`` if it does not tell."""
        self.is_open = True
        self.leaving = trio.Event()
        """Set when no further command may be submitted: the connection is retired, or gone."""
        self.is_retired = False
        self.fell_silent = False
        """Whether it was given up because a command got no reply."""
        self._wire = wire
        self._on_close = on_close
        self._stall_limit = stall_limit
        self._fifo: deque[Waiter] = deque()
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._room = trio.lowlevel.ParkingLot()
        self._writer: trio.lowlevel.Task | None = None
        self._scope = trio.CancelScope()
        self._reason: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether a command may be submitted now: open, and neither queue is full."""
        return (
            self.is_open
            and len(self._fifo) < MAX_WAITERS
            and self._outbox_bytes < MAX_OUTBOX_BYTES
            and not self.is_retired
        )

    @property
    def reason(self) -> str:
        """Why the connection was given up; empty while it is open."""
        return self._reason

    async def room(self) -> None:
        """Wait until a command may be submitted, or none ever will be."""
        while not self.leaving.is_set() and not self.is_ready:
            await self._room.park()

    @trio.lowlevel.enable_ki_protection  # an interrupt in between would shift every later reply
    def submit(self, data: bytes, waiter: Waiter) -> None:
        """Queue a packed command; its reply will settle ``waiter``. Only while ``is_open``."""
        # A lone command goes out at once: waking the writer would cost it a round of the scheduler.
        # Where others are under way it joins those that are sent in one piece.
        if not self._fifo and self._writer is not None:
            sent = self._wire.send_now(data)
            if sent == len(data):
                self._fifo.append(waiter)
                return
            data = data[sent:]
        self._fifo.append(waiter)
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        if (writer := self._writer) is not None:
            self._writer = None
            trio.lowlevel.reschedule(writer)

    def retire(self, reason: str) -> None:
        """Take no more commands, and close when those under way have been answered."""
        if not self.is_retired and self.is_open:
            self.is_retired = True
            self._reason = reason
            self.leaving.set()
            self._room.unpark_all()
            if not self._fifo:
                self.drop(reason)

    def drop(self, reason: str) -> None:
        """Give the connection up: close it and fail whoever waits for a reply of it."""
        if not self.is_open:
            return
        self.is_open = False
        self.leaving.set()
        self._reason = self._reason or reason
        self._wire.close()
        self._scope.cancel()
        self._on_close()
        # What is still in the outbox never reached the wire, so it did not run for certain.
        sent = len(self._fifo) - len(self._outbox)
        for index, waiter in enumerate(self._fifo):
            # An exception of its own for each: a shared one would gather every task's traceback.
            waiter.settle(
                ConnectionLostError(
                    f"the connection to Redis was lost: {reason}", maybe_sent=index < sent
                )
            )
        self._fifo.clear()
        self._outbox.clear()
        self._room.unpark_all()

    async def run(self) -> None:
        """Serve the connection until it is dropped. Cancelling this drops it."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._write)
                    if self._stall_limit is not None:
                        nursery.start_soon(self._watch, self._stall_limit)
        finally:
            self.drop("the client was closed")

    async def _read(self) -> None:
        receive, hand_out = self._wire.receive, self._hand_out
        try:
            while True:
                hand_out(await receive())
        except WIRE_ERRORS as error:
            self.drop(_reason_of(error))

    @trio.lowlevel.enable_ki_protection
    def _hand_out(self, replies: list[Any]) -> None:
        fifo, reschedule = self._fifo, trio.lowlevel.reschedule
        for reply in replies:
            if not fifo:
                self.drop("it sent a reply that nobody had asked for")
                return
            waiter = fifo[0]
            if waiter.left:
                waiter.collected.append(reply)
                waiter.left -= 1
                if waiter.left:
                    continue
                reply = waiter.collected  # noqa: PLW2901 - the list of them is the reply
            fifo.popleft()
            waiter.reply = reply
            if (task := waiter.task) is not None:
                waiter.task = None
                reschedule(task)
        if self.is_retired and not fifo:
            self.drop(self._reason)
        elif self._room:
            self._room.unpark(count=len(replies))

    async def _write(self) -> None:
        send = self._wire.send
        try:
            while True:
                if not self._outbox:
                    self._writer = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._abort_writer)
                    continue
                batch = self._outbox
                self._outbox = []
                self._outbox_bytes = 0
                await send(batch[0] if len(batch) == 1 else b"".join(batch))
                if self._room:
                    self._room.unpark_all()
        except WIRE_ERRORS as error:
            self.drop(_reason_of(error))

    def _abort_writer(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _watch(self, limit: float) -> None:
        """Drop the connection when its oldest command got no reply for ``limit`` seconds.

        Counted in ticks that this task really saw, not read off the clock: a process that was
        stopped for a while and continued has not been ignored by the server. A large value that
        still moves is not stalled.
        """
        seen: tuple[Waiter | None, int] = (None, 0)
        ticks = 0
        while True:
            await trio.sleep(limit / WATCH_TICKS)
            now = (self._fifo[0] if self._fifo else None, self._wire.progress)
            ticks = ticks + 1 if now[0] is not None and now == seen else 0
            seen = now
            if ticks >= WATCH_TICKS:
                self.fell_silent = True
                self.drop(f"no reply within {limit:g} s")


def _reason_of(error: Exception) -> str:
    # A broken stream says nothing by itself; what broke it is its cause.
    cause = error.__cause__
    return str(cause if isinstance(cause, OSError) and not str(error) else error) or repr(error)
