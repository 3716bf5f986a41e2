"""arq."""

from __future__ import annotations

from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from benchmarks.peers.aio import AsyncPeer, run
from benchmarks.peers.line import Counter

POLL = 0.001


class Arq(AsyncPeer):
    settings = "uvloop, hiredis, 100 jobs at once, queue and results polled every ms"

    async def open(self) -> None:
        self._pool = await create_pool(RedisSettings.from_dsn(self.url))

    async def close(self) -> None:
        await self._pool.aclose()

    async def enqueue(self, text: str) -> None:
        await self._pool.enqueue_job("noop", text)

    async def execute(self, text: str) -> None:
        await self._execute("noop", text)

    async def execute_parent(self, text: str) -> None:
        await self._execute("parent", text)

    async def _execute(self, name: str, text: str) -> None:
        job = await self._pool.enqueue_job(name, text)
        assert job is not None
        await job.result(poll_delay=POLL)

    async def work(self, counter: Counter) -> None:
        await self.open()

        async def noop(_ctx: dict[Any, Any], text: str) -> None:
            counter.add()

        async def parent(_ctx: dict[Any, Any], text: str) -> None:
            await self.execute(text)

        worker = Worker(
            functions=[func(noop, name="noop"), func(parent, name="parent")],
            redis_settings=RedisSettings.from_dsn(self.url),
            max_jobs=100,
            queue_read_limit=500,
            poll_delay=POLL,
            handle_signals=False,
        )
        await worker.async_run()


if __name__ == "__main__":
    run(Arq)
