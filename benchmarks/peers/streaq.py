"""streaq."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from streaq import Worker

from benchmarks.peers.aio import AsyncPeer, run
from benchmarks.peers.line import Counter


class Streaq(AsyncPeer):
    settings = (
        "uvloop, hiredis, concurrency 100, bulk by enqueue_many, 512 connections; result() takes "
        "0.1 s to unsubscribe (coredis 6.9)"
    )

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._counter = Counter(())
        self._worker: Worker[None] = Worker(
            redis_url=url,
            redis_kwargs={"max_connections": 512},  # two for each waiting caller, or they deadlock
            queue_name="bench",
            concurrency=100,
            handle_signals=False,
        )

        async def noop(text: str) -> None:
            self._counter.add()

        async def parent(text: str) -> None:
            await self.execute(text)

        self._noop = self._worker.task(name="noop")(noop)
        self._parent = self._worker.task(name="parent")(parent)
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        await self._stack.enter_async_context(self._worker)

    async def close(self) -> None:
        await self._stack.aclose()

    async def enqueue(self, text: str) -> None:
        await self._noop.enqueue(text)

    async def enqueue_many(self, texts: Sequence[str]) -> None:
        await self._worker.enqueue_many([self._noop.enqueue(text) for text in texts])

    async def execute(self, text: str) -> None:
        await (await self._noop.enqueue(text)).result(300)

    async def execute_parent(self, text: str) -> None:
        await (await self._parent.enqueue(text)).result(300)

    async def work(self, counter: Counter) -> None:
        self._counter = counter
        await self._worker.run_async()
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(Streaq)
