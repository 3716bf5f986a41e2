"""Mutants that give the wrong error, or give it to the wrong one (ERR)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import trio

from am2z import compose, executor
from am2z.admission import Admission, refusal
from am2z.error import AM2ZError
from am2z.errors import (
    ProcessorNotFoundError,
    ValidationError,
)
from am2z.executor import Outcome
from am2z.local import engine
from am2z.local.engine import Engine
from am2z.local.runtime import LocalRuntime
from am2z.result import Failure
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@contextmanager
def _answers_of_calls(look: Callable[[Any], object]) -> Iterator[None]:
    """``look(result)`` happens to the answer of each nested call before its caller has it."""
    right = Engine.call_from

    async def call_from(self: Engine, ctx: Any, name: str, state: Any) -> Any:
        result = await right(self, ctx, name, state)
        look(result)
        return result

    with patch(Engine, "call_from", call_from):
        yield


@contextmanager
def _steps_in_place(**instead: Any) -> Iterator[None]:
    """A step that runs in place is another processor than the one that was given."""
    right = executor._run_in_place

    async def run_in_place(ctx: Any, step: Any, state: Any, label: str) -> Any:
        return await right(ctx, replace(step, **instead), state, label)

    with patch(executor, "_run_in_place", run_in_place):
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

    def refuse(result: Any) -> None:
        if isinstance(result.error, ProcessorNotFoundError):
            raise result.error

    with _answers_of_calls(refuse):
        yield


@mutant("child-failure-fails-parent", rule="ERR-013")
@contextmanager
def child_failure_fails_parent() -> Iterator[None]:
    """The error of a call is raised in the one that called."""
    with _answers_of_calls(lambda result: result.unwrap()):
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
    with edit(Admission, "admit", "request.copy = request.given()", "pass"):
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
    with _steps_in_place(timeout=None):
        yield


@mutant("step-retry-ignored", rule="ERR-024")
@contextmanager
def step_retry_ignored() -> Iterator[None]:
    """A step that runs in place has one attempt."""
    with _steps_in_place(retry=None):
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
