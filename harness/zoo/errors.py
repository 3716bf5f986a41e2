"""Mutants that lose errors, mix them up, or try again wrongly (ERR)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import trio

from am2z import compose, error, executor
from am2z.admission import Admission, refusal
from am2z.error import AM2ZError
from am2z.errors import (
    ExecutionTimeoutError,
    ProcessorExecutionError,
    ProcessorNotFoundError,
    ResourceError,
    ValidationError,
)
from am2z.executor import Outcome
from am2z.local import engine
from am2z.local.dead import LocalDeadLetters
from am2z.local.engine import Engine
from am2z.local.runtime import LocalRuntime
from am2z.policy import RetryPolicy, call_hook
from am2z.result import Failure
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


# --- what is tried again, and when


@mutant("validation-error-retried", rule="ERR-001")
@contextmanager
def validation_error_retried() -> Iterator[None]:
    """A ValidationError is worth another try."""
    with patch(ValidationError, "retryable", True):
        yield


@mutant("timeout-not-retryable", rule="ERR-003")
@contextmanager
def timeout_not_retryable() -> Iterator[None]:
    """A timeout ends the execution, whatever its policy says."""
    with patch(ExecutionTimeoutError, "retryable", False):
        yield


@mutant("resource-error-not-retryable", rule="ERR-008")
@contextmanager
def resource_error_not_retryable() -> Iterator[None]:
    """A ResourceError ends the execution, whatever its policy says."""
    with patch(ResourceError, "retryable", False):
        yield


@mutant("foreign-error-not-retryable", rule="ERR-017")
@contextmanager
def foreign_error_not_retryable() -> Iterator[None]:
    """An exception that is none of ours ends the execution, whatever its policy says."""
    with patch(ProcessorExecutionError, "retryable", False):
        yield


@mutant("non-retryable-retried", rule="ERR-014")
@contextmanager
def non_retryable_retried() -> Iterator[None]:
    """Nobody asks an error whether trying again can help."""
    with edit(RetryPolicy, "next_delay", "if not error.retryable:", "if False:"):
        yield


@mutant("retry-ignored", rule="ERR-004")
@contextmanager
def retry_ignored() -> Iterator[None]:
    """The first failure is final."""

    async def next_delay(*_: Any) -> None:
        await trio.lowlevel.checkpoint()

    with patch(Outcome, "next_delay", next_delay):
        yield


@mutant("retry-off-by-one", rule="ERR-005")
@contextmanager
def retry_off_by_one() -> Iterator[None]:
    """max_attempts counts repetitions."""
    with edit(RetryPolicy, "next_delay", "attempt >= self.max", "attempt > self.max"):
        yield


@mutant("retries-without-policy", rule="ERR-005")
@contextmanager
def retries_without_policy() -> Iterator[None]:
    """A processor without a retry policy has two attempts."""
    with patch(executor, "NO_RETRY", RetryPolicy(max_attempts=2, backoff=0)):
        yield


@mutant("backoff-ignored", rule="ERR-006")
@contextmanager
def backoff_ignored() -> Iterator[None]:
    """The next attempt begins at once."""
    with patch(RetryPolicy, "delay", lambda *_: 0.0):
        yield


@mutant("backoff-not-capped", rule="ERR-006")
@contextmanager
def backoff_not_capped() -> Iterator[None]:
    """The waits between attempts grow beyond max_backoff."""
    with patch(RetryPolicy, "delay", lambda self, n: self.backoff * self.multiplier ** (n - 1)):
        yield


@mutant("backoff-exponent-off-by-one", rule="ERR-006")
@contextmanager
def backoff_exponent_off_by_one() -> Iterator[None]:
    """The first wait is one step too long already."""
    with edit(RetryPolicy, "delay", "** (attempt - 1)", "** attempt"):
        yield


@mutant("should-retry-ignored", rule="ERR-011")
@contextmanager
def should_retry_ignored() -> Iterator[None]:
    """should_retry is never asked."""
    with edit(RetryPolicy, "next_delay", "if self.should_retry is not None", "if False"):
        yield


@mutant("should-retry-beats-max-attempts", rule="ERR-011")
@contextmanager
def should_retry_beats_max_attempts() -> Iterator[None]:
    """Where there is a should_retry, max_attempts bounds nothing."""
    right = "if attempt >= self.max_attempts:"
    wrong = "if attempt >= self.max_attempts and self.should_retry is None:"
    with edit(RetryPolicy, "next_delay", right, wrong):
        yield


@mutant("on-retry-not-called", rule="ERR-016")
@contextmanager
def on_retry_not_called() -> Iterator[None]:
    """on_retry is never called."""
    with edit(RetryPolicy, "next_delay", "if self.on_retry is not None:", "if False:"):
        yield


@mutant("on-exhausted-not-called", rule="ERR-016")
@contextmanager
def on_exhausted_not_called() -> Iterator[None]:
    """on_exhausted is never called."""
    with edit(RetryPolicy, "next_delay", "if self.on_exhausted is not None:", "if False:"):
        yield


@mutant("on-exhausted-after-success", rule="ERR-016")
@contextmanager
def on_exhausted_after_success() -> Iterator[None]:
    """on_exhausted is called whenever the last attempt is over, also when it succeeded."""
    right = engine.attempt

    async def attempt(processor: Any, state: Any, ctx: Any) -> Any:
        outcome = await right(processor, state, ctx)
        policy, number = processor.retry, ctx.metadata.attempt
        if outcome.error is None and policy is not None and number == policy.max_attempts:
            await call_hook(policy.on_exhausted, ProcessorExecutionError("over"), number)
        return outcome

    with patch(engine, "attempt", attempt):
        yield


@mutant("attempts-share-timeout", rule="ERR-003")
@contextmanager
def attempts_share_timeout() -> Iterator[None]:
    """The deadline of the first attempt holds for all of them."""
    right = Engine._context

    def context(self: Engine, execution: Any) -> Any:
        ctx = right(self, execution)
        execution.deadline = ctx.deadline
        return ctx

    with patch(Engine, "_context", context):
        yield


@mutant("backoff-holds-slot", rule="ERR-023")
@contextmanager
def backoff_holds_slot() -> Iterator[None]:
    """An execution keeps its slot while it waits for its next attempt."""
    with edit(Engine, "_attempts", "execution.slot.release()", "pass"):
        yield


# --- who gets which error


@mutant("first-error-answers", rule="ERR-015")
@contextmanager
def first_error_answers() -> Iterator[None]:
    """The error of the first attempt stands for those of all."""
    right, first = engine.attempt, dict[str, AM2ZError]()

    async def attempt(processor: Any, state: Any, ctx: Any) -> Any:
        outcome = await right(processor, state, ctx)
        if outcome.error is not None:
            outcome.error = first.setdefault(ctx.execution_id, outcome.error)
        return outcome

    with patch(engine, "attempt", attempt):
        yield


@mutant("errors-mixed-up", rule="ERR-012")
@contextmanager
def errors_mixed_up() -> Iterator[None]:
    """The executions of a processor keep their error in one place."""
    right, last = engine.attempt, dict[str, AM2ZError]()

    async def attempt(processor: Any, state: Any, ctx: Any) -> Any:
        outcome = await right(processor, state, ctx)
        if outcome.error is not None:
            last[processor.name] = outcome.error
            await trio.lowlevel.checkpoint()
            outcome.error = last[processor.name]
        return outcome

    with patch(engine, "attempt", attempt):
        yield


@mutant("returned-failure-is-success", rule="ERR-002")
@contextmanager
def returned_failure_is_success() -> Iterator[None]:
    """Only what a processor raises is a failure, not what it returns."""
    right = executor._call

    async def call(processor: Any, state: Any, ctx: Any) -> Any:
        answer = await right(processor, state, ctx)
        return state if isinstance(answer, Failure) else answer

    with patch(executor, "_call", call):
        yield


@mutant("foreign-error-raised", rule="ERR-017")
@contextmanager
def foreign_error_raised() -> Iterator[None]:
    """An exception that is none of ours passes through to the caller."""
    right = "raised = unwrapped(error)"
    wrong = f"{right}\n        if not isinstance(raised, AM2ZError | Failure):\n            raise"
    with edit(executor, "attempt", right, wrong) as _, patch(engine, "attempt", executor.attempt):
        yield


@mutant("cause-lost", rule="ERR-017")
@contextmanager
def cause_lost() -> Iterator[None]:
    """What a foreign exception is turned into does not say what caused it."""
    with edit(executor, "to_am2z_error", "wrapped.__cause__ = error", "pass"):
        yield


@mutant("traceback-lost", rule="ERR-018")
@contextmanager
def traceback_lost() -> Iterator[None]:
    """An error loses its traceback on its way to the caller."""
    wrong = "to_am2z_error(error.with_traceback(None),"
    with edit(executor, "_adopt", "to_am2z_error(error,", wrong):
        yield


@mutant("failure-answers-spoiled-state", rule="ERR-022")
@contextmanager
def failure_answers_spoiled_state() -> Iterator[None]:
    """A failed result has the state with what the processor did to it."""
    right = engine.attempt

    async def attempt(processor: Any, state: Any, ctx: Any) -> Any:
        outcome = await right(processor, state, ctx)
        if outcome.error is not None and outcome.partial is None:
            outcome.partial = state
        return outcome

    with patch(engine, "attempt", attempt):
        yield


# --- what was asked for and cannot be


@mutant("nested-not-found-raised", rule="ERR-009")
@contextmanager
def nested_not_found_raised() -> Iterator[None]:
    """Calling a processor that is not there raises in the one that called it."""
    right = Engine.call_from

    async def call_from(self: Engine, ctx: Any, name: str, state: Any) -> Any:
        result = await right(self, ctx, name, state)
        if isinstance(result.error, ProcessorNotFoundError):
            raise result.error
        return result

    with patch(Engine, "call_from", call_from):
        yield


@mutant("child-failure-fails-parent", rule="ERR-013")
@contextmanager
def child_failure_fails_parent() -> Iterator[None]:
    """The error of a call is raised in the one that called."""
    right = Engine.call_from

    async def call_from(self: Engine, ctx: Any, name: str, state: Any) -> Any:
        result = await right(self, ctx, name, state)
        result.unwrap()
        return result

    with patch(Engine, "call_from", call_from):
        yield


@mutant("mistake-answered-as-result", rule="ERR-019")
@contextmanager
def mistake_answered_as_result() -> Iterator[None]:
    """A state that cannot cross comes back from execute() as a failed result."""
    right = LocalRuntime.execute

    async def execute(self: LocalRuntime, processor: Any, state: Any, session: Any = None) -> Any:
        try:
            return await right(self, processor, state, session)
        except ValidationError as mistake:
            request = self._admission.admit(processor, type(state)(), session)
            return refusal(request, mistake)

    with patch(LocalRuntime, "execute", execute):
        yield


@mutant("bad-state-crashes-runtime", rule="ERR-019")
@contextmanager
def bad_state_crashes_runtime() -> Iterator[None]:
    """A state whose values do not fit its class is let in, and found out where it is run."""
    with edit(Admission, "admit", "decode_state(type(state), data)", "pass"):
        yield


@mutant("refusal-raised", rule="ERR-020")
@contextmanager
def refusal_raised() -> Iterator[None]:
    """execute() raises the error of work that is refused."""
    with edit(LocalRuntime, "execute", "return refusal(request, execution)", "raise execution"):
        yield


# --- compositions


@mutant("chain-goes-on-after-failure", rule="ERR-007")
@contextmanager
def chain_goes_on_after_failure() -> Iterator[None]:
    """A step that fails is passed over."""
    right = compose.run_step

    async def run_step(ctx: Any, step: Any, state: Any, label: str) -> Any:
        result = await right(ctx, step, state, label)
        return msgspec.structs.replace(result, success=True, error=None, state=result.state)

    with patch(compose, "run_step", run_step):
        yield


@mutant("partial-state-lost", rule="ERR-007")
@contextmanager
def partial_state_lost() -> Iterator[None]:
    """A chain that fails gives back the state that it was given."""
    right = compose._failure

    def failure(*args: Any) -> Failure[Any]:
        told = right(*args)
        return Failure(told.error, completed_steps=told.completed_steps)

    with patch(compose, "_failure", failure):
        yield


@mutant("completed-steps-off-by-one", rule="ERR-007")
@contextmanager
def completed_steps_off_by_one() -> Iterator[None]:
    """The step that failed counts as completed."""
    right = compose._failure
    with patch(compose, "_failure", lambda e, step, state, n: right(e, step, state, n + 1)):
        yield


@mutant("step-timeout-ignored", rule="ERR-024")
@contextmanager
def step_timeout_ignored() -> Iterator[None]:
    """A step that runs in place has the time of its composition."""
    right = executor._run_in_place

    async def run_in_place(ctx: Any, step: Any, state: Any, label: str) -> Any:
        return await right(ctx, replace(step, timeout=None), state, label)

    with patch(executor, "_run_in_place", run_in_place):
        yield


@mutant("step-retry-ignored", rule="ERR-024")
@contextmanager
def step_retry_ignored() -> Iterator[None]:
    """A step that runs in place has one attempt."""
    right = executor._run_in_place

    async def run_in_place(ctx: Any, step: Any, state: Any, label: str) -> Any:
        return await right(ctx, replace(step, retry=None), state, label)

    with patch(executor, "_run_in_place", run_in_place):
        yield


# --- answers that cannot cross


@mutant("result-never-decoded", rule="ERR-025")
@contextmanager
def result_never_decoded() -> Iterator[None]:
    """A result is encoded, and nobody looks whether that can be read."""
    with edit(Outcome, "seal", "self.state = decode_state(type(self.state), data)", "pass"):
        yield


@mutant("result-size-unlimited", rule="ERR-025")
@contextmanager
def result_size_unlimited() -> Iterator[None]:
    """max_payload_bytes holds for what comes in, not for what goes out."""
    right = "outcome.seal(self._config.max_payload_bytes)"
    with edit(Engine, "_attempts", right, "outcome.seal()"):
        yield


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
