"""The hooks of a retry policy, in every form that they may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import pytest

from am2z import (
    BusinessError,
    ConfigurationError,
    NetworkError,
    Processor,
    RetryPolicy,
    chain,
)
from harness.conformance._processors import flaky
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

Call = tuple[Any, ...]

HOOKS = ("should_retry", "on_retry", "on_exhausted")


class _Case(NamedTuple):
    """How the attempts of an execution end, and which hooks are called for it, in their order."""

    max_attempts: int
    errors: Sequence[Exception]
    calls: Sequence[Call]
    answer: str = ""
    """The text of the error that the caller gets; none where it gets none."""


_A, _B, _CLOSED = NetworkError("a"), NetworkError("b"), NetworkError("closed")
_FINAL = BusinessError("final")
_SECOND_TRY: list[Call] = [("should_retry", "a", 1), ("on_retry", "a", 1)]
_THIRD_TRY: list[Call] = [("should_retry", "b", 2), ("on_retry", "b", 2)]

CASES = (
    _Case(
        3, [_A, _B, _CLOSED], [*_SECOND_TRY, *_THIRD_TRY, ("on_exhausted", "closed", 3)], "closed"
    ),
    _Case(3, [_A, _B], [*_SECOND_TRY, *_THIRD_TRY]),
    _Case(3, [_A, _CLOSED], [*_SECOND_TRY, ("should_retry", "closed", 2)], "closed"),
    _Case(3, [_A, _FINAL], _SECOND_TRY, "final"),
    _Case(3, [_FINAL], [], "final"),
    _Case(3, [], []),
    _Case(1, [_A], [("on_exhausted", "a", 1)], "a"),
    _Case(1, [_FINAL], [], "final"),
)


class _Calls:
    """Hooks that say what they are called with: of the error alone or of both, plain or async."""

    def __init__(self, arguments: int, *, is_async: bool) -> None:
        self.seen: list[Call] = []
        self._arguments = arguments
        self._is_async = is_async

    def hook(self, name: str) -> Callable[..., Any]:
        def note(*given: Any) -> bool:
            self.seen.append((name, str(given[0]), *given[1:]))
            return str(given[0]) != "closed"

        def plain(error: Exception) -> bool:
            return note(error)

        def plain_of_both(error: Exception, attempt: int) -> bool:
            return note(error, attempt)

        async def later(error: Exception) -> bool:
            return note(error)

        async def later_of_both(error: Exception, attempt: int) -> bool:
            return note(error, attempt)

        forms: list[Callable[..., Any]] = [plain, plain_of_both, later, later_of_both]
        return forms[2 * self._is_async + self._arguments - 1]

    def expected(self, case: _Case) -> list[Call]:
        return [call[: 1 + self._arguments] for call in case.calls]

    def policy(self, max_attempts: int) -> RetryPolicy:
        hooks: dict[str, Any] = {name: self.hook(name) for name in HOOKS}
        return RetryPolicy(max_attempts=max_attempts, backoff=0, **hooks)


@rule("ERR-016")
async def test_the_hooks_of_a_policy_are_called(kit: Kit) -> None:
    tried: list[tuple[Processor[TestState], _Calls, _Case]] = []
    every = list(product((1, 2), (False, True), range(len(CASES)), (False, True)))
    for arguments, is_async, number, in_place in kit.some(every):
        calls, case = _Calls(arguments, is_async=is_async), CASES[number]
        name = f"{number} {arguments} {is_async} {in_place}"
        one = flaky(name, case.errors, retry=calls.policy(case.max_attempts))
        tried.append((chain(f"{name} whole", [one]) if in_place else one, calls, case))
    async with kit.runtime(*(one for one, _, _ in tried)) as runtime:
        results = await runtime.execute_many([(one, TestState()) for one, _, _ in tried])
    for (one, calls, case), result in zip(tried, results, strict=True):
        assert calls.seen == calls.expected(case), f"{one.name}: {case}"
        error = "" if result.error is None else str(result.error)
        assert error == case.answer, f"{one.name}: {case}"


@rule("ERR-032")
async def test_a_hook_that_raises_ends_the_execution(kit: Kit) -> None:
    async def later(_error: Exception) -> None:
        raise KeyError("mine")

    def plain(_error: Exception) -> None:
        raise KeyError("mine")

    async with kit.runtime() as runtime:
        for name, broken in product(HOOKS, (plain, later)):
            runs: list[int] = []
            hooks: dict[str, Any] = {name: broken}
            policy = RetryPolicy(max_attempts=2, backoff=0, **hooks)
            trying = flaky("trying", [NetworkError("down")] * 2, retry=policy, runs=runs)
            whole: Processor[TestState] = chain("whole", [trying])
            runtime.register(trying, whole)
            await runtime.sync_processors()
            for one in (trying, whole):
                runs.clear()
                result = await runtime.execute(one, TestState(count=4), "a")
                error = result.error
                assert isinstance(error, ConfigurationError), f"{name}: {error!r}"
                assert "mine" in str(error), f"{name}: what it raised is not told"
                assert isinstance(error.__cause__, NetworkError), f"{name}: the failure is lost"
                assert (str(error.__cause__), result.state.count) == ("down", 4)
                assert runs == ([1, 2] if name == "on_exhausted" else [1]), name
        assert await runtime.state.get("a") is None


_NO_POLICIES: list[dict[str, Any]] = [
    {name: wrong}
    for name, values in (
        ("max_attempts", (0, -1, 1.5, True, "3", None)),
        ("backoff", (-0.1, float("nan"), float("inf"), "1", None, True)),
        ("max_backoff", (-0.1, float("nan"), float("inf"), "1", None)),
        ("multiplier", (0.9, 0, -2.0, float("nan"), float("inf"), "2", None)),
        ("jitter", (-0.1, 1.1, float("nan"), "0", None)),
        *((name, (True, "no", 3)) for name in HOOKS),
    )
    for wrong in values
]


@rule("ERR-033")
async def test_a_policy_waits_as_it_says_and_makes_sense(kit: Kit) -> None:
    for wrong in _NO_POLICIES:
        with pytest.raises(ConfigurationError):
            RetryPolicy(**wrong)
    for policy, expected in (
        (RetryPolicy(backoff=0.5), [0.5, 1.0, 2.0, 4.0]),
        (RetryPolicy(backoff=0.5, multiplier=1), [0.5] * 4),
        (RetryPolicy(backoff=0.5, multiplier=3, max_backoff=4), [0.5, 1.5, 4, 4]),
        (RetryPolicy(backoff=7.0, max_backoff=2.0), [2.0] * 4),
        (RetryPolicy(backoff=0, jitter=1.0), [0.0] * 4),
        (RetryPolicy(backoff=1.0, max_backoff=0), [0.0] * 4),
    ):
        assert [policy.delay(number) for number in (1, 2, 3, 4)] == expected, policy
    for far in (100, 5_000, 10**9):
        assert RetryPolicy(backoff=0.5).delay(far) == 30.0
    for jitter in (0.25, 1.0):
        uneven = RetryPolicy(backoff=1.0, multiplier=1.0, jitter=jitter)
        waits = [uneven.delay(number) for number in range(1, 129)]
        assert 1 - jitter <= min(waits) < 1 < max(waits) <= 1 + jitter, (min(waits), max(waits))
    errors = [NetworkError(str(number)) for number in range(4)]
    trying = flaky("trying", errors, retry=RetryPolicy(max_attempts=5, backoff=0, jitter=1.0))
    async with kit.runtime(trying) as runtime:
        assert (await runtime.execute(trying, TestState())).metadata.attempt == 5
