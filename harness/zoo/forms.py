"""Errors: one form, field or way of several that is not as the others are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z import executor, policy
from am2z.admission import Admission
from am2z.executor import Outcome
from am2z.policy import RetryPolicy
from am2z.runtime import RuntimeMixin
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@mutant("notes-of-errors-dropped", rule="ERR-010")
@contextmanager
def notes_of_errors_dropped() -> Iterator[None]:
    """The notes that somebody has added to an error do not reach its caller."""
    right = "    error = unwrapped(error)\n    while"
    wrong = "    error = unwrapped(error)\n    vars(error).pop('__notes__', None)\n    while"
    with edit(executor, "_adopt", right, wrong):
        yield


@mutant("severity-is-that-of-the-class", rule="ERR-010")
@contextmanager
def severity_is_that_of_the_class() -> Iterator[None]:
    """An error has the severity of its class, though it was given another one."""
    right = "    error = unwrapped(error)\n    while"
    wrong = "    error = unwrapped(error)\n    vars(error).pop('severity', None)\n    while"
    with edit(executor, "_adopt", right, wrong):
        yield


@mutant("category-is-that-of-the-class", rule="ERR-010")
@contextmanager
def category_is_that_of_the_class() -> Iterator[None]:
    """An error has the category of its class, though it was given another one."""
    right = "    error = unwrapped(error)\n    while"
    wrong = "    error = unwrapped(error)\n    vars(error).pop('category', None)\n    while"
    with edit(executor, "_adopt", right, wrong):
        yield


@mutant("group-of-one-stays-a-group", rule="ERR-017")
@contextmanager
def group_of_one_stays_a_group() -> Iterator[None]:
    """What comes out of a nursery alone is a group, and so none of our errors."""
    with patch(executor, "unwrapped", lambda error: error):
        yield


@mutant("partial-state-needs-steps", rule="ERR-022")
@contextmanager
def partial_state_needs_steps() -> Iterator[None]:
    """The partial state of a Failure is told only where it says that steps were done."""
    right = "partial = answer.state"
    wrong = "partial = answer.state if answer.completed_steps else None"
    with edit(executor, "_judge", right, wrong):
        yield


@mutant("hook-error-hides-nothing", rule="ERR-032")
@contextmanager
def hook_error_hides_nothing() -> Iterator[None]:
    """What a hook raises is dropped: the caller gets the failure, and nobody knows of the bug."""
    right = "self.error = broken.with_cause(self.error)"
    wrong = "pass"
    with edit(Outcome, "next_delay", right, wrong):
        yield


@mutant("hook-error-without-its-cause", rule="ERR-032")
@contextmanager
def hook_error_without_its_cause() -> Iterator[None]:
    """The failure for which a hook was called is forgotten when the hook raises."""
    right = "broken.with_cause(self.error)"
    wrong = "broken"
    with edit(Outcome, "next_delay", right, wrong):
        yield


@mutant("on-retry-never-awaited", rule="ERR-016")
@contextmanager
def on_retry_never_awaited() -> Iterator[None]:
    """An async on_retry is not run; a plain one is."""
    right = "await call_hook(self.on_retry, error, attempt)"
    wrong = (
        "if not inspect.iscoroutinefunction(self.on_retry):\n"
        "            await call_hook(self.on_retry, error, attempt)"
    )
    with edit(RetryPolicy, "next_delay", right, wrong):
        yield


@mutant("exhausted-by-what-is-final", rule="ERR-016")
@contextmanager
def exhausted_by_what_is_final() -> Iterator[None]:
    """on_exhausted is called for what was never to be tried again, too."""
    right = "if not error.retryable:"
    wrong = (
        "if not error.retryable:\n"
        "        if self.on_exhausted is not None:\n"
        "            await call_hook(self.on_exhausted, error, attempt)"
    )
    with edit(RetryPolicy, "next_delay", right, wrong):
        yield


@mutant("exhausted-needs-two-attempts", rule="ERR-016")
@contextmanager
def exhausted_needs_two_attempts() -> Iterator[None]:
    """on_exhausted is not called where there is one attempt only."""
    right = "if self.on_exhausted is not None:"
    wrong = "if self.on_exhausted is not None and attempt > 1:"
    with edit(RetryPolicy, "next_delay", right, wrong):
        yield


@mutant("jitter-only-adds", rule="ERR-033")
@contextmanager
def jitter_only_adds() -> Iterator[None]:
    """Jitter makes waits longer, never shorter."""
    right = "uniform(-self.jitter, self.jitter)"
    wrong = "uniform(0, self.jitter)"
    with edit(RetryPolicy, "delay", right, wrong):
        yield


@mutant("jitter-only-takes-away", rule="ERR-033")
@contextmanager
def jitter_only_takes_away() -> Iterator[None]:
    """Jitter makes waits shorter, never longer."""
    right = "uniform(-self.jitter, self.jitter)"
    wrong = "uniform(-self.jitter, 0)"
    with edit(RetryPolicy, "delay", right, wrong):
        yield


@mutant("far-attempts-do-not-wait", rule="ERR-033")
@contextmanager
def far_attempts_do_not_wait() -> Iterator[None]:
    """A wait that is too large to be a number is none at all."""
    right = "        wait = self.max_backoff\n"
    wrong = "        wait = 0.0\n"
    with edit(RetryPolicy, "delay", right, wrong):
        yield


@mutant("policy-takes-any-number", rule="ERR-033")
@contextmanager
def policy_takes_any_number() -> Iterator[None]:
    """A number of a policy may be true, or no number (NaN), or without an end."""
    with patch(policy, "_is_number", lambda value: isinstance(value, int | float)):
        yield


@mutant("policy-takes-any-time", rule="ERR-033")
@contextmanager
def policy_takes_any_time() -> Iterator[None]:
    """The times of a policy may be less than nothing."""
    with patch(policy, "check_duration", lambda _name, _value, *, zero=False: None):
        yield


@mutant("policy-counts-in-parts", rule="ERR-033")
@contextmanager
def policy_counts_in_parts() -> Iterator[None]:
    """A policy may have one and a half attempts."""
    with patch(policy, "_is_whole", lambda value: isinstance(value, int | float)):
        yield


@mutant("largest-payload-refused", rule="ERR-019")
@contextmanager
def largest_payload_refused() -> Iterator[None]:
    """A state of exactly max_payload_bytes is refused."""
    right = "self._max_bytes = max_bytes"
    wrong = "self._max_bytes = max_bytes - 1"
    with edit(Admission, "__init__", right, wrong):
        yield


@mutant("refusal-raised-in-a-named-session", rule="ERR-020")
@contextmanager
def refusal_raised_in_a_named_session() -> Iterator[None]:
    """execute_in_session raises what the other methods answer."""
    right = "return await self.execute(processor, state, session_id)"
    wrong = (
        "result = await self.execute(processor, state, session_id)\n"
        "    if result.error is not None and result.error.code == 'RESOURCE_LIMIT':\n"
        "        raise result.error\n"
        "    return result"
    )
    with edit(RuntimeMixin, "execute_in_session", right, wrong):
        yield
