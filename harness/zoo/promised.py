"""Runtimes that break one clause of what the documentation says in plain words.

Each was asked by no rule, though whoever reads ``docs/concepts.md`` counts on it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

import am2z.admission
import am2z.compose
import am2z.executor
import am2z.local.state
import am2z.statestore
from am2z.context import Context
from am2z.dead import DeadLetters
from am2z.errors import AM2ZError, StateConflictError
from am2z.executor import Outcome
from am2z.local.dead import LocalDeadLetters
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.processor import Processor
from am2z.result import ProcessorResult
from am2z.state import AppState
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

LAST = "is_last = outcome.error is None or step.retry is None or number >= step.retry.max_attempts"
"""What is left of a policy where its hooks, or the error, are asked nothing."""


@mutant("steps-retry-what-is-final", rule="ERR-014")
@contextmanager
def steps_retry_what_is_final() -> Iterator[None]:
    """A step that runs in place is tried again whatever its error is."""
    right = "delay = await outcome.next_delay(step, number)"
    wrong = f"{LAST}; delay = None if is_last else step.retry.delay(number)"
    with edit(am2z.executor, "_run_in_place", right, wrong):
        yield


@mutant("hooks-of-steps-ignored", rule="ERR-024")
@contextmanager
def hooks_of_steps_ignored() -> Iterator[None]:
    """The hooks of a policy are not for steps that run in place."""
    right = "delay = await outcome.next_delay(step, number)"
    wrong = (
        f"{LAST}; is_last = is_last or not outcome.error.retryable; "
        "delay = None if is_last else step.retry.delay(number)"
    )
    with edit(am2z.executor, "_run_in_place", right, wrong):
        yield


@mutant("plain-functions-run-once", rule="ERR-004")
@contextmanager
def plain_functions_run_once() -> Iterator[None]:
    """What runs in a thread is not tried again."""
    right = "if self.error is None:"
    wrong = "if self.error is None or processor.in_thread:"
    with edit(Outcome, "next_delay", right, wrong):
        yield


@mutant("unwrap-hides-the-error", rule="ERR-002")
@contextmanager
def unwrap_hides_the_error() -> Iterator[None]:
    """unwrap() of a failure gives the state, as that of a success does."""
    right = "raise self.error"
    wrong = "pass"
    with edit(ProcessorResult, "unwrap", right, wrong):
        yield


@mutant("bad-answer-of-a-step-passes", rule="ERR-025")
@contextmanager
def bad_answer_of_a_step_passes() -> Iterator[None]:
    """What a step returns is not asked whether it can cross."""
    right = "outcome.seal()"
    wrong = "pass"
    with edit(am2z.executor, "_run_in_place", right, wrong):
        yield


@mutant("letters-counted-before-they-are-chosen", rule="ERR-027")
@contextmanager
def letters_counted_before_they_are_chosen() -> Iterator[None]:
    """The limit of a list of dead letters counts those of other processors, too."""
    right = "letters = await self._newest()"
    wrong = "letters = (await self._newest())[:limit]"
    with edit(DeadLetters, "list", right, wrong):
        yield


@mutant("retry-takes-other-letters-along", rule="ERR-028")
@contextmanager
def retry_takes_other_letters_along() -> Iterator[None]:
    """Whoever retries one dead letter loses all of them."""
    right = "self._letters.pop(execution_id, None)"
    wrong = "self._letters.clear()"
    with edit(LocalDeadLetters, "retry", right, wrong):
        yield


@mutant("creation-time-reset", rule="EXE-020")
@contextmanager
def creation_time_reset() -> Iterator[None]:
    """A changed state was made when it was changed."""
    right = "created_at=old.created_at"
    wrong = "created_at=time.time()"
    with edit(AppState, "evolve", right, wrong):
        yield


@mutant("change-time-stands-still", rule="EXE-020")
@contextmanager
def change_time_stands_still() -> Iterator[None]:
    """A changed state was changed last when it was made."""
    right = "max(time.time(), old.last_updated)"
    wrong = "old.last_updated"
    with edit(AppState, "evolve", right, wrong):
        yield


@mutant("steps-forget-the-depth", rule="EXE-023")
@contextmanager
def steps_forget_the_depth() -> Iterator[None]:
    """What a step calls is counted as if a caller had asked for its composition."""
    right = "call_depth=self.call_depth"
    wrong = "call_depth=0"
    with edit(Context, "step", right, wrong):
        yield


@mutant("named-branches-in-sequence", rule="EXE-007")
@contextmanager
def named_branches_in_sequence() -> Iterator[None]:
    """Branches that are given by name run one after the other."""
    right = "nursery.start_soon(run, index, step, state)"
    wrong = f"await run(index, step, state) if isinstance(step, str) else {right}"
    with edit(am2z.compose, "_run_all", right, wrong):
        yield


@mutant("step-keys-change-with-the-attempt", rule="EXE-051")
@contextmanager
def step_keys_change_with_the_attempt() -> Iterator[None]:
    """A step has another key when its composition is tried again."""
    right = 'path=f"{self.path}/s{label}"'
    wrong = 'path=f"{self.path}/{self.metadata.attempt}s{label}"'
    with edit(Context, "step", right, wrong):
        yield


@mutant("step-keys-by-processor", rule="EXE-051")
@contextmanager
def step_keys_by_processor() -> Iterator[None]:
    """Two steps that one processor does have one key."""
    right = 'path=f"{self.path}/s{label}"'
    wrong = 'path=f"{self.path}/s{processor.name if processor else label}"'
    with edit(Context, "step", right, wrong):
        yield


@mutant("nested-steps-share-keys", rule="EXE-051")
@contextmanager
def nested_steps_share_keys() -> Iterator[None]:
    """The first step of a nested composition has the key of the first one of the outer."""
    right = 'path=f"{self.path}/s{label}"'
    wrong = 'path=f"/s{label}"'
    with edit(Context, "step", right, wrong):
        yield


@mutant("calls-are-not-retried", rule="EXE-052")
@contextmanager
def calls_are_not_retried() -> Iterator[None]:
    """What is called has one attempt, whatever its policy says."""
    right = "delay = await outcome.next_delay(processor, execution.attempt)"
    wrong = f"if not execution.depth: {right}"
    with edit(Engine, "_attempts", right, wrong):
        yield


@mutant("timeout-of-a-call-ignored", rule="EXE-052")
@contextmanager
def timeout_of_a_call_ignored() -> Iterator[None]:
    """What is called may take as long as its caller has left, whatever its own timeout says."""
    right = "(processor.timeout or self._config.default_timeout)"
    wrong = "(processor.timeout if not execution.depth else 1e6)"
    with edit(Engine, "_context", right, wrong):
        yield


@mutant("retried-call-has-time-of-its-own", rule="EXE-052")
@contextmanager
def retried_call_has_time_of_its_own() -> Iterator[None]:
    """Only the first attempt of what is called is bound by the time of its caller."""
    right = "min(deadline, execution.deadline)"
    wrong = "min(deadline, execution.deadline) if execution.attempt == 1 else deadline"
    with edit(Engine, "_context", right, wrong):
        yield


@mutant("named-step-runs-in-place", rule="EXE-051")
@contextmanager
def named_step_runs_in_place() -> Iterator[None]:
    """A step that is given by name runs in place wherever its processor is known."""
    run_step = am2z.compose.run_step

    def run(ctx: Any, step: Any, state: Any, label: str) -> Any:
        known = step if isinstance(step, Processor) else ctx._host._registry.find(step)
        return run_step(ctx, known or step, state, label)

    with patch(am2z.compose, "run_step", run):
        yield


@mutant("timeout-counts-from-the-submission", rule="EXE-010")
@contextmanager
def timeout_counts_from_the_submission() -> Iterator[None]:
    """The time of the first attempt begins when the work is accepted, not when it begins."""
    begin, context = Engine.begin, Engine._context
    accepted: dict[str, float] = {}

    def begin_counting(self: Engine, request: Any, **options: Any) -> Execution | AM2ZError:
        accepted[request.execution_id] = trio.current_time()
        return begin(self, request, **options)

    def context_since(self: Engine, execution: Execution) -> Context:
        ctx = context(self, execution)
        if execution.attempt == 1:
            allowed = execution.processor.timeout or self._config.default_timeout
            ctx.deadline = min(ctx.deadline, accepted[ctx.execution_id] + allowed)
        return ctx

    with patch(Engine, "begin", begin_counting), patch(Engine, "_context", context_since):
        yield


@mutant("records-without-ids", rule="EXE-029")
@contextmanager
def records_without_ids() -> Iterator[None]:
    """What a processor logs does not say which execution it is of."""
    bare = logging.LoggerAdapter(logging.getLogger("am2z.processor"), {})
    with patch(Context, "log", property(lambda _: bare)):
        yield


@mutant("update-gives-up-early", rule="STA-016")
@contextmanager
def update_gives_up_early() -> Iterator[None]:
    """update() tries ten times."""
    with patch(am2z.statestore, "UPDATE_ATTEMPTS", 10):
        yield


@mutant("conflict-without-versions", rule="STA-002")
@contextmanager
def conflict_without_versions() -> Iterator[None]:
    """A conflict does not say which version there is."""
    with patch(am2z.local.state, "conflict", lambda *_: StateConflictError("somebody was faster")):
        yield


@mutant("bad-call-answered", rule="STA-018")
@contextmanager
def bad_call_answered() -> Iterator[None]:
    """A call with a state that cannot cross is answered as if the child had failed."""
    call_from = Engine.call_from

    async def call(self: Engine, ctx: Context, name: str, state: Any) -> ProcessorResult[Any]:
        try:
            return await call_from(self, ctx, name, state)
        except AM2ZError as error:
            return ProcessorResult(success=False, state=state, error=error, metadata=ctx.metadata)

    with patch(Engine, "call_from", call):
        yield
