"""Errors as they arrive: their class, what they carry, and whether another try may help."""

from __future__ import annotations

import traceback
from typing import NoReturn

import pytest
import trio

from am2z import (
    AM2ZError,
    BusinessError,
    CallDepthExceededError,
    Context,
    ErrorCategory,
    ErrorSeverity,
    ExecutionTimeoutError,
    Failure,
    LeaseLostError,
    LockLostError,
    NetworkError,
    PoisonExecutionError,
    ProcessorExecutionError,
    ProcessorNotFoundError,
    ResourceError,
    RetryPolicy,
    StateConflictError,
    StateCorruptError,
    StateNotFoundError,
    UnsupportedCapability,
    ValidationError,
)
from harness.conformance._processors import (
    flaky,
    make,
)
from harness.conformance.errors._shared import THRICE, OutOfStockError
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("ERR-001")
async def test_a_validation_error_says_what_is_wrong(kit: Kit) -> None:
    runs: list[int] = []
    error = ValidationError("count", "is negative", -1)
    checking = flaky("checking", [error] * 3, retry=THRICE, runs=runs)
    async with kit.runtime(checking) as runtime:
        result = await runtime.execute(checking, TestState(count=-1))
    assert not result.success
    assert isinstance(result.error, ValidationError), repr(result.error)
    assert (result.error.field, result.error.reason) == ("count", "is negative")
    assert result.error.value == -1
    assert runs == [1]


@rule("ERR-002")
async def test_a_business_error_keeps_its_code(kit: Kit) -> None:
    async def give_back(_state: TestState, _ctx: Context) -> Failure[TestState]:
        return Failure(BusinessError("no credit", "NO_CREDIT"))

    raising = flaky("raising", [BusinessError("no credit", "NO_CREDIT")])
    returning = make("returning", give_back)
    async with kit.runtime(raising, returning) as runtime:
        results = await runtime.execute_many([(p, TestState()) for p in (raising, returning)])
    for result in results:
        assert isinstance(result.error, BusinessError), f"the caller got {result.error!r}"
        assert (result.error.message, result.error.code) == ("no credit", "NO_CREDIT")
        assert not result.success
        with pytest.raises(BusinessError):
            result.unwrap()


@rule("ERR-008")
async def test_a_resource_error_is_tried_again_and_keeps_its_numbers(kit: Kit) -> None:
    runs: list[int] = []
    full = ResourceError("no room", resource="disk", limit=10, current=11)
    needy = flaky("needy", [full] * 3, retry=THRICE, runs=runs)
    async with kit.runtime(needy) as runtime:
        result = await runtime.execute(needy, TestState())
    error = result.error
    assert isinstance(error, ResourceError), repr(error)
    assert (error.resource, error.limit, error.current) == ("disk", 10, 11)
    assert runs == [1, 2, 3]


@rule("ERR-017")
async def test_a_foreign_exception_becomes_one_of_ours(kit: Kit) -> None:
    runs: list[int] = []
    failing = flaky("failing", [LookupError("no such sku")] * 3, retry=THRICE, runs=runs)
    async with kit.runtime(failing) as runtime:
        result = await runtime.execute(failing, TestState())
    assert isinstance(result.error, ProcessorExecutionError), repr(result.error)
    assert "no such sku" in str(result.error)
    assert "no such sku" in str(result.error.__cause__)
    assert result.error.retryable
    assert runs == [1, 2, 3]
    await _look_at_groups(kit)


async def _look_at_groups(kit: Kit) -> None:
    """A group of one is that one, for a nursery makes one of everything that it lets out."""
    order, lookup = BusinessError("no order", "NO_ORDER"), LookupError("no such sku")
    raised: list[Exception] = [
        ExceptionGroup("one", [order]),
        ExceptionGroup("one in one", [ExceptionGroup("one", [order])]),
        ExceptionGroup("one", [lookup]),
        ExceptionGroup("both", [order, lookup]),
    ]

    async def fail(state: TestState, _ctx: Context) -> TestState:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_raise, raised[state.count])
        return state

    async with kit.runtime(make("fail", fail)) as runtime:
        states = [TestState(count=number) for number in range(len(raised))]
        results = await runtime.execute_many("fail", states)
    alone, nested, foreign, both = (result.error for result in results)
    for error in (alone, nested):
        assert isinstance(error, BusinessError), repr(error)
        assert (error.code, error.message) == ("NO_ORDER", "no order")
    for error in (foreign, both):
        assert isinstance(error, ProcessorExecutionError), repr(error)
    assert "no such sku" in str(foreign)


async def _raise(error: Exception) -> NoReturn:
    await trio.lowlevel.checkpoint()
    raise error


@rule("ERR-018")
async def test_an_error_shows_where_it_was_raised(kit: Kit) -> None:
    def deep_inside(error: Exception) -> NoReturn:
        raise error

    async def fail(state: TestState, _ctx: Context) -> TestState:
        deep_inside(OSError("foreign") if state.count else OutOfStockError("chair", wanted=1))

    failing = make("failing", fail)
    async with kit.runtime(failing) as runtime:
        results = await runtime.execute_many(failing, [TestState(count=n) for n in (0, 1)])
    for result in results:
        assert result.error is not None
        printed = "".join(traceback.format_exception(result.error))
        assert "deep_inside" in printed, printed


@rule("ERR-021")
async def test_an_error_comes_back_as_its_own_class(kit: Kit) -> None:
    failing = flaky("failing", [OutOfStockError("chair", wanted=3)])
    async with kit.runtime(failing) as runtime:
        result = await runtime.execute(failing, TestState())
    error = result.error
    assert type(error) is OutOfStockError
    assert str(error) == error.message == "3 of chair are not there"
    assert (error.sku, error.wanted) == ("chair", 3)
    assert (error.code, error.category, error.severity) == (
        "OUT_OF_STOCK",
        ErrorCategory.BUSINESS,
        ErrorSeverity.CRITICAL,
    )
    assert error.context == {"shelf": ["A", 7]}
    await _look_at_large_errors(kit)


async def _look_at_large_errors(kit: Kit) -> None:
    """One that carries too much may lose what it carries, and stays what it is."""
    errors = [OutOfStockError("chair", wanted=3), OutOfStockError("desk" * 20_000, wanted=4)]
    for error in errors:
        error.context["log"] = ["a line of a log"] * 10_000

    async def fail(state: TestState, _ctx: Context) -> NoReturn:
        raise errors[state.count]

    async with kit.runtime(make("fail", fail)) as runtime:
        states = [TestState(count=number) for number in range(len(errors))]
        results = await runtime.execute_many("fail", states)
    for expected, result in zip(errors, results, strict=True):
        arrived = result.error
        assert type(arrived) is OutOfStockError, repr(arrived)
        assert (arrived.code, arrived.severity) == ("OUT_OF_STOCK", ErrorSeverity.CRITICAL)
        assert arrived.message[:1_000] == expected.message[:1_000]
    assert isinstance(results[0].error, OutOfStockError)
    assert (results[0].error.sku, results[0].error.wanted) == ("chair", 3)


@rule("ERR-026")
async def test_an_error_crosses_between_runtimes(kit: Kit) -> None:
    async def fail_in_the_end(state: TestState, ctx: Context) -> TestState:
        if ctx.metadata.attempt == 1:
            raise NetworkError("gone")
        raise OutOfStockError("chair", wanted=state.count)

    failing = make("failing", fail_in_the_end, retry=THRICE)
    async with kit.runtime(role="client") as client, kit.runtime(failing, role="worker"):
        result = await client.execute("failing", TestState(count=3))
    error = result.error
    assert type(error) is OutOfStockError, repr(error)
    assert (error.sku, error.wanted, error.context) == ("chair", 3, {"shelf": ["A", 7]})
    assert "fail_in_the_end" in "".join(getattr(error, "__notes__", ())), "no remote traceback"
    assert result.metadata.attempt == 2


class PassingError(AM2ZError):
    """An application's own error, which says that another try may help."""

    code = "PASSING"
    retryable = True


class LastingError(PassingError):
    """One that says that it does not."""

    retryable = False


class PlainError(AM2ZError):
    """One that says nothing of it."""


WORTH_ANOTHER_TRY: list[tuple[AM2ZError, bool]] = [
    (ProcessorExecutionError("broke"), True),
    (ExecutionTimeoutError("late"), True),
    (ResourceError("full"), True),
    (NetworkError("away"), True),
    (StateConflictError("changed"), True),
    (LockLostError("lost"), True),
    (LeaseLostError("lost"), True),
    (PassingError("for now"), True),
    (ValidationError("count"), False),
    (BusinessError("refused"), False),
    (ProcessorNotFoundError("nobody"), False),
    (CallDepthExceededError("deep"), False),
    (PoisonExecutionError("poison"), False),
    (StateCorruptError("corrupt"), False),
    (StateNotFoundError("absent"), False),
    (UnsupportedCapability("no"), False),
    (LastingError("for good"), False),
    (PlainError("plain"), False),
]
"""Errors that a processor may raise or pass on, and whether the next attempt may go better."""


@rule("ERR-031")
async def test_each_kind_of_error_is_tried_again_or_not_as_it_says(kit: Kit) -> None:
    attempts = [0] * len(WORTH_ANOTHER_TRY)

    async def fail(state: TestState, _ctx: Context) -> NoReturn:
        attempts[state.count] += 1
        raise WORTH_ANOTHER_TRY[state.count][0]

    policy = RetryPolicy(max_attempts=2, backoff=0)
    async with kit.runtime(make("fail", fail, retry=policy)) as runtime:
        states = [TestState(count=number) for number in range(len(attempts))]
        results = await runtime.execute_many("fail", states)
    for (error, is_retryable), result, number in zip(
        WORTH_ANOTHER_TRY, results, attempts, strict=True
    ):
        name = type(error).__name__
        assert number == (2 if is_retryable else 1), f"{name}: {number} attempts of at most 2"
        assert result.error is not None
        assert type(result.error) is type(error), f"{name} became {type(result.error).__name__}"
        assert (result.error.code, result.error.retryable) == (type(error).code, is_retryable)
