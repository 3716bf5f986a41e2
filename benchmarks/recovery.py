"""How long a job waits that a worker had when it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.driver import started
from benchmarks.server import redis_server
from benchmarks.subjects import OURS, chosen

__all__ = ["recovery"]

CAP = 75.0
"""Seconds after which it counts as lost."""


def recovery(tell: Callable[[str], None]) -> float:
    """Seconds from SIGKILL to the next begin of the job, on another worker; default settings."""
    [ours] = chosen([OURS])
    words = ("worker", {"marks": [1]})
    with (
        redis_server() as server,
        started(ours.words("client", server.url)) as client,
        started(ours.words(words[0], server.url, words[1])) as first,
    ):
        client.ask("sleep")
        first.mark()
        with started(ours.words(words[0], server.url, words[1])) as second:
            first.kill()
            killed = time.monotonic()
            seconds = second.mark(CAP).at - killed
    tell(f"a job in flight at SIGKILL runs again after {seconds:.1f} s")
    return seconds
