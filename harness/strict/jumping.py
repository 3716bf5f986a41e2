"""Virtual time that waits for what is real: threads at work, and sockets."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from harness.leaks import running_tasks
from harness.scale import scaled
from harness.strict.copies import Steps

__all__ = ["Jumper"]

_TRAPS = frozenset({"wait_task_rescheduled", "_async_yield", "_real_async_yield"})
_SOCKETS = frozenset({"wait_readable", "wait_writable"})
_PATIENCE = 5.0
"""Seconds for which sockets are waited for: one that is only listened to says nothing for ever."""


class Jumper:
    """Moves a ``MockClock`` on to the next deadline when there is nothing else to do."""

    def __init__(self) -> None:
        self.calling_threads = 0
        """Threads that do not work, because they wait for a processor that they called."""

    async def run(self, clock: MockClock) -> None:
        """Jump, until cancelled."""
        since = time.monotonic()
        while True:
            await wait_all_tasks_blocked()
            if self._is_waiting_for_the_world(time.monotonic() - since):
                time.sleep(0.0005)  # noqa: ASYNC251 - all tasks are blocked: the world has its turn
                continue
            seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
            if 0 < seconds < math.inf:
                clock.jump(seconds)
            elif seconds == math.inf:
                time.sleep(0.0005)  # noqa: ASYNC251 - as above
            since = time.monotonic()

    def _is_waiting_for_the_world(self, waited: float) -> bool:
        threads, sockets = 0, 0
        for task in running_tasks():
            own = [name for name in _names(task.coro) if name not in _TRAPS]
            threads += own[-1:] == ["to_thread_run_sync"]
            sockets += "wait_woken" not in own and not _SOCKETS.isdisjoint(own)
        return threads > self.calling_threads or (sockets > 0 and waited < scaled(_PATIENCE))


def _names(work: Any) -> Iterator[str]:
    """The functions that a task is in, the innermost last; ``Steps`` hides what it drives."""
    while work is not None:
        frame = getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None)
        if frame is None:
            return
        yield frame.f_code.co_name
        driver = frame.f_locals.get("self")
        if frame.f_code is Steps.__await__.__code__ and driver and not driver.is_pausing:
            work = driver.work
        else:
            work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None)
