"""Mutants that lose what a failure carries, or what is kept of it (ERR)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from am2z import error
from am2z.error import AM2ZError
from am2z.local.dead import LocalDeadLetters
from am2z.local.engine import Engine
from am2z.local.runtime import LocalRuntime
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


# --- what an error carries across the wire


@mutant("error-fields-lost", rule="ERR-001", base="queue")
@contextmanager
def error_fields_lost() -> Iterator[None]:
    """The fields that an error's own class has do not cross."""
    with edit(AM2ZError, "_describe", 'data["fields"] = extra', "pass"):
        yield


@mutant("error-code-lost", rule="ERR-002", base="queue")
@contextmanager
def error_code_lost() -> Iterator[None]:
    """An error comes back with the code of its class, whatever code it had itself."""
    with edit(AM2ZError, "_describe", "say(self.code)", "say(type(self).code)"):
        yield


@mutant("error-numbers-as-text", rule="ERR-008", base="queue")
@contextmanager
def error_numbers_as_text() -> Iterator[None]:
    """The numbers that an error carries come back as text."""
    right = error._plain

    def plain(value: Any, depth: int = 0) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return str(value) if is_number else right(value, depth)

    with patch(error, "_plain", plain):
        yield


@mutant("error-context-lost", rule="ERR-010", base="queue")
@contextmanager
def error_context_lost() -> Iterator[None]:
    """An error comes back without its context."""
    with edit(AM2ZError, "_describe", "_plain(self.context)", "{}"):
        yield


@mutant("error-class-lost", rule="ERR-021", base="queue")
@contextmanager
def error_class_lost() -> Iterator[None]:
    """Every error comes back as an AM2ZError."""
    with edit(error, "_rebuild", "_registry.get(name)", "None"):
        yield


@mutant("remote-traceback-lost", rule="ERR-026", base="queue")
@contextmanager
def remote_traceback_lost() -> Iterator[None]:
    """An error comes back without the traceback of where it was raised."""
    with edit(AM2ZError, "_describe", "notes.append(remote_note(self))", "pass"):
        yield


# --- dead letters


@mutant("failure-leaves-no-trace", rule="ERR-027")
@contextmanager
def failure_leaves_no_trace() -> Iterator[None]:
    """What failed for good is not kept."""
    with patch(LocalDeadLetters, "bury", lambda *_: None):
        yield


@mutant("dropped-letter-stays", rule="ERR-027")
@contextmanager
def dropped_letter_stays() -> Iterator[None]:
    """A dead letter that was dropped is still there."""
    right = "self._letters.pop(execution_id, None) is not None"
    with edit(LocalDeadLetters, "drop", right, "execution_id in self._letters"):
        yield


@mutant("cancelled-work-becomes-dead-letter", rule="ERR-027")
@contextmanager
def cancelled_work_becomes_dead_letter() -> Iterator[None]:
    """What was cancelled on purpose is kept among what failed."""
    with edit(Engine, "_fail", " and execution.verdict is None", ""):
        yield


@mutant("retry-of-letter-loses-session", rule="ERR-028")
@contextmanager
def retry_of_letter_loses_session() -> Iterator[None]:
    """A dead letter that is retried runs in no session."""
    with edit(LocalRuntime, "_resubmit", "letter.session_id", "None"):
        yield


@mutant("retried-letter-stays", rule="ERR-028")
@contextmanager
def retried_letter_stays() -> Iterator[None]:
    """A dead letter that was retried is still there."""
    with edit(LocalDeadLetters, "retry", "self._letters.pop(execution_id, None)", "pass"):
        yield
