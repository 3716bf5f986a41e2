"""The arithmetic of a run: medians and spreads, advantages, goals, and what became slower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.measures import GOALS, Goal, measure
from benchmarks.subjects import NODE, OURS

__all__ = [
    "SLOWER",
    "Run",
    "Summary",
    "advantages",
    "judged",
    "slower",
    "summarize",
    "summarize_run",
]

SLOWER = 1.2
"""By how much a ratio must fall to be told of."""


class Summary(NamedTuple):
    """Of some rounds: the median, the lowest and the highest."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """The whole width, as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


Run = Mapping[str, Mapping[str, Summary]]
"""Of each subject the summaries by measure."""


def summarize(values: Iterable[float]) -> Summary:
    """The summary of one figure. Raises ``ValueError`` for none."""
    found = sorted(values)
    if not found:
        raise ValueError("nothing was measured")
    return Summary(median(found), found[0], found[-1], len(found))


def summarize_run(
    rounds: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, dict[str, Summary]]:
    """Of what each subject measured in each round."""
    run: dict[str, dict[str, Summary]] = {}
    for subject, measured in rounds.items():
        names = dict.fromkeys(name for values in measured for name in values)
        run[subject] = {
            name: summarize(values[name] for values in measured if name in values) for name in names
        }
    return run


def peers_best(run: Run, name: str, versus: str) -> tuple[str, float] | None:
    """The best peer and its median: of those on Python, or BullMQ on Node alone."""
    wanted = measure(name)
    found = {
        subject: measured[name].median
        for subject, measured in run.items()
        if name in measured and subject != OURS and (subject == NODE) == (versus == "node")
    }
    if not found:
        return None
    best = wanted.best(list(found.values()))
    return next((subject, value) for subject, value in found.items() if value == best)


def advantages(run: Run, versus: str = "python") -> dict[str, float]:
    """By measure: how many times as good as the best peer of the same run ours is."""
    found = {}
    for name, ours in run.get(OURS, {}).items():
        best = peers_best(run, name, versus) if measure(name).is_compared else None
        if best is not None and ours.median > 0 and best[1] > 0:
            found[name] = measure(name).advantage(ours.median, best[1])
    return found


def slower(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """The advantages that fell by more than ``SLOWER``, with what they were and are."""
    return {
        name: (before[name], value)
        for name, value in now.items()
        if name in before and value * SLOWER < before[name]
    }


def judged(run: Run) -> list[tuple[Goal, float, bool]]:
    """Each goal that this run can judge: what was reached (times, or the figure), and whether."""
    found = []
    for goal in GOALS:
        ours = run.get(OURS, {}).get(goal.measure)
        if ours is None:
            continue
        if goal.versus == "bound":
            more = measure(goal.measure).better == "more"
            is_met = ours.median >= goal.bound if more else ours.median <= goal.bound
            found.append((goal, ours.median, is_met))
        elif goal.measure in (times := advantages(run, goal.versus)):
            found.append((goal, times[goal.measure], times[goal.measure] >= goal.times))
    return found
