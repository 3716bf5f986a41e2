"""More runtimes that break one clause of what the documentation says; see ``promised``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import am2z.compose
import am2z.executor
from am2z.admission import Admission
from am2z.context import Context, ThreadContext
from am2z.local.engine import Engine
from am2z.local.runtime import LocalRuntime
from am2z.queue.run import Run
from harness.zoo.compositions import caller
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch


@mutant("steps-emit-nothing", rule="EXE-051")
@contextmanager
def steps_emit_nothing() -> Iterator[None]:
    """What a step in place emits is dropped: it has no events of its own, after all."""
    with edit(Context, "emit", "if self._ended:", "if self._ended or self.path:"):
        yield


@mutant("steps-make-no-progress", rule="EXE-051")
@contextmanager
def steps_make_no_progress() -> Iterator[None]:
    """What a step in place says of its progress is dropped."""
    with edit(Context, "update_progress", "if self._ended:", "if self._ended or self.path:"):
        yield


@mutant("ended-context-still-calls", rule="EXE-029")
@contextmanager
def ended_context_still_calls() -> Iterator[None]:
    """Whoever kept a context may call others with it when its execution is over."""
    with edit(Context, "check_running", "if self._ended:", "if False:"):
        yield


@mutant("attempts-of-a-step-share-state", rule="EXE-017")
@contextmanager
def attempts_of_a_step_share_state() -> Iterator[None]:
    """Further attempts of a step in place get the very state that the composition holds."""
    right = "attempt(step, copy_state(state), inner)"
    wrong = "attempt(step, state if number > 1 else copy_state(state), inner)"
    with edit(am2z.executor, "_run_in_place", right, wrong):
        yield


@mutant("cleared-fields-are-unchanged", rule="EXE-033")
@contextmanager
def cleared_fields_are_unchanged() -> Iterator[None]:
    """A branch that clears a field has not changed it."""
    right = "state.evolve(**changes)"
    wrong = "state.evolve(**{name: value for name, value in changes.items() if value})"
    with edit(am2z.compose, "_merge_changes", right, wrong):
        yield


@mutant("limit-of-a-composition-ignored", rule="EXE-014")
@contextmanager
def limit_of_a_composition_ignored() -> Iterator[None]:
    """The QueueOptions of a composition are not kept."""
    with edit(am2z.compose, "_composition", "queue or QueueOptions()", "QueueOptions()"):
        yield


@mutant("calls-of-a-thread-outlive-it", rule="ERR-030")
@contextmanager
def calls_of_a_thread_outlive_it() -> Iterator[None]:
    """What a plain function has called goes on when the function is given up."""
    right, wrong = "self._nursery.start_soon(run)", "trio.lowlevel.spawn_system_task(run)"
    with edit(ThreadContext, "_call", right, wrong):
        yield


@mutant("another-attempt-finds-the-calls-of-the-first", rule="EXE-052", base="queue")
@contextmanager
def another_attempt_finds_the_calls_of_the_first() -> Iterator[None]:
    """Who is tried again is answered with what its earlier attempt was answered."""
    right, wrong = "{self._lineage}/{self.metadata.attempt}-", "{self._lineage}/-"
    with edit(Context, "next_call", right, wrong):
        yield


@mutant("steps-forget-the-attempt-of-the-whole", rule="EXE-052", base="queue")
@contextmanager
def steps_forget_the_attempt_of_the_whole() -> Iterator[None]:
    """The steps of a composition that is tried again are answered as the first time."""
    right, wrong = "{self._lineage}/{self.metadata.attempt}s", "{self._lineage}/s"
    with edit(Context, "step", right, wrong):
        yield


@mutant("split-spoils-what-join-gets", rule="EXE-008")
@contextmanager
def split_spoils_what_join_gets() -> Iterator[None]:
    """What split does to the state that it is shown is seen by join."""
    right = am2z.compose.copy_state

    def copy(state: Any) -> Any:
        return state if caller("batch") else right(state)

    with patch(am2z.compose, "copy_state", copy):
        yield


@mutant("stopped-work-becomes-dead-letter", rule="ERR-027")
@contextmanager
def stopped_work_becomes_dead_letter() -> Iterator[None]:
    """What a stopping runtime could not wait for is a dead letter."""
    right = "and execution.verdict is None and"
    wrong = 'and type(execution.verdict).__name__ in ("NoneType", "RuntimeStoppedError") and'
    with edit(Engine, "_fail", right, wrong):
        yield


@mutant("retried-letter-gets-a-session", rule="ERR-028")
@contextmanager
def retried_letter_gets_a_session() -> Iterator[None]:
    """A dead letter that had no session is retried in one."""
    right = "letter.session_id, execution_id"
    wrong = 'letter.session_id or "dead", execution_id'
    with edit(LocalRuntime, "_resubmit", right, wrong):
        yield


@mutant("delayed-work-commits-nothing", rule="EXE-042")
@contextmanager
def delayed_work_commits_nothing() -> Iterator[None]:
    """What was submitted for later leaves the state of its session as it was."""
    right = "execution.depth == 0"
    wrong = "execution.depth == 0 and request.when is None"
    with edit(Engine, "_succeed", right, wrong):
        yield


@mutant("result-that-failed-is-passed-on-as-good", rule="EXE-034")
@contextmanager
def result_that_failed_is_passed_on_as_good() -> Iterator[None]:
    """A processor that returns the failed result of a call has succeeded."""
    right = "if answer.error is None:"
    wrong = "if True:"
    with edit(am2z.executor, "_judge", right, wrong):
        yield


@mutant("any-class-of-state-is-taken", rule="ERR-019")
@contextmanager
def any_class_of_state_is_taken() -> Iterator[None]:
    """Nobody looks whether a state is of the class that its processor takes."""
    right = "and not isinstance(state, known.state_type)"
    wrong = "and False"
    with edit(Admission, "admit", right, wrong):
        yield


@mutant("state-names-no-session", rule="SES-001", base="queue")
@contextmanager
def state_names_no_session() -> Iterator[None]:
    """A processor gets the state as it was sent, which names no session."""
    with edit(Run, "_run", "in_session(state, ctx.session_id)", "state"):
        yield
