"""BullMQ's Python port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bullmq import Job, Queue, QueueEvents, Worker

from benchmarks.peers.aio import AsyncPeer, run
from benchmarks.peers.line import Counter

CONCURRENCY = 10
OPTIONS = {"removeOnComplete": True}


class BullMQ(AsyncPeer):
    settings = (
        "uvloop, hiredis, concurrency 10 (more is no faster, and its clients wait longer), "
        "finished jobs removed, results by QueueEvents"
    )

    async def open(self) -> None:
        self._queue = Queue("bench", {"connection": self.url})
        self._events = QueueEvents("bench", {"connection": self.url})
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._early: set[str] = set()
        self._events.on("completed", self._completed)
        await asyncio.sleep(0.2)  # it reads from now on, and does not say when it begins

    def _completed(self, told: dict[str, Any], *_: Any) -> None:
        name = told["jobId"]
        future = self._waiting.pop(name, None)
        if future is not None:
            future.set_result(told["returnvalue"])
        elif self._expects:
            self._early.add(name)  # its event overtook the answer to the call that added it

    _expects = 0

    async def enqueue(self, text: str) -> None:
        await self._queue.add("noop", {"text": text}, OPTIONS)

    async def enqueue_many(self, texts: Sequence[str]) -> None:
        jobs = [{"name": "noop", "data": {"text": text}, "opts": OPTIONS} for text in texts]
        await self._queue.addBulk(jobs)

    async def execute(self, text: str) -> None:
        await self._execute("noop", text)

    async def execute_parent(self, text: str) -> None:
        await self._execute("parent", text)

    async def _execute(self, name: str, text: str) -> None:
        self._expects += 1
        try:
            job = await self._queue.add(name, {"text": text}, OPTIONS)
        finally:
            self._expects -= 1
        if job.id in self._early:
            self._early.discard(job.id)
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting[job.id] = future
        await future

    async def close(self) -> None:
        await self._events.close()
        await self._queue.close()

    async def work(self, counter: Counter) -> None:
        await self.open()

        async def process(job: Job, _token: str) -> None:
            if job.name == "parent":
                await self.execute(job.data["text"])
            else:
                counter.add()

        Worker("bench", process, {"connection": self.url, "concurrency": CONCURRENCY})
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(BullMQ)
