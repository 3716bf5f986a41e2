"""What the peers on asyncio have in common: the verbs, made from a few methods of each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks.peers.line import (
    Counter,
    Timer,
    end_with_input,
    failed,
    main_arguments,
    payload,
    read,
    say,
)

__all__ = ["AsyncPeer", "run"]

BATCH = 1000
"""How many jobs one bulk call gets."""


class AsyncPeer:
    """One library. A subclass fills in what the verbs need."""

    settings = ""
    can_nest = True

    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> None:
        """Connect as a client."""

    async def close(self) -> None:
        """Disconnect."""

    async def enqueue(self, text: str) -> None:
        """Hand over one job."""
        raise NotImplementedError

    async def enqueue_many(self, texts: Sequence[str]) -> None:
        """Hand over many in the fastest way that the library has; this one is 100 at a time."""
        for start in range(0, len(texts), 100):
            await asyncio.gather(*map(self.enqueue, texts[start : start + 100]))

    async def execute(self, text: str) -> None:
        """Hand over one job and wait for its result."""
        raise NotImplementedError

    async def execute_parent(self, text: str) -> None:
        """The same with a job that does so itself, once."""
        raise NotImplementedError

    async def execute_chain(self, text: str) -> None:
        """Five jobs, one after the other."""
        for _ in range(5):
            await self.execute(text)

    async def work(self, counter: Counter) -> None:
        """Serve until cancelled; every no-op job calls ``counter.add``."""
        raise NotImplementedError


class _Client:
    def __init__(self, peer: AsyncPeer) -> None:
        self._peer = peer

    async def enqueue_each(self, n: int, size: int) -> dict[str, Any]:
        with Timer() as timer:
            for number in range(n):
                await self._peer.enqueue(payload(number, size))
        return timer.told

    async def enqueue_bulk(self, n: int, size: int) -> dict[str, Any]:
        texts = [payload(number, size) for number in range(n)]
        with Timer() as timer:
            for start in range(0, n, BATCH):
                await self._peer.enqueue_many(texts[start : start + BATCH])
        return timer.told

    async def executions(self, n: int, size: int, kind: str = "execute") -> dict[str, Any]:
        """One after the other; ``kind`` names the method."""
        one: Callable[[str], Awaitable[None]] = getattr(self._peer, kind)
        taken = []
        for number in range(n):
            began = time.perf_counter()
            await one(payload(number, size))
            taken.append(time.perf_counter() - began)
        return {"taken": taken}

    async def callers(self, n: int, size: int, callers: int) -> dict[str, Any]:
        async def call() -> None:
            for number in range(n // callers):
                await self._peer.execute(payload(number, size))

        with Timer() as timer:
            await asyncio.gather(*(call() for _ in range(callers)))
        return timer.told


async def _be_client(peer: AsyncPeer) -> None:
    await peer.open()
    say(ready=peer.settings)
    client = _Client(peer)
    while asked := await asyncio.to_thread(read):
        try:
            say(ok=await getattr(client, asked.pop("verb"))(**asked))
        except Exception:
            failed()
    with contextlib.suppress(Exception):
        await asyncio.wait_for(peer.close(), 2)
    os._exit(0)  # some libraries leave threads or tasks behind that never end


async def _be_worker(peer: AsyncPeer, options: dict[str, Any]) -> None:
    end_with_input()
    say(ready=peer.settings)
    await peer.work(Counter(options["marks"]))


def run(make: Callable[[str], AsyncPeer], *, uvloop: bool = True) -> None:
    """Be what the command line says."""
    role, url, options = main_arguments()

    async def main() -> None:
        peer = make(url)
        await (_be_client(peer) if role == "client" else _be_worker(peer, options))

    if uvloop:
        import uvloop as loop  # noqa: PLC0415 - not every environment has it

        loop.run(main())
    else:
        asyncio.run(main())
