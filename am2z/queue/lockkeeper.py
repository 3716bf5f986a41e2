"""Keeps locks alive that are held, from a thread of their own, and says when one was lost.

The thread is deliberate, as with leases: a block that holds the event loop for longer than its
lock's time to live would otherwise go on while the next holder is at work.
"""

from __future__ import annotations

import math
import threading
import time

import trio
from redis import Redis

from am2z.locks import HeldLock
from am2z.queue.keys import encode
from am2z.queue.library import library
from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node
from am2z.queue.upkeep import ms

__all__ = ["LockKeeper"]

END = 2.0
"""How long a runtime that leaves waits for the thread to end, in seconds."""
BATCH = 500
"""How many locks are extended in one exchange."""
LONG = 3600.0
"""The thread looks for itself after so many seconds without a reason."""
TAKEN = "its key is gone, or another one has it"
LATE = "Redis could not be asked to keep it before its time to live was over"


class _Kept:
    """A lock that is held: ours for certain ``until`` then, to be extended when ``due``."""

    __slots__ = ("due", "lock", "until")

    def __init__(self, lock: HeldLock, until: float) -> None:
        self.lock = lock
        self.until = until
        self.due = until - lock.ttl * 2 / 3


class LockKeeper:
    """Extends every held lock each third of its time to live. Times are of the monotonic clock."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kept: dict[str, _Kept] = {}  # by owner; the thread reads it, too
        self._wanted = trio.Event()
        self._running = trio.Event()
        self._watch_until = -math.inf
        self._sooner = trio.Event()
        self._news = threading.Event()
        self._alarm = math.inf
        self._is_over = False

    async def ready(self) -> None:
        """Return once the thread runs. It is started with the first lock that anybody wants."""
        self._wanted.set()
        await self._running.wait()

    def keep(self, lock: HeldLock, until: float) -> None:
        """Extend this lock from now on. It is ours until then."""
        kept = self._kept[lock.owner] = _Kept(lock, until)
        if kept.due < self._alarm:
            self._news.set()
        if kept.until < self._watch_until:
            self._sooner.set()

    def drop(self, lock: HeldLock) -> float:
        """Let this lock go; answers until when it is ours for certain."""
        kept = self._kept.pop(lock.owner, None)
        return -math.inf if kept is None else kept.until

    def _lose(self, owner: str, why: str) -> None:
        kept = self._kept.get(owner)
        if kept is not None:  # else it was given back meanwhile
            kept.lock.lose(why)

    async def run(self) -> None:
        """Do all this until cancelled."""
        await self._wanted.wait()
        token = trio.lowlevel.current_trio_token()
        limiter = trio.CapacityLimiter(1)
        # Shielded, for it ends by itself; but a thread that waits for a server is not waited for.
        thread = trio.CancelScope(shield=True)

        async def extend() -> None:
            with thread:
                await trio.to_thread.run_sync(
                    self._extend_all,
                    token,
                    thread_name="am2z locks",
                    limiter=limiter,
                    abandon_on_cancel=True,
                )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(extend)
            try:
                await self._watch()
            finally:
                self._is_over = True
                self._news.set()
                thread.deadline = self._node.until(END)

    async def _watch(self) -> None:
        """Lose in time what could not be extended, however long the thread waits for an answer."""
        while True:
            now = time.monotonic()
            for owner, kept in list(self._kept.items()):
                if kept.until <= now:
                    self._lose(owner, LATE)
            left = [kept.until for kept in self._kept.values() if kept.lock.lost is None]
            self._sooner = trio.Event()
            self._watch_until = min(left, default=math.inf)
            with trio.move_on_after(self._watch_until - now):
                await self._sooner.wait()

    # --- in the thread

    def _extend_all(self, token: trio.lowlevel.TrioToken) -> None:
        token.run_sync_soon(self._running.set)
        client: Redis | None = None
        try:
            while not self._is_over:
                self._news.clear()
                self._alarm = math.inf  # what comes while we look on wakes us
                self._alarm = min((k.due for k in list(self._kept.values())), default=math.inf)
                pause = self._alarm - time.monotonic()
                if pause > 0:
                    self._news.wait(min(pause, LONG))
                    continue
                due = [k for k in list(self._kept.values()) if k.due <= time.monotonic()][:BATCH]
                try:
                    if client is None:
                        client = self._node.client.sync_client()
                    self._extend(client, due, token)
                except RECOVERABLE as error:
                    # Nothing is lost yet: there is time for a few more attempts.
                    self._node.log.warning("locks could not be extended: %s", error)
                    for kept in due:
                        kept.due = time.monotonic() + min(RETRY_PAUSE, kept.lock.ttl / 10)
                    if client is not None:
                        client.close()
                        client = None  # the server may be another one by now
        finally:
            if client is not None:
                client.close()

    def _extend(self, client: Redis, due: list[_Kept], token: trio.lowlevel.TrioToken) -> None:
        script = library()["lock_extend"].text
        prefix = self._node.protocol.keys.prefix
        now = time.monotonic()
        with client.pipeline(transaction=False) as pipe:
            for kept in due:
                lock = kept.lock
                # EVAL rather than EVALSHA: it is short, seldom sent, and knows no NOSCRIPT.
                pipe.eval(script, 1, prefix, encode(lock.name), encode(lock.owner), ms(lock.ttl))
            answers = pipe.execute()
        for kept, answer in zip(due, answers, strict=True):
            if answer == 1:
                kept.until = now + kept.lock.ttl
                kept.due = now + kept.lock.ttl / 3
            else:
                kept.due = math.inf
                token.run_sync_soon(self._lose, kept.lock.owner, TAKEN)
