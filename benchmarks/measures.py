"""What is measured, what is good, and how good it must be."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["GOALS", "LOCAL", "MEASURES", "OWN", "Goal", "Measure", "measure"]


class Measure(NamedTuple):
    """One figure: its name, what a table calls it, its unit, and which way is good.

    ``is_compared``: next to nothing has no ratio that means anything.
    """

    name: str
    label: str
    unit: str
    better: Literal["more", "less"]
    digits: int = 0
    is_compared: bool = True

    def advantage(self, ours: float, theirs: float) -> float:
        """How many times as good as theirs ours is; both are more than 0."""
        return ours / theirs if self.better == "more" else theirs / ours

    def best(self, values: list[float]) -> float:
        """The best of some."""
        return max(values) if self.better == "more" else min(values)


MEASURES = (
    Measure("enqueue_each", "enqueue, one by one", "jobs/s", "more"),
    Measure("enqueue_bulk", "enqueue, in bulk", "jobs/s", "more"),
    Measure("drain", "drain", "jobs/s", "more"),
    Measure("drain_two", "drain by two workers", "jobs/s", "more"),
    Measure("drain_worker", "worker CPU, drain", "µs/job", "less"),
    Measure("drain_redis", "Redis CPU, drain", "µs/job", "less"),
    Measure("p50", "enqueue + result, p50", "ms", "less", 2),
    Measure("p99", "enqueue + result, p99", "ms", "less", 2),
    Measure("callers", "100 callers at once", "results/s", "more"),
    Measure("chain", "chain of 5, p50", "ms", "less", 2),
    Measure("nested", "a job that calls one, p50", "ms", "less", 2),
    Measure("memory", "Redis memory, a waiting job beyond its payload", "bytes", "less"),
    Measure("start_up", "from the start of a worker to its first job", "s", "less", 2),
    Measure("idle", "CPU of an idle worker", "% of a core", "less", 2, is_compared=False),
)
"""Those that every subject has; two workers only BullMQ on Node and ours."""

OWN = (
    Measure("full_drain", "drain, commits to 1,000 sessions, events heard", "jobs/s", "more"),
    Measure("full_worker", "that drain, worker CPU", "µs/job", "less"),
    Measure("full_redis", "that drain, Redis CPU", "µs/job", "less"),
    Measure("hot", "100 callers, all commit to one session", "results/s", "more"),
    Measure("spread", "100 callers, 1,000 sessions", "results/s", "more"),
    Measure("heard", "100 callers, no session, events heard", "results/s", "more"),
    Measure("chain_in_place", "chain of 5 given as processors, p50", "ms", "less", 2),
)  # fmt: skip
"""Those of ours alone, beside ``drain`` and ``callers`` of the same run."""

LOCAL = (
    Measure("copy", "a copy for the processor and one for its caller", "µs", "less", 1),
    Measure("bare", "the bare call", "µs", "less", 2),
    Measure("execute", "LocalRuntime.execute", "µs", "less", 1),
    Measure("execute what waits", "… of a processor that waits once", "µs", "less", 1),
    Measure("execute in a session", "… in a session, which commits", "µs", "less", 1),
    Measure("execute with a listener", "… with a listener to every event", "µs", "less", 1),
    Measure("import", "import am2z beyond import trio", "ms", "less", 1),
    Measure("import all", "import am2z and QueueRuntime beyond import trio", "ms", "less", 1),
    Measure("leaked blocks", "blocks of memory left by 100,000 executions", "blocks", "less"),
    Measure("leaked memory", "resident memory left by 100,000 executions", "kB", "less"),
)
"""``LocalRuntime``, and the package itself. Processor time."""

_BY_NAME = {entry.name: entry for entry in (*MEASURES, *OWN, *LOCAL)}


def measure(name: str) -> Measure:
    """The measure of this name."""
    return _BY_NAME[name]


class Goal(NamedTuple):
    """``times`` as good as the best of ``versus``, or an absolute ``bound``."""

    measure: str
    versus: Literal["python", "node", "bound"]
    times: float = 1.0
    bound: float = 0.0

    def text(self) -> str:
        """As a table says it."""
        found = measure(self.measure)
        if self.versus == "bound":
            word = "at least" if found.better == "more" else "at most"
            return f"{word} {self.bound:g} {found.unit}"
        who = "the best Python peer" if self.versus == "python" else "BullMQ on Node"
        return f"ahead of {who}" if self.times == 1 else f"{self.times:g} times {who}"


GOALS = (
    Goal("enqueue_bulk", "python"),
    Goal("enqueue_bulk", "node"),
    Goal("drain", "python", times=5),
    Goal("drain_two", "node"),
    Goal("p50", "python", times=2),
    Goal("callers", "python", times=3),
    Goal("callers", "node"),
    Goal("full_redis", "bound", bound=40),
    Goal("memory", "bound", bound=350),
    Goal("idle", "bound", bound=0.5),
    Goal("import", "bound", bound=60),
)
