"""Mutants whose results, events and figures do not agree with each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z.local.engine import Engine
from am2z.queue.runtime import QueueRuntime
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant

__all__: list[str] = []


@mutant("results-begin-by-another-clock", rule="EXE-049")
@contextmanager
def results_begin_by_another_clock() -> Iterator[None]:
    """A result says when its execution began by a clock that starts anywhere."""
    with edit(Engine, "_context", "started_at=wall_clock()", "started_at=trio.current_time()"):
        yield


@mutant("events-say-it-took-no-time", rule="EVT-023")
@contextmanager
def events_say_it_took_no_time() -> Iterator[None]:
    """The event of a success has a time of its own, and not that of the result."""
    right = '{"execution_time": outcome.elapsed}'
    with edit(Engine, "_succeed", right, '{"execution_time": outcome.elapsed + 1}'):
        yield


@mutant("sessions-forget-failed-calls", rule="RES-030")
@contextmanager
def sessions_forget_failed_calls() -> Iterator[None]:
    """In the statistics of a session the failures of nested calls are not counted."""
    right = "if execution.session is not None:"
    with edit(Engine, "_fail", right, "if execution.session is not None and not execution.depth:"):
        yield


@mutant("running-counts-every-worker", rule="EXE-050", base="queue")
@contextmanager
def running_counts_every_worker() -> Iterator[None]:
    """``running`` counts what runs anywhere in the namespace."""
    right = "running=self._running.running,"
    wrong = "running=sum(stats.active for stats in queues),"
    with edit(QueueRuntime, "stats", right, wrong):
        yield
