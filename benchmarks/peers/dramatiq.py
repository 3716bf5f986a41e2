"""dramatiq."""

from __future__ import annotations

import threading

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.line import Counter
from benchmarks.peers.sync import SyncPeer, run


class Dramatiq(SyncPeer):
    settings = "hiredis, 8 threads, results kept"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._counter = Counter(())
        self._broker = RedisBroker(url=url)
        self._broker.add_middleware(Results(backend=RedisBackend(url=url)))
        dramatiq.set_broker(self._broker)

        def noop(text: str) -> None:
            self._counter.add_from_thread()

        self._noop = dramatiq.actor(noop, queue_name="bench", store_results=True)

    def enqueue(self, text: str) -> None:
        self._noop.send(text)

    def execute(self, text: str) -> None:
        self._noop.send(text).get_result(block=True, timeout=60_000)

    def work(self, counter: Counter) -> None:
        self._counter = counter
        dramatiq.Worker(self._broker, queues={"bench"}, worker_threads=8).start()
        threading.Event().wait()


if __name__ == "__main__":
    run(Dramatiq)
