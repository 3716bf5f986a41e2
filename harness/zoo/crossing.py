"""What gets lost between two processes: causes, notes, fields, classes and reasons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z import codec, error
from am2z.error import AM2ZError
from am2z.queue.dead import QueueDeadLetters
from am2z.queue.payload import Ending
from am2z.queue.run import Run
from am2z.queue.stream import EventReader
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


@mutant("notes-lost-on-the-wire", rule="ERR-010", base="queue")
@contextmanager
def notes_lost_on_the_wire() -> Iterator[None]:
    """Of an error's notes the remote traceback crosses, and nobody's own."""
    right = '        data["notes"] = notes'
    wrong = '        data["notes"] = [note for note in notes if note.startswith(_REMOTE)]'
    with edit(AM2ZError, "_describe", right, wrong):
        yield


@mutant("causes-are-one-deep-on-the-wire", rule="ERR-010", base="queue")
@contextmanager
def causes_are_one_deep_on_the_wire() -> Iterator[None]:
    """The cause of an error crosses, and the cause of that one does not."""
    right = "if depth < _MAX_CAUSES:"
    wrong = "if depth < 1:"
    with edit(AM2ZError, "_describe", right, wrong):
        yield


@mutant("severity-lost-on-the-wire", rule="ERR-010", base="queue")
@contextmanager
def severity_lost_on_the_wire() -> Iterator[None]:
    """An error that was given a severity comes back with that of its class."""
    right = "say(self.severity)"
    wrong = "say(type(self).severity)"
    with edit(AM2ZError, "_describe", right, wrong):
        yield


@mutant("category-lost-on-the-wire", rule="ERR-010", base="queue")
@contextmanager
def category_lost_on_the_wire() -> Iterator[None]:
    """An error that was given a category comes back with that of its class."""
    right = "say(self.category)"
    wrong = "say(type(self).category)"
    with edit(AM2ZError, "_describe", right, wrong):
        yield


@mutant("empty-fields-lost-on-the-wire", rule="ERR-010", base="queue")
@contextmanager
def empty_fields_lost_on_the_wire() -> Iterator[None]:
    """An error's field that is None is not there when it comes back."""
    right = "if _is_own_field(k)}:"
    wrong = "if _is_own_field(k) and v is not None}:"
    with edit(AM2ZError, "_describe", right, wrong):
        yield


@mutant("only-first-line-crosses", rule="ERR-010", base="queue")
@contextmanager
def only_first_line_crosses() -> Iterator[None]:
    """Of a message of several lines the first comes back."""
    right = "say(self.message)"
    wrong = 'say(self.message).partition("\\n")[0]'
    with edit(AM2ZError, "_describe", right, wrong):
        yield


@mutant("truth-crosses-as-a-number", rule="ERR-010", base="queue")
@contextmanager
def truth_crosses_as_a_number() -> Iterator[None]:
    """What is true or false in an error's context comes back as 1 or 0."""
    right = "    elif value is not None and not isinstance(value, bool):"
    wrong = (
        "    elif isinstance(value, bool):\n        plain = int(value)\n    elif value is not None:"
    )
    with edit(error, "_plain", right, wrong):
        yield


@mutant("large-error-loses-its-class", rule="ERR-021", base="queue")
@contextmanager
def large_error_loses_its_class() -> Iterator[None]:
    """An error that is too large comes back as one of no class."""
    with patch(codec, "_LAST_TO_GO", ("code", "category", "severity", "retryable", "fields")):
        yield


@mutant("retried-letter-needs-no-room", rule="ERR-034", base="queue")
@contextmanager
def retried_letter_needs_no_room() -> Iterator[None]:
    """The retry of a dead letter is taken by a queue that is full."""
    right = "max_queue=shard.dispatch.most_waiting"
    wrong = "max_queue=0"
    with edit(QueueDeadLetters, "retry", right, wrong):
        yield


@mutant("retried-letter-needs-no-worker", rule="ERR-034", base="queue")
@contextmanager
def retried_letter_needs_no_worker() -> Iterator[None]:
    """The retry of a dead letter waits for a processor that nobody serves."""
    right = "need_served=True"
    wrong = "need_served=False"
    with edit(QueueDeadLetters, "retry", right, wrong):
        yield


@mutant("partial-state-needs-steps-to-cross", rule="ERR-022", base="queue")
@contextmanager
def partial_state_needs_steps_to_cross() -> Iterator[None]:
    """The partial state of a failure is told only where it says that steps were done."""
    right = "state = outcome.state if outcome.error is None else outcome.partial"
    wrong = "state = outcome.partial if outcome.completed_steps else outcome.state"
    with edit(Ending, "of", right, wrong):
        yield


@mutant("commit-in-the-class-of-the-processor", rule="STA-001", base="queue")
@contextmanager
def commit_in_the_class_of_the_processor() -> Iterator[None]:
    """What is committed is stored as of the processor's own class, and a field more is lost."""
    right = "name = type_name(type(outcome.state))"
    wrong = "name = type_name(self._processor.state_type)"
    with edit(Run, "_end", right, wrong):
        yield


@mutant("stopped-session-prolongs-a-stored-state", rule="STA-032", base="queue")
@contextmanager
def stopped_session_prolongs_a_stored_state() -> Iterator[None]:
    """A state that would end soon lives for a session_ttl when its session is stopped."""
    right = "if left_of_state < 0 or left_of_state > keep then expire_state(group, keep) end"
    wrong = "expire_state(group, keep)"
    with script("stop_session", right, wrong):
        yield


@mutant("dropped-work-says-no-reason-elsewhere", rule="EVT-025", base="queue")
@contextmanager
def dropped_work_says_no_reason_elsewhere() -> Iterator[None]:
    """The queue:failed of what never ran has no error."""
    right = '("failed", "dropped")'
    wrong = '("failed",)'
    with edit(EventReader, "_translate", right, wrong):
        yield


@mutant("lock-names-in-small-letters", rule="RES-023", base="queue")
@contextmanager
def lock_names_in_small_letters() -> Iterator[None]:
    """Two names of a lock that differ in capital letters are one."""
    right = (
        "local lock, queue, waiters = P .. 'lock:' .. ARGV[1], P .. 'lq:' .. ARGV[1], "
        "P .. 'lw:' .. ARGV[1]"
    )
    wrong = (
        "local name = string.lower(ARGV[1])\n"
        "local lock, queue, waiters = P .. 'lock:' .. name, P .. 'lq:' .. name, P .. "
        "'lw:' .. name"
    )
    with script("_lock", right, wrong):
        yield
