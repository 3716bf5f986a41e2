"""taskiq, with its Redis broker and result backend."""

from __future__ import annotations

from taskiq.api import run_receiver_task
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from benchmarks.peers.aio import AsyncPeer, run
from benchmarks.peers.line import Counter

POLL = 0.001


class TaskIQ(AsyncPeer):
    settings = (
        "uvloop, hiredis, ListQueueBroker, orjson, 100 tasks at once, "
        "results polled every ms and deleted when read"
    )

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._counter = Counter(())
        results = RedisAsyncResultBackend(url, result_ex_time=60, keep_results=False)
        self._broker = (
            ListQueueBroker(url, queue_name="bench")
            .with_result_backend(results)
            .with_serializer(ORJSONSerializer())
        )

        async def noop(text: str) -> None:
            self._counter.add()

        async def parent(text: str) -> None:
            await self.execute(text)

        self._noop = self._broker.register_task(noop, task_name="noop")
        self._parent = self._broker.register_task(parent, task_name="parent")

    async def open(self) -> None:
        await self._broker.startup()

    async def close(self) -> None:
        await self._broker.shutdown()

    async def enqueue(self, text: str) -> None:
        await self._noop.kiq(text)

    async def execute(self, text: str) -> None:
        await (await self._noop.kiq(text)).wait_result(check_interval=POLL)

    async def execute_parent(self, text: str) -> None:
        await (await self._parent.kiq(text)).wait_result(check_interval=POLL)

    async def work(self, counter: Counter) -> None:
        self._counter = counter
        self._broker.is_worker_process = True
        await run_receiver_task(
            self._broker, max_async_tasks=100, max_prefetch=100, run_startup=True
        )


if __name__ == "__main__":
    run(TaskIQ)
