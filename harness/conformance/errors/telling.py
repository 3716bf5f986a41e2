"""One error in every place in which it is told: as it was raised, wherever one looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from am2z import (
    AM2ZError,
    BusinessError,
    CallDepthExceededError,
    ConfigurationError,
    Context,
    ErrorCategory,
    ErrorSeverity,
    ExecutionTimeoutError,
    Failure,
    LeaseLostError,
    LockLostError,
    NetworkError,
    PayloadTooLargeError,
    PoisonExecutionError,
    Processor,
    ProcessorExecutionError,
    ProcessorNotFoundError,
    ResourceError,
    RetryPolicy,
    StateConflictError,
    StateCorruptError,
    StateNotFoundError,
    UnsupportedCapability,
    ValidationError,
    chain,
    parallel,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import make
from harness.conformance.errors._shared import OutOfStockError
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

PLAIN: dict[str, Any] = {
    "text": "na\u00efve \U0001f600",
    "empty": "",
    "nothing": None,
    "truth": [True, False],
    "numbers": [0, -7, 2**62, 0.5],
    "deep": {"deeper": {"deepest": [{}, {"still": []}]}},
}
"""Data of every kind that an error may carry."""


def _of_its_own() -> AM2ZError:
    """One that differs from its class in all that every error has."""
    error = NetworkError("unlike the others", "https://stock.example")
    error.code, error.retryable = "OWN", False
    error.category, error.severity = ErrorCategory.BUSINESS, ErrorSeverity.LOW
    return error


def _noted() -> AM2ZError:
    error = BusinessError("with notes", "NOTED")
    for note in ("look into the ledger", "and ask \U0001f600"):
        error.add_note(note)
    return error


def _caused() -> AM2ZError:
    """An error of an error of an error that is none of ours."""
    first = NetworkError("no answer", "https://stock.example", context={"try": 3})
    second = OutOfStockError("chair", wanted=3).with_cause(first.with_cause(OSError("cut off")))
    return BusinessError("no order", "NO_ORDER").with_cause(second)


KINDS: list[Callable[[], AM2ZError]] = [
    lambda: ValidationError("items[0].price", "is negative", -1.5, context=PLAIN),
    lambda: ValidationError("count"),
    lambda: ValidationError("items", "is none of these", ["a", {"b": None}]),
    lambda: BusinessError("refused", context=PLAIN),
    lambda: BusinessError("no credit", "NO_CREDIT"),
    lambda: ResourceError("no room", "disk", 10, 11.5, context=PLAIN),
    lambda: ResourceError("no room", limit=0, current=0),
    lambda: NetworkError("no answer", "https://stock.example", context=PLAIN),
    lambda: NetworkError("two\nlines"),
    lambda: ProcessorNotFoundError("nobody", ("a", "b"), context=PLAIN),
    lambda: OutOfStockError("chair", wanted=0),
    lambda: ConfigurationError("bad", context=PLAIN),
    lambda: ProcessorExecutionError("broke", context=PLAIN),
    lambda: ExecutionTimeoutError("late"),
    lambda: CallDepthExceededError("deep"),
    lambda: StateConflictError("changed"),
    lambda: StateCorruptError("corrupt"),
    lambda: StateNotFoundError("absent"),
    lambda: LeaseLostError("away"),
    lambda: LockLostError("away"),
    lambda: PoisonExecutionError("poison"),
    lambda: PayloadTooLargeError("large"),
    lambda: UnsupportedCapability("no"),
    lambda: AM2ZError("plain \U0001f600", context=PLAIN),
    _of_its_own,
    _noted,
    _caused,
]
"""Every class that a processor may raise, with all that it can carry, and with nothing."""

_GIVEN_BY_THE_RUNTIME = frozenset({"failed_processor", "__notes__"})


def described(error: object) -> dict[str, Any]:
    """All that an error says, and of its causes too; those that are none of ours by their text."""
    if not isinstance(error, AM2ZError):
        return {"class": type(error).__name__}
    cause: Any = error.__cause__
    if isinstance(cause, AM2ZError):
        cause = described(cause)
    elif cause is not None:
        cause = str(cause).rpartition(": ")[2]  # from elsewhere it comes with its class's name
    notes = [note for note in getattr(error, "__notes__", ()) if "Traceback" not in note]
    fields = {k: v for k, v in vars(error).items() if k not in _GIVEN_BY_THE_RUNTIME}
    return {
        **fields,
        "class": type(error),
        "text": str(error),
        "code": error.code,
        "category": error.category,
        "severity": error.severity,
        "retryable": error.retryable,
        "notes": notes,
        "cause": cause,
    }


def _differences(expected: dict[str, Any], actual: dict[str, Any]) -> dict[str, Any]:
    """What is told otherwise; what is not told at all is not even ``None``."""
    missing = "<not there>"
    told = {key: actual.get(key, missing) for key in {*expected, *actual}}
    return {key: value for key, value in told.items() if expected.get(key, missing) != value}


class _Teller:
    """Processors that fail with the kind that ``count`` numbers, and what was told of it."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], object] = {}
        policy = RetryPolicy(
            max_attempts=2,
            backoff=0,
            should_retry=self._hear("should_retry", "again"),
            on_retry=self._hear("on_retry", "again"),
            on_exhausted=self._hear("on_exhausted", "again"),
        )
        raising = make("raising", self._raise)
        self.ways: list[Processor[TestState]] = [
            raising,
            make("returning", self._return),
            make("calling", self._call),
            make("again", self._raise, retry=policy),
            chain("in_place", [raising]),
            chain("by_name", ["raising"]),
            parallel("beside", [raising]),
        ]
        self._number = 0

    def _hear(self, where: str, name: str) -> Callable[[AM2ZError], bool]:
        def hear(error: AM2ZError) -> bool:
            self.told[f"{where} of {name}", self._number] = error
            return True

        return hear

    async def _raise(self, state: TestState, _ctx: Context) -> TestState:
        self._number = state.count
        error = KINDS[state.count]()
        raise error

    async def _return(self, state: TestState, _ctx: Context) -> Failure[TestState]:
        return Failure(KINDS[state.count]())

    async def _call(self, state: TestState, ctx: Context) -> TestState:
        answer = await ctx.call("raising", state)
        self.told["ctx.call", state.count] = answer.error
        error = KINDS[state.count]()
        raise error


@rule("ERR-010")
async def test_everything_that_an_error_carries_arrives(kit: Kit) -> None:
    teller = _Teller()
    async with kit.runtime(*teller.ways) as runtime:
        with TestEventCollector(runtime) as events:
            for number in range(len(KINDS)):
                for one in teller.ways:
                    handle = await runtime.submit(one, TestState(count=number))
                    result = await handle.result()
                    teller.told[f"the result of {one.name}", number] = result.error
                    for kind in ("processor:retrying", "processor:failed", "queue:failed"):
                        for event in events.events(kind):
                            if event.execution_id == handle.execution_id:
                                told = event.data["error"]
                                teller.told[f"{kind} of {one.name}", number] = told
                    letter = await runtime.dead.get(handle.execution_id)
                    assert letter is not None, f"{one.name} failed for good and is no dead letter"
                    teller.told[f"the dead letter of {one.name}", number] = letter.error
                    if one.name in ("in_place", "by_name", "beside"):
                        assert result.error is not None
                        assert result.error.failed_processor == "raising"
                events.clear()
    _look_at(teller)


def _look_at(teller: _Teller) -> None:
    """What was told is what was raised, and it was told in all places."""
    for (where, number), error in teller.told.items():
        differences = _differences(described(KINDS[number]()), described(error))
        assert not differences, f"{where} tells of {KINDS[number]()!r} otherwise: {differences}"
    for number, make_error in enumerate(KINDS):
        places = sum(known == number for _, known in teller.told)
        hooks = ("should_retry", "on_retry", "on_exhausted", "processor:retrying")
        expected = 4 * len(teller.ways) + 1 + len(hooks) * make_error().retryable
        assert places == expected, f"{make_error()!r} was told in {places} places of {expected}"
