"""What a job costs as everything grows: it must not matter how much else there is.

The cost is that of the processor, in the worker and in Redis: unlike time it can be compared on a
machine that has other things to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from benchmarks.driver import Program, started
from benchmarks.server import Server, redis_server
from benchmarks.subjects import OURS, chosen

__all__ = ["AXES", "BEND", "Axis", "Point", "measure_axis"]

BEND = 1.2
"""By how much a job may cost more at the end of an axis than at its reference."""
SIZE = 100
PART = 50_000
"""Jobs that one client enqueues, at most: it remembers those that it has submitted."""
[_OURS] = chosen([OURS])


class Point(NamedTuple):
    """What one job costs at ``x``, in microseconds of the processor."""

    x: int
    worker: float
    redis: float

    @property
    def total(self) -> float:
        """Both."""
        return self.worker + self.redis


class Axis(NamedTuple):
    """Something that grows. ``reference`` is the x that the end is compared with."""

    name: str
    label: str
    points: tuple[int, ...]
    quick: tuple[int, ...]
    reference: int
    measure: Callable[[Server, int], Point]
    note: str = ""

    def bend(self, points: list[Point]) -> float:
        """The cost at the end, in times of that at the reference."""
        at = next((point for point in points if point.x == self.reference), points[0])
        return points[-1].total / at.total


def _fill(server: Server | _Servers, jobs: int, **given: Any) -> None:
    """Enqueue so many, by clients that are gone afterwards."""
    for start in range(0, jobs, PART):
        with started(_OURS.words("client", server.url)) as client:
            client.ask("enqueue_bulk", n=min(PART, jobs - start), **{"size": SIZE, **given})


@contextmanager
def _worker(server: Server | _Servers, marks: list[int]) -> Iterator[Program]:
    with started(_OURS.words("worker", server.url, {"marks": marks})) as program:
        yield program


def _drained(server: Server, x: int, warm: int, count: int) -> Point:
    """Drain ``warm`` jobs and then ``count``, and tell what each of the latter took."""
    with _worker(server, [warm, warm + count]) as worker:
        first = worker.mark()
        redis = server.cpu()
        last = worker.mark()
        redis = server.cpu() - redis
    return Point(x, (last.cpu - first.cpu) / count * 1e6, redis / count * 1e6)


def _backlog(server: Server, jobs: int) -> Point:
    count = min(5_000, jobs * 3 // 4)
    _fill(server, jobs)
    return _drained(server, jobs, min(1_000, jobs // 5), count)


def _sessions(server: Server, sessions: int) -> Point:
    _fill(server, max(10_000, sessions), sessions=sessions)
    return _drained(server, sessions, 1_000, 5_000)


def _payload(server: Server, size: int) -> Point:
    count = max(200, min(3_000, 30_000_000 // size))
    _fill(server, count + 200, size=size)
    return _drained(server, size, 100, count)  # the first claim takes 100 at once


def _workers(server: Server, workers: int) -> Point:
    return _shared(server, workers, workers)


def _shards(server: Server, shards: int) -> Point:
    """So many servers, the given one among them, and two workers that serve all of them."""
    with ExitStack() as stack:
        servers = [server, *(stack.enter_context(redis_server()) for _ in range(shards - 1))]
        return _shared(_Servers(servers), shards, 2)


class _Servers:
    """What the measures ask of a server, asked of several."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self.url = " ".join(server.url for server in servers)

    def cpu(self) -> float:
        return sum(server.cpu() for server in self._servers)


def _shared(server: Server | _Servers, x: int, workers: int) -> Point:
    """Drain jobs by several workers, and tell what each took of all of them together."""
    jobs = 40_000 * max(1, workers // 2)  # enough for several looks while they are drained
    _fill(server, jobs)
    with ExitStack() as stack:
        watcher = stack.enter_context(started(_OURS.words("client", server.url)))
        programs = [stack.enter_context(_worker(server, [])) for _ in range(workers)]

        def when(finished: int) -> tuple[int, float, float]:
            while (jobs_done := int(watcher.ask("finished")["jobs"])) < finished:
                time.sleep(0.01)
            return jobs_done, sum(program.cpu() for program in programs), server.cpu()

        first, last = when(jobs // 10), when(jobs * 19 // 20)
    count = last[0] - first[0]
    return Point(x, (last[1] - first[1]) / count * 1e6, (last[2] - first[2]) / count * 1e6)


AXES = (
    Axis("backlog", "jobs that wait", (1_000, 10_000, 100_000, 1_000_000),
         (1_000, 10_000, 100_000), 1_000, _backlog),
    Axis("sessions", "sessions that have work", (1, 10, 100, 1_000, 10_000, 100_000),
         (1, 1_000, 10_000), 1_000, _sessions, "each job commits the state of its session"),
    Axis("workers", "worker processes", (1, 2, 4, 8), (1, 4), 1, _workers,
         "more processes than cores: what is compared is the work, not the speed"),
    Axis("shards", "Redis servers, each a shard", (1, 2, 4), (1, 4), 1, _shards,
         "two workers serve all of them; what is compared is the work, not the speed"),
    Axis("payload", "bytes of a payload", (100, 1_000, 10_000, 100_000, 1_000_000),
         (100, 10_000, 1_000_000), 1_000, _payload,
         "bytes must be moved and decoded; it is told what a further kilobyte costs"),
)  # fmt: skip


def measure_axis(
    axis: Axis, server: Server, *, quick: bool, repeats: int, tell: Callable[[str], None]
) -> list[Point]:
    """Every point of an axis; of each the cheapest try, for others were disturbed."""
    points = []
    for x in axis.quick if quick else axis.points:
        tries = []
        for _ in range(repeats):
            server.flush()
            tries.append(axis.measure(server, x))
        points.append(min(tries, key=lambda point: point.total))
        tell(f"  {axis.name} {x:>9,}: worker {points[-1].worker:6.0f} µs, "
             f"Redis {points[-1].redis:6.0f} µs")  # fmt: skip
    return points
