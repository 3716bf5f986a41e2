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
from harness.conformance._watching import exact
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

SAMPLES = (0, 7, len(KINDS) - 3, len(KINDS) - 2, len(KINDS) - 1)
"""Those that are told in every way: with data, worth another try, and the three of their own."""

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
    return {k: v for k, v in told.items() if exact(expected.get(k, missing)) != exact(v)}


class _Teller:
    """Processors that fail with the kind that ``count`` numbers, and what was told of it."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], object] = {}
        self.raising = make("raising", self._raise)
        returning, calling = make("returning", self._return), make("calling", self._call)
        in_place: Processor[TestState] = chain("in_place", [self.raising])
        by_name: Processor[TestState] = chain("by_name", ["raising"])
        beside = parallel("beside", [self.raising])
        self.ways = [returning, calling, in_place, by_name, beside]
        self.again = {number: self._again(number) for number in SAMPLES}

    def work(self) -> list[tuple[Processor[TestState], int]]:
        """Every kind is raised, and some are told in every other way, too."""
        samples = [(one, number) for number in SAMPLES for one in (*self.ways, self.again[number])]
        return [*((self.raising, number) for number in range(len(KINDS))), *samples]

    def _again(self, number: int) -> Processor[TestState]:
        def hear(where: str) -> Callable[[AM2ZError], bool]:
            def note(error: AM2ZError) -> bool:
                self.told[where, number] = error
                return True

            return note

        policy = RetryPolicy(
            max_attempts=2,
            backoff=0,
            should_retry=hear("should_retry"),
            on_retry=hear("on_retry"),
            on_exhausted=hear("on_exhausted"),
        )
        return make(f"again {number}", self._raise, retry=policy)

    async def _raise(self, state: TestState, _ctx: Context) -> TestState:
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
    processors = teller.raising, *teller.ways, *teller.again.values()
    async with kit.runtime(*processors) as runtime:
        with TestEventCollector(runtime) as events:
            pairs = [(one, TestState(count=number)) for one, number in teller.work()]
            results = await runtime.execute_many(pairs)
            letters = {one.execution_id: one.error for one in await runtime.dead.list()}
            told = events.events("*:failed") + events.events("processor:retrying")
    for (one, number), result in zip(teller.work(), results, strict=True):
        execution_id = result.metadata.execution_id
        teller.told[f"the result of {one.name}", number] = result.error
        teller.told[f"the dead letter of {one.name}", number] = letters[execution_id]
        for event in told:
            if event.execution_id == execution_id:
                teller.told[f"{event.type} of {one.name}", number] = event.data["error"]
        if one.name in ("in_place", "by_name", "beside"):
            assert result.error is not None
            assert result.error.failed_processor == "raising"
    _look_at(teller)


def _look_at(teller: _Teller) -> None:
    """What was told is what was raised, and it was told in all places."""
    for (where, number), error in teller.told.items():
        differences = _differences(described(KINDS[number]()), described(error))
        assert not differences, f"{where} tells of {KINDS[number]()!r} otherwise: {differences}"
    for number, make_error in enumerate(KINDS):
        places = {where for where, known in teller.told if known == number}
        ways = sum(known == number for _, known in teller.work())
        others = number in SAMPLES, number in SAMPLES and make_error().retryable
        # For each its result, letter and two ends; what was called with; three hooks and an event.
        expected = 4 * ways + others[0] + 4 * others[1]
        assert len(places) == expected, f"{make_error()!r} was told in {sorted(places)}"
