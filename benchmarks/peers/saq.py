"""SAQ."""

from __future__ import annotations

from typing import Any

from saq import Worker
from saq.queue.redis import RedisQueue

from benchmarks.peers.aio import AsyncPeer, run
from benchmarks.peers.line import Counter

CONCURRENCY = 100

POLL = 0.0002
"""It looks for a result, sleeps so long in any case, and looks again."""


class SAQ(AsyncPeer):
    settings = (
        "uvloop, hiredis, concurrency 100, 100 concurrent operations of a client, "
        "results polled every 0.5 ms"
    )

    def _make(self) -> RedisQueue:
        return RedisQueue.from_url(self.url, name="bench", max_concurrent_ops=100)

    async def open(self) -> None:
        self._queue = self._make()
        await self._queue.connect()

    async def close(self) -> None:
        await self._queue.disconnect()

    async def enqueue(self, text: str) -> None:
        await self._queue.enqueue("noop", text=text)

    async def execute(self, text: str) -> None:
        await self._queue.apply("noop", text=text, poll_interval=POLL)

    async def execute_parent(self, text: str) -> None:
        await self._queue.apply("parent", text=text, poll_interval=POLL)

    async def work(self, counter: Counter) -> None:
        await self.open()

        async def noop(_ctx: dict[str, Any], *, text: str) -> None:
            counter.add()

        async def parent(_ctx: dict[str, Any], *, text: str) -> None:
            await self.execute(text)

        functions = [("noop", noop), ("parent", parent)]
        await Worker(self._make(), functions=functions, concurrency=CONCURRENCY).start()


if __name__ == "__main__":
    run(SAQ)
