"""The first ten that were written when the suite was done, and six of which it killed.

They are kept as they were; ``docs/kill-matrix.md`` tells what they showed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from am2z import compose
from am2z.bus import Subscription
from am2z.local.engine import Engine
from am2z.local.remembered import Remembered
from am2z.local.state import LocalStateManager
from am2z.queue import wants
from am2z.queue.dispatch import Dispatch
from am2z.queue.payload import Ending
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script


@mutant("backoff-from-the-attempts-start", rule="ERR-006")
@contextmanager
def backoff_from_the_attempts_start() -> Iterator[None]:
    """The wait before a retry is counted from when the failed attempt began."""
    wrong = "_pause(execution, max(delay - outcome.elapsed, 0))"
    with edit(Engine, "_attempts", "_pause(execution, delay)", wrong):
        yield


@mutant("expected-zero-means-any", rule="STA-002")
@contextmanager
def expected_zero_means_any() -> Iterator[None]:
    """set(expected_version=0) writes whatever is there."""
    right = "if expected is not None and expected != version:"
    with edit(LocalStateManager, "write", right, "if expected and expected != version:"):
        yield


@mutant("failed-id-runs-again", rule="EXE-040")
@contextmanager
def failed_id_runs_again() -> Iterator[None]:
    """A chosen id whose execution failed is as good as unused."""
    right = Remembered.ended

    def ended(self: Remembered, request: Any) -> None:
        right(self, request)
        if request.is_chosen:
            result = self._entries[request.execution_id][1]._result
            if result is not None and not result.success:
                del self._entries[request.execution_id]

    with patch(Remembered, "ended", ended):
        yield


@mutant("subscription-begins-when-it-is-read", rule="EVT-014")
@contextmanager
def subscription_begins_when_it_is_read() -> Iterator[None]:
    """A subscriber gets the events from its first read on, and not those since it subscribed."""
    put, read = Subscription.put, Subscription.__anext__
    reads: set[int] = set()

    def put_if_read(self: Subscription, event: Any) -> None:
        if id(self) in reads:
            put(self, event)

    async def anext_(self: Subscription) -> Any:
        reads.add(id(self))
        return await read(self)

    with patch(Subscription, "put", put_if_read), patch(Subscription, "__anext__", anext_):
        yield


@mutant("caller-deadline-not-sent", rule="EXE-024", base="queue")
@contextmanager
def caller_deadline_not_sent() -> Iterator[None]:
    """A nested call on a queue does not know how much time its caller has left."""
    right = "self._submission(request, depth, budget, parent)"
    with edit(Dispatch, "enqueue", right, "self._submission(request, depth, None, parent)"):
        yield


@mutant("retry-counted-as-failure", rule="RES-016", base="queue")
@contextmanager
def retry_counted_as_failure() -> Iterator[None]:
    """Each attempt that failed is counted as a failed execution."""
    right = "move(job.p, job.s, 'a', status)"
    counting = "if mode == 'retry' then add(P .. 'q:' .. job.p, 'failed', 1) end"
    with script("nack", right, f"{right}\n{counting}"):
        yield


@mutant("priorities-sorted-as-text", rule="EXE-015", base="queue")
@contextmanager
def priorities_sorted_as_text() -> Iterator[None]:
    """Priorities are compared as texts: 9 goes before 10."""

    def as_text(processor: Any) -> tuple[int, ...]:
        return tuple(-ord(letter) for letter in str(processor.queue.priority))

    with patch(wants, "_priority", as_text):
        yield


@mutant("outermost-composition-takes-the-blame", rule="ERR-007")
@contextmanager
def outermost_composition_takes_the_blame() -> Iterator[None]:
    """Of a step that failed in a chain inside a chain, the error names the inner chain."""
    with edit(compose, "_failure", "if error.failed_processor is None:", "if True:"):
        yield


@mutant("result-takes-the-callers-class", rule="EXE-001", base="queue")
@contextmanager
def result_takes_the_callers_class() -> Iterator[None]:
    """A result's state is decoded into the class of the state that was given."""
    right = "decode_named_state(self.type_name, self.data)"
    with edit(Ending, "result", right, "decode_named_state(type_name(type(given)), self.data)"):
        yield


@mutant("completed-steps-lost-on-the-wire", rule="ERR-007", base="queue")
@contextmanager
def completed_steps_lost_on_the_wire() -> Iterator[None]:
    """How many steps of a chain were done is not told to callers elsewhere."""
    with edit(Ending, "result", "completed_steps=self.completed_steps,", ""):
        yield
