"""Locks across processes: a place in a line in Redis, and a wake-up by the inbox when it is over.

Waiting costs no connection: a waiter asks about once a second, which keeps its place, and is told
at once when its turn has come.
"""

from __future__ import annotations

import random
import time

import trio

from am2z.locks import HeldLock, LockBackend
from am2z.queue.lockkeeper import LockKeeper
from am2z.queue.node import RECOVERABLE, Node, network_errors
from am2z.runtime import CANCEL_GRACE

__all__ = ["QueueLocks"]

ASK = 1.0
"""Seconds after which a waiter asks again, at the latest."""
PLACE = 3.0
"""Seconds for which a waiter keeps its place without asking; a dead one holds up others so long."""
LATE = 0.005
"""A lock is asked for so many seconds after its expiry: Redis counts whole milliseconds."""


class QueueLocks(LockBackend):
    """The locks of a runtime: what it holds, and what it waits for."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node
        self._keeper = LockKeeper(node)
        self._woken: dict[str, trio.Event] = {}

    async def keep(self) -> None:
        """Keep what is held alive, until cancelled."""
        await self._keeper.run()

    async def give_back(self) -> None:
        """The runtime stops: end the blocks that hold locks, and wait a moment for them to end.

        A lock whose block takes longer expires in its time, so nobody meets that block.
        """
        self.end()
        with trio.CancelScope(shield=True, deadline=self._node.until(CANCEL_GRACE)):
            await self.ended()

    def wake(self, owner: str) -> None:
        """It is this one's turn."""
        woken = self._woken.get(owner)
        if woken is not None:
            woken.set()

    async def acquire(self, lock: HeldLock) -> int:
        """See ``LockBackend.acquire``. Raises ``NetworkError``."""
        node = self._node
        await self._keeper.ready()
        while True:
            woken = self._woken[lock.owner] = trio.Event()
            until = time.monotonic() + lock.ttl  # counted from before Redis does
            with network_errors(node.client.safe_url):
                taken, number = await node.protocol.lock_acquire(
                    lock.name, lock.owner, lock.ttl, runtime_id=node.runtime_id, wait=PLACE
                )
            if not taken:
                with trio.move_on_after(min(number + LATE, ASK * random.uniform(0.7, 1.0))):  # noqa: S311 - spreads load
                    await woken.wait()
            elif time.monotonic() < until:  # else the answer took too long: ask for it anew
                self._keeper.keep(lock, until)
                return int(number)

    async def release(self, lock: HeldLock) -> bool:
        """See ``LockBackend.release``."""
        self._woken.pop(lock.owner, None)
        until = self._keeper.drop(lock)
        was_ours = time.monotonic() < until  # for all of its block, which is over now
        protocol = self._node.protocol
        with trio.CancelScope(shield=True, deadline=self._node.until(CANCEL_GRACE)):
            try:
                told = await protocol.lock_release(lock.name, lock.owner, idempotent=False)
                # Where that took longer than the lock lives, it has only expired on the way.
                return told or (was_ours and time.monotonic() >= until)
            except RECOVERABLE:
                pass
            try:
                # Perhaps it was done already; then the answer says nothing, and our clock decides.
                await protocol.lock_release(lock.name, lock.owner)
            except RECOVERABLE as error:
                self._node.log.warning(
                    "lock %r could not be given back, it will expire: %s", lock.name, error
                )
        return was_ours
