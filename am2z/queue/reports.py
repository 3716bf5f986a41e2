"""The ends of runs that Redis has not heard of yet."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from am2z.queue.run import REFUSALS, Run

__all__ = ["MOST_AT_ONCE", "Reports"]

_log = logging.getLogger("am2z.worker")

MOST_AT_ONCE = 128
"""So many ends, and as many claims, go into one exchange: Redis serves others meanwhile."""
MOST_BYTES = 1024 * 1024
"""With so many bytes of results an exchange is full."""


class Reports:
    """Runs that have ended, in the order of their ends."""

    def __init__(self) -> None:
        self._ended: deque[Run] = deque()

    def add(self, run: Run) -> None:
        """It has a report."""
        self._ended.append(run)

    def next(self) -> list[Run]:
        """The runs to tell of next, as many as go into one exchange.

        What was refused once is told by itself, so that nothing else suffers for it.
        """
        if not self._ended:
            return []
        if self._ended[0].refusals:
            return [self._ended[0]]
        chosen: list[Run] = []
        size = 0
        for run in self._ended:
            if len(chosen) >= MOST_AT_ONCE or size >= MOST_BYTES:
                break
            chosen.append(run)
            size += run.report.size if run.report is not None else 0
        return chosen

    def told(self, runs: Sequence[Run]) -> None:
        """Redis has heard of these, which came from ``next``."""
        for _ in runs:
            self._ended.popleft()

    def refused(self, runs: Sequence[Run], error: Exception) -> Run | None:
        """Redis refuses these, and not because it is away: one of them may be the reason.

        Answers the run that is given up for it.
        """
        for run in runs:
            run.refusals += 1
        if len(runs) != 1 or runs[0].refusals < REFUSALS:
            return None
        run = self._ended.popleft()
        _log.error(
            "execution %s cannot report and is given up; it runs again when its lease has ended: "
            "%s",
            run.claimed.id,
            error,
        )
        return run

    def __len__(self) -> int:
        return len(self._ended)
