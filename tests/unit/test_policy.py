"""A retry policy waits as it says, asks its hooks as they want, and refuses nonsense at once."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am2z.errors import AM2ZError, BusinessError, ConfigurationError, NetworkError
from am2z.policy import QueueOptions, RetryPolicy, check_duration


@given(
    backoff=st.floats(0, 100),
    multiplier=st.floats(1, 10),
    max_backoff=st.floats(0, 100),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 10_000),
    seed=st.integers(),
)
def test_no_delay_is_negative_or_over_the_limit(
    backoff: float, multiplier: float, max_backoff: float, jitter: float, attempt: int, seed: int
) -> None:
    policy = RetryPolicy(
        backoff=backoff, multiplier=multiplier, max_backoff=max_backoff, jitter=jitter
    )
    delay = policy.delay(attempt, random.Random(seed))
    assert 0 <= delay <= max_backoff
    exact = RetryPolicy(backoff=backoff, multiplier=multiplier, max_backoff=max_backoff)
    base = exact.delay(attempt)
    assert delay <= base * (1 + jitter) or math.isclose(delay, base * (1 + jitter))
    assert delay >= base * (1 - jitter) or math.isclose(delay, base * (1 - jitter), abs_tol=1e-9)
    assert exact.delay(attempt + 1) >= base


def test_the_delays_are_those_of_the_documentation() -> None:
    policy = RetryPolicy(max_attempts=4, backoff=0.5)
    assert [policy.delay(n) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("multiplier", [2, 2.0])
def test_an_attempt_without_number_waits_as_long_as_allowed(multiplier: float) -> None:
    assert RetryPolicy(multiplier=multiplier).delay(5000) == 30.0


@pytest.mark.parametrize("multiplier", [2, 2.0])
def test_without_a_backoff_there_is_never_a_wait(multiplier: float) -> None:
    assert RetryPolicy(backoff=0, multiplier=multiplier).delay(5000) == 0.0


def test_jitter_makes_delays_differ() -> None:
    policy = RetryPolicy(jitter=0.5)
    assert len({policy.delay(1) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", 1.5),
        ("max_attempts", True),
        ("backoff", -1),
        ("backoff", math.inf),
        ("backoff", "1"),
        ("max_backoff", math.nan),
        ("multiplier", 0.5),
        ("multiplier", None),
        ("jitter", 1.5),
        ("jitter", -0.1),
        ("should_retry", True),
        ("on_retry", "log"),
        ("on_exhausted", 1),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_field_and_value(
    field: str, value: object
) -> None:
    with pytest.raises(ConfigurationError, match="give ") as caught:
        RetryPolicy(**{field: value})  # type: ignore[arg-type]
    assert field in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"concurrency": True}, {"concurrency": 1.5}, {"priority": "high"}],
    ids=str,
)
def test_queue_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give a whole number"):
        QueueOptions(**options)


def test_a_duration_may_be_zero_only_where_that_means_something() -> None:
    check_duration("pause", 0, zero=True)
    with pytest.raises(ConfigurationError, match=r"pause is 0.*more than 0"):
        check_duration("pause", 0)
    with pytest.raises(ConfigurationError, match="0 or more"):
        check_duration("pause", -1, zero=True)


# Hooks

LATER = NetworkError("gone")


@pytest.mark.trio
async def test_an_error_that_is_not_retryable_asks_nobody() -> None:
    def never(*_: object) -> bool:
        raise AssertionError

    policy = RetryPolicy(should_retry=never, on_retry=never, on_exhausted=never)
    assert await policy.next_delay(BusinessError("no"), 1) is None


@pytest.mark.trio
async def test_hooks_are_told_of_each_retry_and_of_the_end() -> None:
    told: list[tuple[str, str, int]] = []
    policy = RetryPolicy(
        max_attempts=3,
        on_retry=lambda error, attempt: told.append(("retry", str(error), attempt)),
        on_exhausted=lambda error, attempt: told.append(("end", str(error), attempt)),
    )
    assert [await policy.next_delay(LATER, n) for n in (1, 2, 3)] == [0.1, 0.2, None]
    assert told == [("retry", "gone", 1), ("retry", "gone", 2), ("end", "gone", 3)]


@pytest.mark.trio
async def test_without_hooks_the_last_attempt_is_final() -> None:
    assert await RetryPolicy(max_attempts=1).next_delay(LATER, 1) is None


@pytest.mark.trio
async def test_should_retry_may_refuse_and_then_nobody_is_told() -> None:
    told: list[AM2ZError] = []
    policy = RetryPolicy(should_retry=lambda error: False, on_retry=told.append)
    assert await policy.next_delay(LATER, 1) is None
    assert told == []


@pytest.mark.trio
async def test_hooks_may_be_async_and_take_the_error_alone() -> None:
    told: list[AM2ZError] = []

    async def should(error: AM2ZError, attempt: int) -> bool:
        return attempt < 2

    async def on_retry(error: AM2ZError) -> None:
        told.append(error)

    policy = RetryPolicy(should_retry=should, on_retry=on_retry)
    assert await policy.next_delay(LATER, 1) == 0.1
    assert await policy.next_delay(LATER, 2) is None
    assert told == [LATER]


@pytest.mark.trio
async def test_a_hook_whose_signature_cannot_be_read_gets_both() -> None:
    class Hook:
        __signature__ = "nonsense"

        def __call__(self, *given: object) -> bool:
            self.given = given
            return True

    hook = Hook()
    assert await RetryPolicy(should_retry=hook).next_delay(LATER, 1) == 0.1
    assert hook.given in {(LATER, 1), (LATER,)}
