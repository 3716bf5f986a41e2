"""Delivers events late, and those of different executions in another order than they were told."""

from __future__ import annotations

import random
from collections import deque

import trio

from am2z import Event, EventType
from am2z.authoring import EventBus

__all__ = ["SlowEvents"]

_LAST = (EventType.QUEUE_COMPLETED, EventType.QUEUE_FAILED)
_SLOWEST = 0.005


class SlowEvents:
    """Between a runtime and a bus. The events of one execution stay in order.

    All events of an execution are delivered when it ends, since its caller is answered then.
    """

    def __init__(self, bus: EventBus, rng: random.Random) -> None:
        self._bus = bus
        self._rng = rng
        self._late: dict[str, deque[Event]] = {}
        self._some = trio.Event()

    def take(self, event: Event) -> None:
        """An event was told."""
        if not event.execution_id:  # of sessions and of the runtime: they are the frame
            self.flush()
            self._bus.publish(event)
            return
        self._late.setdefault(event.execution_id, deque()).append(event)
        if event.type in _LAST:
            self._give(event.execution_id, all_of_them=True)
        self._some.set()

    def flush(self) -> None:
        """Deliver everything."""
        while self._late:
            self._give(self._rng.choice(list(self._late)))

    async def run(self) -> None:
        """Deliver what is late, little by little."""
        while True:
            await self._some.wait()
            while self._late:
                await trio.sleep(self._rng.uniform(0, _SLOWEST))
                if self._late:
                    self._give(self._rng.choice(list(self._late)))
            self._some = trio.Event()

    def _give(self, execution_id: str, *, all_of_them: bool = False) -> None:
        waiting = self._late[execution_id]
        while waiting:
            self._bus.publish(waiting.popleft())
            if not all_of_them:
                break
        if not waiting:
            self._late.pop(execution_id, None)
