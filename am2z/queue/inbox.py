"""What others tell this runtime: its results, what it shall stop running, and free locks.

One blocking loop on one list serves any number of waiting callers. The truth about an execution is
in its own record; the inbox only saves asking. So whoever waits is also looked up now and then, and
after each reconnection: no result can be missed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

import trio

from am2z.errors import AM2ZError
from am2z.queue.bell import Bell
from am2z.queue.keys import encode
from am2z.queue.leases import Leases
from am2z.queue.locks import QueueLocks
from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node
from am2z.queue.wire import CancelOrder, Finished, LockFree, Status, Why, WireError, parse_inbox

__all__ = ["Inbox", "Pending"]

_log = logging.getLogger("am2z.replies")

BLOCK = 2.0
"""Seconds for which one read waits for messages."""
BATCH = 200
FEW = 2
"""With so many who wait, what else has come is not asked for in one piece."""
SWEEP = 2.0
"""Who has waited for so many seconds is looked up for the first time,"""
SELDOM = 60.0
"""and then after ever longer pauses, up to this one: many who wait for long must not cost much."""


class Pending:
    """A caller's wait for one execution."""

    __slots__ = ("_done", "execution_id", "finished", "if_cancelled", "is_accepted", "is_child",
                 "is_transient", "looked_at", "processor_name", "since", "waiters")  # fmt: skip

    def __init__(
        self, execution_id: str, processor_name: str, *, is_transient: bool, is_child: bool
    ) -> None:
        self.execution_id = execution_id
        self.processor_name = processor_name
        self.is_transient = is_transient
        self.is_child = is_child
        self.is_accepted = False
        self.if_cancelled: AM2ZError | None = None
        self.waiters = 0
        self.finished: Finished | BaseException | None = None
        self.since = self.looked_at = trio.current_time()
        self._done = trio.Event()

    def resolve(self, finished: Finished | BaseException) -> None:
        """The execution has ended like this; the first word counts."""
        if self.finished is None:
            is_cancelled = isinstance(finished, Finished) and finished.why is Why.CANCELLED
            if is_cancelled and self.if_cancelled is not None:
                finished = self.if_cancelled  # it was us who cancelled it, and this is why
            self.finished = finished
            self._done.set()

    def look_soon(self) -> None:
        """It may have ended without our being told."""
        self.looked_at = -math.inf

    def is_overdue(self, now: float) -> bool:
        """Whether to look it up: each wait is twice as long as it was at the look before."""
        pause = min(max(self.looked_at - self.since, SWEEP), SELDOM)
        return now - self.looked_at >= pause

    async def wait(self) -> Finished | BaseException:
        """Return how it ended."""
        self.waiters += 1
        try:
            await self._done.wait()
        finally:
            self.waiters -= 1
        assert self.finished is not None
        return self.finished


class Inbox:
    """The waits of this runtime, and the loop that ends them."""

    def __init__(self, node: Node, leases: Leases, locks: QueueLocks) -> None:
        self._node = node
        self._leases = leases
        self._locks = locks
        self._pending: dict[str, set[Pending]] = {}
        self._look_now = Bell()
        self._emptied = trio.lowlevel.ParkingLot()
        node.client.on_reconnect.append(self._reconnected)

    @property
    def waiting(self) -> list[Pending]:
        """Everybody who waits."""
        return [pending for group in self._pending.values() for pending in group]

    def expect(
        self, execution_id: str, processor_name: str, *, is_transient: bool, is_child: bool
    ) -> Pending:
        """Wait for an execution; register before it is enqueued, so that no answer is missed.

        ``is_transient``: nobody but the caller wants the result; it is cancelled with the caller.
        """
        pending = Pending(
            execution_id, processor_name, is_transient=is_transient, is_child=is_child
        )
        self._pending.setdefault(execution_id, set()).add(pending)
        return pending

    def forget(self, pending: Pending) -> None:
        """Nobody waits any more."""
        group = self._pending.get(pending.execution_id)
        if group is not None:
            group.discard(pending)
            if not group:
                del self._pending[pending.execution_id]
        self._emptied.unpark_all()

    def anybody_waits(self) -> bool:
        """Whether a task waits for a result; one that nobody asks for does not count."""
        return any(pending.waiters for pending in self.waiting)

    async def nobody_waits(self) -> None:
        """Return when no task waits for a result."""
        while self.anybody_waits():
            await self._emptied.park()

    def resolve(self, finished: Finished) -> None:
        """Tell everybody who waits for this execution."""
        for pending in self._pending.pop(finished.id, ()):
            pending.resolve(finished)
        self._emptied.unpark_all()

    async def run(self) -> None:
        """Read messages until cancelled."""
        key = self._node.key(f"in:{encode(self._node.runtime_id)}")
        while True:
            try:
                first = await self._node.client.block("BLPOP", key, BLOCK, timeout=BLOCK)
                messages = [first[1]] if first else []
                while messages:
                    for message in messages:
                        await self._take(message)
                    # A lone caller's answer is the only one; asking for more would cost as much.
                    more = len(messages) == BATCH or len(self._pending) > FEW
                    rest = await self._node.client.call("LPOP", key, BATCH) if more else None
                    messages = rest or []
            except RECOVERABLE as error:
                _log.warning("the inbox could not be read: %s", error)
                self._look_soon(self.waiting)
                await trio.sleep(RETRY_PAUSE)

    async def sweep(self) -> None:
        """Look up those who wait for long, until cancelled."""
        while True:
            with trio.move_on_after(SWEEP):
                await self._look_now.wait()
            now = trio.current_time()
            overdue = [pending for pending in self.waiting if pending.is_overdue(now)]
            try:
                for start in range(0, len(overdue), BATCH):
                    batch = overdue[start : start + BATCH]
                    await self.look_up([pending.execution_id for pending in batch])
                    for pending in batch:
                        pending.looked_at = now
            except RECOVERABLE as error:
                _log.warning("waiting executions could not be looked up: %s", error)

    async def _take(self, message: bytes) -> None:
        try:
            told = parse_inbox(message)
        except WireError as error:
            _log.warning("a message that cannot be read was skipped: %s", error)
            return
        if isinstance(told, CancelOrder):
            self._leases.lose(told.id, told.fence)
        elif isinstance(told, LockFree):
            self._locks.wake(told.owner)
        elif told.body is None:
            await self.look_up([told.id])
        else:
            self.resolve(told)

    def take_soon(self, finished: Finished) -> None:
        """An execution has ended; a result that was too long to be told is fetched meanwhile."""
        if finished.body is None:
            self._look_soon(self._pending.get(finished.id, ()))
        else:
            self.resolve(finished)

    async def look_up(self, names: list[str]) -> None:
        """Ask how these executions stand, and tell who waits for those that have ended."""
        # Whoever is not accepted yet cannot be lost: the look may be there before the request.
        accepted = {p.execution_id for p in self.waiting if p.is_accepted}
        for look in await self._node.protocol.look(names, whole=True):
            if look.finished is not None:
                self.resolve(look.finished)
            elif look.status is Status.UNKNOWN and look.id in accepted:
                # Accepted once, and now unknown: Redis lost it. Better an answer than a wait.
                self.resolve(Finished(look.id, Status.FAILED, Why.LOST, 0, None, b""))

    def _look_soon(self, waiting: Iterable[Pending]) -> None:
        for pending in waiting:
            pending.look_soon()
        self._look_now.ring()

    def _reconnected(self) -> None:
        self._look_soon(self.waiting)
