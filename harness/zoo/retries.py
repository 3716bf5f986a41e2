"""Mutants that try again wrongly (ERR)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from am2z import executor
from am2z.errors import (
    ExecutionTimeoutError,
    ProcessorExecutionError,
    ResourceError,
    ValidationError,
)
from am2z.executor import Outcome
from am2z.local import engine
from am2z.local.engine import Engine
from am2z.policy import RetryPolicy, call_hook
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


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
