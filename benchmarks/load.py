"""The load test: more and more callers at once, up to where a queue can only grow longer."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.driver import started
from benchmarks.server import redis_server
from benchmarks.subjects import OURS, chosen

__all__ = ["load"]

CALLERS = (1, 10, 100, 1_000, 5_000)
SIZE = 100


def load(tell: Callable[[str], None], *, quick: bool) -> None:
    """Tell of each number of callers the results a second, and how long one caller waits."""
    [ours] = chosen([OURS])
    with (
        redis_server() as server,
        started(ours.words("client", server.url)) as client,
        started(ours.words("worker", server.url, {"marks": []})),
    ):
        client.ask("executions", n=50, size=SIZE)
        for callers in CALLERS[: -1 if quick else None]:
            n = max(callers * (2 if quick else 5), 300 if quick else 2_000)
            told = client.ask("callers", n=n, size=SIZE, callers=callers)
            taken = sorted(told["taken"])
            half, worst = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
            tell(
                f"  {callers:>5} callers: {len(taken) / told['seconds']:7,.0f} results/s, "
                f"p50 {half * 1000:8.1f} ms, p99 {worst * 1000:8.1f} ms"
            )
