"""Mutants whose fault shows only where two things meet, or two clients: for the oracles' rules."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import trio

from am2z.local.engine import Engine
from am2z.local.locks import LocalLocks
from am2z.local.runtime import LocalRuntime
from am2z.local.state import LocalStateManager
from am2z.locks import HeldLock
from am2z.queue.runtime import QueueRuntime
from am2z.stats import QueueStats
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@mutant("failed-child-counts-as-completed", rule="EXE-045")
@contextmanager
def failed_child_counts_as_completed() -> Iterator[None]:
    """A nested call that failed is counted among those that were completed."""
    wrong = "(self.completed if execution.depth else self.failed)[request.name] += 1"
    with edit(Engine, "_fail", "self.failed[request.name] += 1", wrong):
        yield


@mutant("dropped-work-counts-as-completed", rule="SES-020")
@contextmanager
def dropped_work_counts_as_completed() -> Iterator[None]:
    """What was ended before it ever ran is counted among what was completed."""
    wrong = "(self.failed if execution.was_active else self.completed)[request.name] += 1"
    with edit(Engine, "_fail", "self.failed[request.name] += 1", wrong):
        yield


@mutant("restart-resets-versions", rule="STA-026")
@contextmanager
def restart_resets_versions() -> Iterator[None]:
    """After a restart the versions of committed states count from 1 again."""
    right = LocalRuntime._engine

    @asynccontextmanager
    async def engine(self: LocalRuntime) -> AsyncIterator[None]:
        records = self._store._records
        for name, (record, expires) in list(records.items()):
            records[name] = (record._replace(version=1), expires)
        async with right(self):
            yield

    with patch(LocalRuntime, "_engine", engine):
        yield


@mutant("write-after-look", rule="STA-027")
@contextmanager
def write_after_look() -> Iterator[None]:
    """A write looks at the version, and writes when others had their turn."""
    right = "    record = StateRecord("
    waiting = "    await trio.lowlevel.checkpoint()\n    current = self._peek(session_id)"
    with edit(LocalStateManager, "write", right, f"{waiting}\n{right}"):
        yield


@mutant("statistics-end-with-their-runtime", rule="STA-028", base="queue")
@contextmanager
def statistics_end_with_their_runtime() -> Iterator[None]:
    """A runtime counts only what ended since it was entered."""
    enter, counts = QueueRuntime.__aenter__, QueueRuntime._counts

    async def aenter(self: Any) -> Any:
        await enter(self)
        self.before = await counts(self, None)
        return self

    async def since(self: Any, session_id: str | None) -> dict[str, QueueStats]:
        now = await counts(self, session_id)
        if session_id is not None:
            return now
        return {
            name: msgspec.structs.replace(
                one, completed=one.completed - self.before.get(name, QueueStats()).completed
            )
            for name, one in now.items()
        }

    with patch(QueueRuntime, "__aenter__", aenter), patch(QueueRuntime, "_counts", since):
        yield


@mutant("who-gives-up-frees-the-lock", rule="RES-029")
@contextmanager
def who_gives_up_frees_the_lock() -> Iterator[None]:
    """When somebody is cancelled who waits for a lock, the next one to come has it at once."""
    taken: dict[HeldLock, trio.Lock] = {}

    async def acquire(self: LocalLocks, lock: HeldLock) -> int:
        mutex = self._mutexes.setdefault(lock.name, trio.Lock())
        try:
            await mutex.acquire()
        except trio.Cancelled:
            self._mutexes.pop(lock.name, None)
            raise
        taken[lock] = mutex
        return next(self._fences)

    async def release(_self: LocalLocks, lock: HeldLock) -> bool:
        mutex = taken.pop(lock, None)
        if mutex is not None:
            mutex.release()
        return mutex is not None

    with patch(LocalLocks, "acquire", acquire), patch(LocalLocks, "release", release):
        yield
