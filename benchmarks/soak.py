"""The soak: a mixed load and killed workers for a long time, and what it leaves behind.

What is held is compared between two moments of quiet: after a warm-up, when caches and bounded
structures are full, and at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple

import psutil

from benchmarks.driver import Program, started
from benchmarks.server import Server, redis_server
from benchmarks.subjects import OURS, chosen

__all__ = ["Held", "Rate", "Soak", "complaints", "soak"]

CONFIG = {"lease": 3.0, "result_ttl": 4.0, "max_deliveries": 1_000}
QUIET_BY = 30.0
"""Seconds after which what is held is taken as it is."""
CALLERS = 50


class Held(NamedTuple):
    """What is held at a moment of quiet: bytes, descriptors, keys."""

    client_memory: int
    client_files: int
    worker_memory: int
    worker_files: int
    redis_memory: int
    keys: int


def complaints(before: Held, after: Held, kills: int) -> Iterator[str]:
    """What is held more than before. A killed worker leaves three keys for ten minutes."""
    room = {
        "client_memory": before.client_memory * 0.1 + 8 * 2**20,
        "client_files": 4,  # some connections are made when they are first needed
        "worker_memory": before.worker_memory * 0.1 + 8 * 2**20,
        "worker_files": 4,
        "redis_memory": before.redis_memory * 0.1 + 2**20,
        "keys": 3 * kills + 5,
    }
    for name, more in room.items():
        was, now = getattr(before, name), getattr(after, name)
        if now > was + more:
            yield f"{name} went from {was:,} to {now:,}"


class Rate(NamedTuple):
    """Results a second, and for each second that a processor had for us.

    The second one is the same where other programs want the processors, too; where something here
    has become slower, or waits, both of them fall.
    """

    seen: float
    undisturbed: float


class Soak:
    """A client, two workers of which one lives on, and a server."""

    def __init__(self, server: Server, stack: ExitStack, window: int) -> None:
        self._server = server
        self._stack = stack
        self._window = window
        [self._ours] = chosen([OURS])
        self._client = self._start("client")
        self._veteran = self._start("worker")
        self._victim = self._start("worker")
        self._count = 0
        self.kills = 0
        self.wrong: list[str] = []
        self.rates: list[Rate] = []

    def _start(self, role: str) -> Program:
        options: dict[str, Any] = {"marks": [], "config": CONFIG}
        words = self._ours.words(role, self._server.url, options)
        return self._stack.enter_context(started(words))

    def live(self) -> Rate:
        """One window of mixed load."""
        self._count += 1
        began = self._processors()
        told = self._client.ask("mixed", n=self._window, callers=CALLERS, window=self._count)
        self.wrong += told["wrong"]
        ours = self._processors() - began
        self.rates.append(Rate(self._window / told["seconds"], self._window / ours))
        return self.rates[-1]

    def _processors(self) -> float:
        """Seconds that the processors have worked for us, or for nobody."""
        parts = (self._client, self._veteran, self._victim, self._server)
        return float(psutil.cpu_times().idle) + sum(part.cpu() for part in parts)

    def kill(self) -> None:
        """Kill one worker, and start another."""
        self._victim.kill()
        self.kills += 1
        self._victim = self._start("worker")

    def held(self) -> Held:
        """What is held once results have expired, or after a while."""
        deadline = time.monotonic() + QUIET_BY
        while self._server.keys_like("*}:[rjd]:*") and time.monotonic() < deadline:
            time.sleep(0.2)
        return Held(
            self._client.memory(),
            self._client.files(),
            self._veteran.memory(),
            self._veteran.files(),
            self._server.memory(),
            self._server.keys(),
        )


def soak(seconds: float, tell: Callable[[str], None]) -> int:
    """Soak for so long; 1 if something is wrong."""
    with redis_server() as server, ExitStack() as stack:
        run = Soak(server, stack, window=5_000)
        tell("warming up")
        for _ in range(6):
            run.live()
        before = run.held()
        tell(f"before: {before}")
        run.rates.clear()
        began = last = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            rate = run.live()
            tell(f"  {now - began:6.0f} s: {rate.seen:6,.0f} results/s, {run.kills} kills, "
                 f"{server.keys():,} keys, Redis {server.memory() / 2**20:.1f} MB")  # fmt: skip
            if now - last > 20:
                run.kill()
                last = now
        after = run.held()
        tell(f"after: {after}")
        found = [*run.wrong[:20], *complaints(before, after, run.kills)]
        quarter = max(len(run.rates) // 4, 1)
        first, end = _median(run.rates[:quarter]), _median(run.rates[-quarter:])
        tell(f"in the first quarter {first.seen:,.0f} results/s, in the last {end.seen:,.0f}; for "
             f"each second that a processor had for us {first.undisturbed:,.0f} and "
             f"{end.undisturbed:,.0f}")  # fmt: skip
        if end.undisturbed < 0.8 * first.undisturbed:
            found.append("throughput fell by over 20 %, and other programs are not the reason")
    for problem in found:
        tell(f"✗ {problem}")
    tell("nothing is left behind" if not found else f"{len(found)} problems")
    return 1 if found else 0


def _median(rates: Sequence[Rate]) -> Rate:
    return Rate(*(median(values) for values in zip(*rates, strict=True)))
