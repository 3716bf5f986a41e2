"""Celery."""

from __future__ import annotations

from celery import Celery, chain

from benchmarks.peers.line import Counter, payload
from benchmarks.peers.sync import SyncPeer, run


class CeleryPeer(SyncPeer):
    settings = (
        "hiredis, solo pool, no gossip, mingle or heartbeat, prefetch 100; 100 callers are 100 "
        "unanswered calls of one thread (its results may not be read by several)"
    )

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._counter = Counter(())
        self._app = Celery("bench", broker=url, backend=url)
        self._app.conf.update(
            worker_prefetch_multiplier=100,
            task_default_queue="bench",
            worker_hijack_root_logger=False,
            broker_connection_retry_on_startup=True,
        )

        def noop(text: str) -> str:
            self._counter.add()
            return text

        self._noop = self._app.task(noop, name="noop")

    def enqueue(self, text: str) -> None:
        self._noop.apply_async((text,))

    def execute(self, text: str) -> None:
        self._noop.apply_async((text,)).get(timeout=60)

    def execute_chain(self, text: str) -> None:
        steps = [self._noop.s(text), *(self._noop.s() for _ in range(4))]
        chain(*steps).apply_async().get(timeout=60)

    def call(self, callers: int, each: int, size: int) -> None:
        for number in range(each):
            text = payload(number, size)
            for result in [self._noop.apply_async((text,)) for _ in range(callers)]:
                result.get(timeout=60)

    def work(self, counter: Counter) -> None:
        self._counter = counter
        self._app.Worker(
            pool="solo",
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        ).start()


if __name__ == "__main__":
    run(CeleryPeer)
