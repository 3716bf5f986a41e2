"""Locks among the tasks of one process."""

from __future__ import annotations

import itertools

import trio

from am2z.locks import HeldLock, LockBackend

__all__ = ["LocalLocks"]


class LocalLocks(LockBackend):
    """One mutex for each name that is in use.

    Nothing expires here: a holder in this process cannot die and leave its lock behind. So a lock
    is lost with its runtime only, and its ``ttl`` has no effect.
    """

    def __init__(self) -> None:
        super().__init__()
        self._mutexes: dict[str, trio.Lock] = {}
        self._holders: dict[str, HeldLock] = {}
        self._fences = itertools.count(1)

    async def acquire(self, lock: HeldLock) -> int:
        """See ``LockBackend.acquire``. Trio's lock is handed to who waits for longest."""
        mutex = self._mutexes.setdefault(lock.name, trio.Lock())
        try:
            await mutex.acquire()
        finally:
            self._tidy(lock.name, mutex)
        self._holders[lock.name] = lock
        return next(self._fences)

    async def release(self, lock: HeldLock) -> bool:
        """See ``LockBackend.release``."""
        if self._holders.get(lock.name) is not lock:
            return False
        del self._holders[lock.name]
        mutex = self._mutexes[lock.name]
        mutex.release()
        self._tidy(lock.name, mutex)
        return True

    def _tidy(self, name: str, mutex: trio.Lock) -> None:
        """Forget a mutex that nobody has; one that somebody waits for is somebody's.

        Whoever gave up waiting comes here a moment later, when the name may have a new mutex.
        """
        if not mutex.locked() and self._mutexes.get(name) is mutex:
            del self._mutexes[name]
