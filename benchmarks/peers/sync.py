"""What the peers that block have in common: the verbs, made from a few methods of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.peers.line import (
    Counter,
    Timer,
    end_with_input,
    failed,
    main_arguments,
    payload,
    read,
    say,
)

__all__ = ["SyncPeer", "run"]

BATCH = 1000
"""How many jobs one bulk call gets."""


class SyncPeer:
    """One library. A subclass fills in what the verbs need."""

    settings = ""

    def __init__(self, url: str) -> None:
        self.url = url

    def enqueue(self, text: str) -> None:
        """Hand over one job."""
        raise NotImplementedError

    def enqueue_many(self, texts: Sequence[str]) -> None:
        """Hand over many in the fastest way that the library has; this one is a loop."""
        for text in texts:
            self.enqueue(text)

    def execute(self, text: str) -> None:
        """Hand over one job and wait for its result."""
        raise NotImplementedError

    def execute_chain(self, text: str) -> None:
        """Five jobs, one after the other."""
        for _ in range(5):
            self.execute(text)

    def call(self, callers: int, each: int, size: int) -> None:
        """So many callers at once, each with so many executions; here each is a thread."""

        def one(_who: int) -> None:
            for number in range(each):
                self.execute(payload(number, size))

        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(one, range(callers)))

    def work(self, counter: Counter) -> None:
        """Serve for good; every no-op job calls ``counter.add``."""
        raise NotImplementedError


class _Client:
    def __init__(self, peer: SyncPeer) -> None:
        self._peer = peer

    def enqueue_each(self, n: int, size: int) -> dict[str, Any]:
        with Timer() as timer:
            for number in range(n):
                self._peer.enqueue(payload(number, size))
        return timer.told

    def enqueue_bulk(self, n: int, size: int) -> dict[str, Any]:
        texts = [payload(number, size) for number in range(n)]
        with Timer() as timer:
            for start in range(0, n, BATCH):
                self._peer.enqueue_many(texts[start : start + BATCH])
        return timer.told

    def executions(self, n: int, size: int, kind: str = "execute") -> dict[str, Any]:
        """One after the other; ``kind`` names the method."""
        one: Callable[[str], None] = getattr(self._peer, kind)
        taken = []
        for number in range(n):
            began = time.perf_counter()
            one(payload(number, size))
            taken.append(time.perf_counter() - began)
        return {"taken": taken}

    def callers(self, n: int, size: int, callers: int) -> dict[str, Any]:
        with Timer() as timer:
            self._peer.call(callers, n // callers, size)
        return timer.told


def run(make: Callable[[str], SyncPeer]) -> None:
    """Be what the command line says."""
    role, url, options = main_arguments()
    peer = make(url)
    if role == "worker":
        end_with_input()
        say(ready=peer.settings)
        peer.work(Counter(options["marks"]))
        return
    say(ready=peer.settings)
    client = _Client(peer)
    while asked := read():
        try:
            say(ok=getattr(client, asked.pop("verb"))(**asked))
        except Exception:
            failed()
