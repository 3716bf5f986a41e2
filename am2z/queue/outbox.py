"""Messages that are handed over at once and sent one after the other."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable

import trio

from am2z.context import Delivery
from am2z.queue.node import RECOVERABLE, Node

__all__ = ["Outbox"]

_log = logging.getLogger("am2z.worker")

Send = Callable[[], Awaitable[object]]

MAX_WAITING = 10_000
"""How many unsent messages one outbox keeps; a processor that emits faster should await."""


class Outbox:
    """Sends in the order of ``put``; a task exists only while there is something to send."""

    def __init__(self, node: Node, nursery: trio.Nursery) -> None:
        self._node = node
        self._nursery = nursery
        self._waiting: deque[Send] = deque()
        self._is_sending = False
        self._sent = trio.lowlevel.ParkingLot()

    def put(self, send: Send) -> Delivery:
        """Send something soon. The oldest goes lost where far too much waits, and a log says so."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            _log.warning("more than %d events wait; the oldest is dropped", MAX_WAITING)
        self._waiting.append(send)
        if not self._is_sending:
            self._is_sending = True
            self._nursery.start_soon(self._send_all)
        return Delivery(self.flush)

    async def flush(self) -> None:
        """Return when everything that was put has been sent."""
        while self._is_sending:
            await self._sent.park()

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                try:
                    await self._waiting.popleft()()
                except RECOVERABLE as error:
                    _log.warning("an event could not be sent: %s", error)
        finally:
            self._is_sending = False
            self._sent.unpark_all()
