"""Where the time of a process goes: the stack at every tick of its processor clock.

A signal handler looks, so what C code takes is found at the line that called it, and a process that
waits is not looked at. The kernel's clock ticks every 1 to 4 ms of processor time.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType

__all__ = ["Sampler", "Stack"]

INTERVAL = 0.001

Stack = tuple[str, ...]
"""``file:function:line`` of each frame, the innermost last."""


class Sampler:
    """Collects stacks between ``start`` and ``stop``; for the main thread of a process."""

    def __init__(self) -> None:
        self._stacks: Counter[Stack] = Counter()
        self._cpu = 0.0

    @property
    def count(self) -> int:
        """How many stacks were seen."""
        return self._stacks.total()

    def start(self) -> None:
        """Begin."""
        self._before = signal.signal(signal.SIGPROF, self._look)
        self._cpu = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self) -> None:
        """End; ``write`` has something to write then."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self._before)
        self._cpu = time.process_time() - self._cpu

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            code = frame.f_code
            stack.append(f"{code.co_filename}:{code.co_qualname}:{frame.f_lineno}")
            frame = frame.f_back
        self._stacks[tuple(reversed(stack))] += 1

    def write(self, path: str | Path, jobs: int) -> None:
        """Keep what was found, for ``jobs`` jobs, as JSON."""
        stacks = [[count, *stack] for stack, count in self._stacks.items()]
        Path(path).write_text(json.dumps({"cpu": self._cpu, "jobs": jobs, "stacks": stacks}))
