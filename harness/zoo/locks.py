"""Mutants that give a lock to the wrong one, to two, or to nobody (RES, about locks)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import trio

from am2z.base import BaseRuntime
from am2z.local import locks
from am2z.local.locks import LocalLocks
from am2z.locks import HeldLock, LockBackend
from am2z.queue.keys import encode
from am2z.queue.lockkeeper import LockKeeper
from am2z.queue.protocol import Protocol
from am2z.queue.upkeep import ms
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


class _Mutex:
    """As ``trio.Lock``, with a choice of who is next and of what a cancelled waiter does."""

    def __init__(self, next_one: int = 0, *, forgets_cancelled: bool = True) -> None:
        self._next = next_one
        self._forgets_cancelled = forgets_cancelled
        self._is_held = False
        self._line: list[trio.Event] = []

    def locked(self) -> bool:
        return self._is_held

    async def acquire(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._is_held:
            turn = trio.Event()
            self._line.append(turn)
            try:
                await turn.wait()
            except trio.Cancelled:
                if self._forgets_cancelled:
                    self._line.remove(turn)
                raise
        self._is_held = True

    def release(self) -> None:
        if self._line:
            self._line.pop(self._next).set()
        else:
            self._is_held = False


# --- who holds it


@mutant("lock-for-two", rule="RES-023")
@contextmanager
def lock_for_two() -> Iterator[None]:
    """Whoever asks for a lock has it."""

    async def acquire(self: LocalLocks, _lock: HeldLock) -> int:
        await trio.lowlevel.checkpoint()
        return next(self._fences)

    async def release(*_: Any) -> bool:
        await trio.lowlevel.cancel_shielded_checkpoint()
        return True

    with patch(LocalLocks, "acquire", acquire), patch(LocalLocks, "release", release):
        yield


@mutant("lock-get-then-set", rule="RES-023", base="queue")
@contextmanager
def lock_get_then_set() -> Iterator[None]:
    """Whether a lock is free is asked in one command, and it is taken in another."""
    right = Protocol.lock_acquire

    async def lock_acquire(
        self: Protocol, name: str, owner: str, ttl: float, **line: Any
    ) -> tuple[bool, float]:
        call: Any = self._client.call
        key = f"{self.keys.prefix}lock:{encode(name)}"
        if await call("EXISTS", key):
            return await right(self, name, owner, ttl, **line)
        fence: int = await call("INCR", f"{self.keys.prefix}fence")
        await call("HSET", key, "owner", encode(owner), "fence", fence)
        await call("PEXPIRE", key, ms(ttl))
        return True, fence

    with patch(Protocol, "lock_acquire", lock_acquire):
        yield


@mutant("one-lock-for-all-names", rule="RES-023")
@contextmanager
def one_lock_for_all_names() -> Iterator[None]:
    """There is one lock, whatever name is asked for."""
    right = BaseRuntime.lock

    def lock(
        self: BaseRuntime, name: str, *, ttl: float = 30.0
    ) -> AbstractAsyncContextManager[Any]:
        return right(self, name and "lock", ttl=ttl)

    with patch(BaseRuntime, "lock", lock):
        yield


@mutant("lock-fence-repeats", rule="RES-023")
@contextmanager
def lock_fence_repeats() -> Iterator[None]:
    """Each holder of a lock has the same fence."""
    with edit(LocalLocks, "acquire", "return next(self._fences)", "return 1"):
        yield


@mutant("lock-not-extended", rule="RES-026", base="queue")
@contextmanager
def lock_not_extended() -> Iterator[None]:
    """A lock ends with its ttl, whether its block has ended or not."""
    with patch(LockKeeper, "keep", lambda *_: None):
        yield


# --- who is next


@mutant("lock-for-who-came-last", rule="RES-024")
@contextmanager
def lock_for_who_came_last() -> Iterator[None]:
    """Of those who wait for a lock the last has it first."""
    with patch(locks, "trio", SimpleNamespace(Lock=lambda: _Mutex(-1))):
        yield


@mutant("cancelled-waiter-keeps-its-place", rule="RES-024")
@contextmanager
def cancelled_waiter_keeps_its_place() -> Iterator[None]:
    """A lock is handed on to one who waits no more."""
    with patch(locks, "trio", SimpleNamespace(Lock=lambda: _Mutex(forgets_cancelled=False))):
        yield


@mutant("lock-release-wakes-nobody", rule="RES-023", base="queue")
@contextmanager
def lock_release_wakes_nobody() -> Iterator[None]:
    """Who waits for a lock finds it free when it asks again, about once a second."""
    with script("lock_release", "if owner and runtime ~= '' then", "if false then"):
        yield


# --- how a block ends


@mutant("lock-kept-after-error", rule="RES-025")
@contextmanager
def lock_kept_after_error() -> Iterator[None]:
    """A block that ends by an exception keeps its lock."""
    with _kept_after("Exception"):
        yield


@mutant("lock-kept-after-cancel", rule="RES-025")
@contextmanager
def lock_kept_after_cancel() -> Iterator[None]:
    """A block that is cancelled keeps its lock."""
    with _kept_after("trio.Cancelled"):
        yield


@contextmanager
def _kept_after(kind: str) -> Iterator[None]:
    right = "except BaseException as error:\n"
    wrong = f"except {kind}:\n            raise\n        {right}"
    with edit(LockBackend, "hold", right, wrong):
        yield


@mutant("block-error-in-group", rule="RES-025")
@contextmanager
def block_error_in_group() -> Iterator[None]:
    """A block's exception comes out in a group of the nursery that is around it."""
    right = LockBackend.hold

    @asynccontextmanager
    async def hold(self: LockBackend, name: str, ttl: float) -> AsyncIterator[HeldLock]:
        async with trio.open_nursery(), right(self, name, ttl) as lock:
            yield lock

    with patch(LockBackend, "hold", hold):
        yield


@mutant("bad-lock-accepted", rule="RES-025")
@contextmanager
def bad_lock_accepted() -> Iterator[None]:
    """A lock may have any ttl."""
    with edit(BaseRuntime, "lock", 'check_duration("ttl", ttl)', "pass"):
        yield


# --- how a runtime ends


@mutant("lock-outlives-runtime", rule="RES-027")
@contextmanager
def lock_outlives_runtime() -> Iterator[None]:
    """Blocks that hold locks, or wait for them, are left alone by a runtime that stops."""
    with patch(LockBackend, "end", lambda _self: None):
        yield


@mutant("lock-waiter-outlives-runtime", rule="RES-027")
@contextmanager
def lock_waiter_outlives_runtime() -> Iterator[None]:
    """Who waits for a lock waits on when the runtime stops."""
    with edit(HeldLock, "lose", "self.waiting.cancel()", "pass"):
        yield
