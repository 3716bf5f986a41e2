"""Locks for users: what holding one means, whichever runtime keeps it.

A back end says how a lock is waited for, kept and given back. That a lost lock cancels its block,
that a cancelled waiter leaves nothing and that a holder always gives back is written here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from am2z.errors import ConfigurationError, LockLostError, RuntimeStoppedError
from am2z.ids import new_id

__all__ = ["HeldLock", "LockBackend"]


class HeldLock:
    """One acquisition of a lock, from the first wish for it to its end; see ``Lock``."""

    __slots__ = ("fence", "lost", "name", "owner", "scope", "task", "ttl", "waiting")

    def __init__(self, name: str, ttl: float) -> None:
        self.name = name
        self.ttl = ttl
        self.owner = new_id()  # a fresh one each time: an old acquisition can never pass for a new
        self.fence = 0
        self.lost: str | None = None
        self.task = trio.lowlevel.current_task()
        self.waiting = trio.CancelScope()
        self.scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<lock {self.name!r} fence={self.fence}>"

    def lose(self, why: str) -> None:
        """The lock is not ours any more, or is waited for in vain: end the wait or the block."""
        if self.lost is None:
            self.lost = why
            self.waiting.cancel()
            self.scope.cancel()


class LockBackend(ABC):
    """Where locks are kept. A subclass keeps what ``acquire`` got alive until ``release``."""

    def __init__(self) -> None:
        self._live: set[HeldLock] = set()
        self._fewer = trio.lowlevel.ParkingLot()

    @abstractmethod
    async def acquire(self, lock: HeldLock) -> int:
        """Wait for the lock, first come first served, and answer its fence.

        From then on the back end calls ``lock.lose`` as soon as the lock is not ours any more.
        However this is left but by an answer, ``release`` follows.
        """

    @abstractmethod
    async def release(self, lock: HeldLock) -> bool:
        """Give the lock back, or the place in line; False if the lock had been lost before.

        Called while we are cancelled, too: it must do its work then, and within a bounded time.
        """

    @asynccontextmanager
    async def hold(self, name: str, ttl: float) -> AsyncIterator[HeldLock]:
        """Hold the lock for the length of the block; see ``RuntimeCore.lock``."""
        lock = HeldLock(name, ttl)
        if any(other.name == name and other.task is lock.task for other in self._live):
            raise ConfigurationError(
                f"this task has lock {name!r} already and would wait for itself; take it once, "
                "around everything that needs it"
            )
        self._live.add(lock)
        try:
            await self._wait(lock)
            try:
                # No nursery around the block: its exceptions pass as they are, in no group.
                with lock.scope:
                    yield lock
            except BaseException as error:
                await self.release(lock)
                if lock.lost is not None and isinstance(error, Exception):
                    error.add_note(f"lock {name!r} had been lost by then: {lock.lost}")
                raise
            lost, is_ours = lock.lost, await self.release(lock)
            if lost is None and not is_ours:
                lost = "somebody else has it, or it is gone"
            if lost is not None:
                raise LockLostError(
                    f"lock {name!r} was lost while its block ran: {lost}; another one may have "
                    "held it meanwhile, so look at what was half done and begin again"
                )
        finally:
            self._live.discard(lock)
            self._fewer.unpark_all()

    async def _wait(self, lock: HeldLock) -> None:
        try:
            with lock.waiting:
                lock.fence = await self.acquire(lock)
        except BaseException:
            await self.release(lock)  # it may have been given to us just now
            raise
        if lock.waiting.cancelled_caught:
            await self.release(lock)
            raise RuntimeStoppedError(
                f"lock {lock.name!r} was still waited for when {lock.lost}; take it again once the "
                "runtime is started"
            )

    def end(self) -> None:
        """The runtime stops: end every wait, and cancel every block that holds a lock."""
        for lock in self._live:
            lock.lose("the runtime stopped")

    async def ended(self) -> None:
        """Return when nothing is held or waited for any more."""
        while self._live:
            await self._fewer.park()
