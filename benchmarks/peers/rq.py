"""RQ."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis
from rq import Queue, SimpleWorker

from benchmarks.peers import rq_jobs
from benchmarks.peers.line import Counter
from benchmarks.peers.sync import SyncPeer, run

NOOP = "benchmarks.peers.rq_jobs.noop"


class RQ(SyncPeer):
    settings = "hiredis, SimpleWorker (no fork for each job), bulk by enqueue_many in a pipeline"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._redis = Redis.from_url(url)
        self._queue = Queue("bench", connection=self._redis)

    def enqueue(self, text: str) -> None:
        self._queue.enqueue(NOOP, text)

    def enqueue_many(self, texts: Sequence[str]) -> None:
        with self._redis.pipeline() as pipe:
            jobs = [Queue.prepare_data(NOOP, (text,)) for text in texts]
            self._queue.enqueue_many(jobs, pipeline=pipe)
            pipe.execute()

    def execute(self, text: str) -> None:
        job = self._queue.enqueue(NOOP, text)
        job.latest_result(timeout=60)

    def work(self, counter: Counter) -> None:
        rq_jobs.counter = counter
        SimpleWorker([self._queue], connection=self._redis).work(logging_level="WARNING")


if __name__ == "__main__":
    run(RQ)
