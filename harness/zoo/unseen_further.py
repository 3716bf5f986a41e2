"""Nine of the ten after those of ``unseen_again``, of which the suite killed three.

They are kept as they were; ``docs/kill-matrix.md`` tells what they showed, and why one is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z.base import BaseRuntime
from am2z.bus import Subscription
from am2z.local.dead import LocalDeadLetters
from am2z.local.remembered import Remembered
from am2z.policy import RetryPolicy
from am2z.queue.payload import Ending
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, script


@mutant("jitter-beyond-the-cap", rule="ERR-006")
@contextmanager
def jitter_beyond_the_cap() -> Iterator[None]:
    """What jitter adds may carry a wait beyond max_backoff."""
    right = "min(wait * (1 + spread), self.max_backoff)"
    with edit(RetryPolicy, "delay", right, "wait * (1 + spread)"):
        yield


@mutant("result-ttl-from-the-acceptance", rule="EXE-040")
@contextmanager
def result_ttl_from_the_acceptance() -> Iterator[None]:
    """A chosen id is remembered for result_ttl from its acceptance, also while it still runs."""
    with edit(Remembered, "keep", "handle, math.inf)", "handle, trio.current_time() + self._ttl)"):
        yield


@mutant("dead-letters-oldest-first", rule="ERR-027")
@contextmanager
def dead_letters_oldest_first() -> Iterator[None]:
    """The oldest dead letters come first."""
    right = "list(reversed(self._letters.values()))"
    with edit(LocalDeadLetters, "_newest", right, "list(self._letters.values())"):
        yield


@mutant("uptime-spans-restarts", rule="LIF-006")
@contextmanager
def uptime_spans_restarts() -> Iterator[None]:
    """The uptime counts from the first start."""
    right = "self._started_at = trio.current_time()"
    wrong = "self._started_at = vars(self).setdefault('_first', trio.current_time())"
    with edit(BaseRuntime, "start", right, wrong):
        yield


@mutant("only-the-first-pattern-counts", rule="EVT-014")
@contextmanager
def only_the_first_pattern_counts() -> Iterator[None]:
    """A subscription of several patterns gets the events of the first."""
    with edit(Subscription, "matches", "in self._patterns)", "in self._patterns[:1])"):
        yield


@mutant("start-time-lost-on-the-wire", rule="EXE-045", base="queue")
@contextmanager
def start_time_lost_on_the_wire() -> Iterator[None]:
    """A result does not say when its execution began."""
    with edit(Ending, "result", "started_at=self.started_at,", ""):
        yield


@mutant("duration-lost-on-the-wire", rule="EXE-010", base="queue")
@contextmanager
def duration_lost_on_the_wire() -> Iterator[None]:
    """A result says that its execution took no time."""
    with edit(Ending, "result", "execution_time=self.elapsed,", ""):
        yield


@mutant("grandchildren-outlive-a-cancel", rule="ERR-030", base="queue")
@contextmanager
def grandchildren_outlive_a_cancel() -> Iterator[None]:
    """What is cancelled takes along what it called, and not what that has called."""
    right = "if job.c then cancel_children("
    with script("_finish", right, "if job.c and not job.u then cancel_children("):
        yield


@mutant("session-counts-delayed-work-as-waiting-too", rule="RES-015", base="queue")
@contextmanager
def session_counts_delayed_work_as_waiting_too() -> Iterator[None]:
    """In the statistics of a session what is delayed is waiting, too."""
    with script("stats", "(tonumber(v[1]) or 0) - delayed - done", "(tonumber(v[1]) or 0) - done"):
        yield
