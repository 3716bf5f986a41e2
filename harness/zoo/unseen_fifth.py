"""Ten mutants that the suite has never met: mistakes of the first version of a new runtime."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

from am2z import admission, compose
from am2z.bus import EventBus, _log
from am2z.events import Event
from am2z.local.engine import Engine
from am2z.policy import RetryPolicy
from am2z.queue.dispatch import Dispatch
from am2z.queue.lockkeeper import LockKeeper
from am2z.queue.run import Run
from am2z.statestore import BaseStateManager
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


# --- local


@mutant("agreeing-branches-conflict", rule="EXE-033")
@contextmanager
def agreeing_branches_conflict() -> Iterator[None]:
    """Two branches of a parallel composition that changed one field to the same value are an error.

    docs/concepts.md, Composition: "without ``merge`` the fields that a branch changed win, and two
    branches that changed one field *differently* are an error".
    """
    right = "if name in changes and not _same(value, changes[name]):"
    with edit(compose, "_merge_changes", right, "if name in changes:"):
        yield


@mutant("should-retry-beats-retryable", rule="ERR-014")
@contextmanager
def should_retry_beats_retryable() -> Iterator[None]:
    """Where there is a should_retry, nobody asks whether the error is retryable.

    contract.md, Processors: "An error that is not retryable is not retried." ``RetryPolicy``: "An
    error that is not ``retryable`` is never retried; ``should_retry`` may refuse further ones."
    """
    right = "if not error.retryable:"
    wrong = "if self.should_retry is None and not error.retryable:"
    with edit(RetryPolicy, "next_delay", right, wrong):
        yield


@mutant("time-zone-of-at-dropped", rule="EXE-043")
@contextmanager
def time_zone_of_at_dropped() -> Iterator[None]:
    """``at`` is read by this machine's clock, whatever time zone the datetime has.

    docs/concepts.md, Runtimes: "``delay`` (seconds) or ``at`` (a ``datetime`` with a time zone, or
    seconds since the epoch) let it begin later."
    """
    with edit(admission, "_when", "at.timestamp()", "at.replace(tzinfo=None).timestamp()"):
        yield


@mutant("full-queue-refuses-nested-calls", rule="RES-031")
@contextmanager
def full_queue_refuses_nested_calls() -> Iterator[None]:
    """A nested call of a processor whose queue is full is refused, as a caller's work would be.

    docs/concepts.md, Resources: "Nested calls do not count against ``max_queue_size``: a queue that
    is full of parents must still take their children."
    """
    with edit(Engine, "begin", "if depth == 0 and waiting:", "if waiting:"):
        yield


@mutant("handler-that-leaves-hides-the-next", rule="EVT-024")
@contextmanager
def handler_that_leaves_hides_the_next() -> Iterator[None]:
    """The handlers are walked through as they stand: one that takes itself off skips the next.

    docs/concepts.md, Events: "When ``execute`` or ``handle.result()`` answers, the handlers of this
    runtime have had the events of that execution."
    """

    def publish(self: EventBus, event: Event) -> None:
        for pattern, handlers in list(self._handlers.items()):
            if not fnmatchcase(event.type, pattern):
                continue
            for handler in handlers:
                try:
                    handler(event)
                except Exception:  # as it is: one thing alone is to be wrong
                    _log.exception("the handler %r of %r raised", handler, event.type)
        for subscription in self._subscriptions:
            if subscription.matches(event.type):
                subscription.put(event)

    with patch(EventBus, "publish", publish):
        yield


# --- queue


@mutant("timeout-counts-the-time-in-the-queue", rule="EXE-010", base="queue")
@contextmanager
def timeout_counts_the_time_in_the_queue() -> Iterator[None]:
    """The timeout of the first attempt counts from when its work was due, and not from its start.

    docs/concepts.md, Processors: "``timeout`` is for each attempt, and counts from its start: time
    in a queue is not part of it."
    """
    submission, context = Dispatch._submission, Run._context
    due: dict[str, float] = {}

    def note(self: Dispatch, request: Any, *rest: Any) -> Any:
        later = request.when.seconds() if request.when is not None else 0.0
        due.setdefault(request.execution_id, time.monotonic() + later)
        return submission(self, request, *rest)

    def from_then_on(self: Run, job: Any) -> Any:
        ctx = context(self, job)
        if self.claimed.attempt == 1 and self.claimed.id in due:
            ctx.deadline -= max(0.0, time.monotonic() - due[self.claimed.id])
        return ctx

    with patch(Dispatch, "_submission", note), patch(Run, "_context", from_then_on):
        yield


@mutant("cleaned-session-stays-refused", rule="SES-006", base="queue")
@contextmanager
def cleaned_session_stays_refused() -> Iterator[None]:
    """``clean_session`` forgets everything of a session but that it was stopped.

    docs/concepts.md, Sessions: "New work is refused until ``clean_session``, which forgets the
    state too". ``RuntimeCore.clean_session``: "it may begin anew".
    """
    right = "call('DEL', P .. 's:' .. group, P .. 'st:' .. group,"
    wrong = (
        "local key = P .. 's:' .. group\n"
        "local mark, left = call('HGET', key, 'stopped'), call('PTTL', key)\n"
        "call('DEL', key)\n"
        "if mark then call('HSET', key, 'stopped', mark) end\n"
        "if mark and left > 0 then call('PEXPIRE', key, left) end\n"
        "call('DEL', P .. 'st:' .. group,"
    )
    with script("forget_session", right, wrong):
        yield


@mutant("released-lock-ends-all-renewals", rule="RES-026", base="queue")
@contextmanager
def released_lock_ends_all_renewals() -> Iterator[None]:
    """When a runtime gives one of its locks back, the others that it holds are extended no more.

    docs/concepts.md, Sessions (locks): "A lock is kept for as long as its block runs; ``ttl`` is
    how long it outlives a holder that died."
    """
    right = "    return -math.inf if kept is None"
    wrong = f"    for other in list(self._kept.values()):\n        other.due = math.inf\n{right}"
    with edit(LockKeeper, "drop", right, wrong):
        yield


@mutant("state-get-ignores-its-class", rule="STA-031", base="queue")
@contextmanager
def state_get_ignores_its_class() -> Iterator[None]:
    """``state.get(session_id, MyState)`` answers in the class of the writer, not in ``MyState``.

    contract.md, Forms: "``state.get(session_id, MyState)`` decodes into a given one".
    """
    right = "_verified(session_id, record, cls)"
    with edit(BaseStateManager, "get", right, "_verified(session_id, record, None)"):
        yield
