"""Errors are collected, logged, translated, bound in time and retried; cancellation passes."""

import gc
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import outcome
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from am2z import resilience
from am2z.errors import (
    AM2ZError,
    BusinessError,
    ConfigurationError,
    ErrorSeverity,
    ExecutionTimeoutError,
    NetworkError,
    ProcessorExecutionError,
    StateCorruptError,
    ValidationError,
)
from am2z.policy import RetryPolicy
from am2z.resilience import (
    extract_errors_from_results,
    extract_first_error,
    handle_error,
    retry_with_backoff,
    with_error_handling,
    with_timeout,
)
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.state import AppState

LOGGER = logging.getLogger("am2z.test_resilience")
SECRET = "hunter2"


def raised(error: Exception) -> Exception:
    """``error`` with a traceback, as a caught one has it."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def result(
    name: str, error: AM2ZError | None = None, *, success: bool | None = None
) -> ProcessorResult[AppState]:
    return ProcessorResult(
        success=error is None if success is None else success,
        state=AppState(),
        error=error,
        metadata=ExecutionMetadata(processor_name=name, execution_id="e", session_id="s"),
    )


class Failing:
    """An async function that raises the given errors one by one, then gives ``"done"``."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.times: list[float] = []

    async def __call__(self) -> str:
        self.times.append(trio.current_time())
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def cancelled(fn: Callable[[], Awaitable[object]]) -> None:
    """Call ``fn`` in a scope that is cancelled already, and see the cancellation arrive."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await fn()
    assert scope.cancelled_caught


# extract_errors_from_results


@given(st.lists(st.sampled_from(["value", "own", "foreign"])))
def test_exactly_the_errors_come_out_in_their_order(kinds: list[str]) -> None:
    makers: dict[str, Callable[[int], outcome.Maybe[int]]] = {
        "value": outcome.Value,
        "own": lambda n: outcome.Error(BusinessError(str(n))),
        "foreign": lambda n: outcome.Error(OSError(str(n))),
    }
    outcomes = [makers[kind](n) for n, kind in enumerate(kinds)]
    errors = extract_errors_from_results(outcomes, "ctx")
    expected = [n for n, kind in enumerate(kinds) if kind != "value"]
    assert [int(error.message.rpartition(" ")[2]) for error in errors] == expected
    # They are not used up: each can still be unwrapped.
    for one, kind in zip(outcomes, kinds, strict=True):
        assert isinstance(outcome.capture(one.unwrap), outcome.Value) == (kind == "value")


def test_an_error_of_ours_stays_itself_and_a_foreign_one_is_the_cause() -> None:
    own, foreign = BusinessError("no"), OSError("broken")
    first, second = extract_errors_from_results(
        [outcome.Error(own), outcome.Error(foreign)], "fetching"
    )
    assert first is own
    assert first.context == {"error_context": "fetching"}
    assert isinstance(second, ProcessorExecutionError)
    assert second.message == "fetching: OSError: broken"
    assert second.__cause__ is foreign


@pytest.mark.trio
async def test_a_captured_cancellation_passes() -> None:
    async def collect() -> None:
        captured = await outcome.acapture(trio.sleep_forever)
        extract_errors_from_results([captured], "")
        raise AssertionError("the cancellation was swallowed")

    await cancelled(collect)


# extract_first_error


def test_where_all_succeeded_there_is_no_first_error() -> None:
    assert extract_first_error([result("a"), result("b")], "c", "e") is None
    assert extract_first_error([]) is None


def test_the_first_error_learns_where_it_happened() -> None:
    results = [result("a"), result("b", BusinessError("no")), result("c", BusinessError("later"))]
    error = extract_first_error(results, "checkout", "e1")
    assert error is results[1].error
    assert error is not None
    assert error.failed_processor == "b"
    assert error.context == {"composition_name": "checkout", "execution_id": "e1"}


def test_what_the_first_error_knows_already_is_kept() -> None:
    known = BusinessError("no", context={"execution_id": "inner", "composition_name": "inner"})
    known.failed_processor = "inner"
    error = extract_first_error([result("outer", known)], "outer", "outer")
    assert error is known
    assert error.failed_processor == "inner"
    assert error.context == {"execution_id": "inner", "composition_name": "inner"}


def test_without_a_composition_the_context_stays_as_it_is() -> None:
    error = extract_first_error([result("a", BusinessError("no"))])
    assert error is not None
    assert error.context == {}


def test_a_failure_without_an_error_is_a_failure_still() -> None:
    error = extract_first_error([result("a", success=False)])
    assert isinstance(error, ProcessorExecutionError)
    assert error.message == "a failed and did not say why"


# handle_error


class OddError(AM2ZError):
    severity = "unheard of"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (ValidationError("age"), logging.WARNING),
        (ExecutionTimeoutError("late"), logging.WARNING),
        (NetworkError("gone"), logging.ERROR),
        (OSError("foreign"), logging.ERROR),
        (StateCorruptError("bits"), logging.CRITICAL),
        (OddError("?"), logging.ERROR),
    ],
)
def test_the_level_follows_the_severity(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    handle_error(error, LOGGER)
    assert [record.levelno for record in caplog.records] == [level]


def test_an_error_is_logged_once_however_often_it_is_handled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = handle_error(OSError("broken"), LOGGER, {"order": 7})
    assert handle_error(error, LOGGER, {"order": 8, "user": "ada"}) is error
    assert error.context == {"order": 7, "user": "ada"}
    assert caplog.messages == [
        "ProcessorExecutionError: OSError: broken [PROCESSOR_EXECUTION_FAILED] order=7"
    ]


def test_that_an_error_was_logged_does_not_travel_with_it_and_is_not_remembered_for_ever() -> None:
    error = handle_error(NetworkError("gone"), LOGGER)
    assert set(error.to_dict()["fields"]) == {"endpoint"}
    remembered = resilience._logged[id(error)]
    assert remembered() is error
    del error
    gc.collect()
    assert remembered() is None
    assert remembered not in resilience._logged.values()


def test_a_serious_error_comes_with_the_traceback_of_its_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handle_error(raised(OSError("broken")), LOGGER)
    handle_error(raised(NetworkError("gone")), LOGGER)
    handle_error(raised(BusinessError("no")), LOGGER)
    assert ["Traceback" in message for message in caplog.messages] == [True, True, False]


def test_no_secret_reaches_the_log_but_the_error_keeps_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    foreign = raised(OSError(f"cannot reach redis://:{SECRET}@db"))
    error = handle_error(foreign, LOGGER, {"password": SECRET, "nested": [{"api_key": SECRET}]})
    # What a formatter sees, and what one that dumps the whole record sees.
    assert SECRET not in caplog.text
    assert SECRET not in repr(vars(caplog.records[0]))
    assert "redis://:***@db" in caplog.text
    assert error.context["password"] == SECRET


def test_an_adapter_serves_as_the_logger_too(caplog: pytest.LogCaptureFixture) -> None:
    handle_error(BusinessError("100 %"), logging.LoggerAdapter(LOGGER, {}))
    assert caplog.messages == ["BusinessError: 100 % [BUSINESS_RULE]"]


def test_an_error_below_the_level_is_handled_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, LOGGER.name):
        handle_error(NetworkError("gone"), LOGGER)
    assert caplog.records == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_is_no_exception_is_raised_again_and_not_logged(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(type(error)):
        handle_error(error, LOGGER)
    assert caplog.records == []


# with_error_handling


@pytest.mark.trio
async def test_a_success_passes_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert await with_error_handling(Failing(), "x", LOGGER) == "done"
    assert caplog.records == []


@pytest.mark.trio
async def test_a_foreign_error_is_raised_as_ours_with_the_context_and_the_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    foreign = OSError("broken")
    with pytest.raises(ProcessorExecutionError) as caught:
        await with_error_handling(Failing(foreign), "fetching", LOGGER)
    assert caught.value.message == "fetching: OSError: broken"
    assert caught.value.__cause__ is foreign
    assert len(caplog.records) == 1


@pytest.mark.trio
async def test_an_error_of_ours_is_raised_as_itself_and_nested_handling_logs_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = BusinessError("no")
    with pytest.raises(BusinessError) as caught:
        await with_error_handling(
            lambda: with_error_handling(Failing(own), "inner", LOGGER), "outer", LOGGER
        )
    assert caught.value is own
    assert own.context == {"error_context": "inner"}
    assert len(caplog.records) == 1


@pytest.mark.trio
async def test_without_a_logger_an_error_is_translated_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ProcessorExecutionError):
        await with_error_handling(Failing(OSError()), "x")
    assert caplog.records == []


@pytest.mark.trio
async def test_cancellation_passes_error_handling(caplog: pytest.LogCaptureFixture) -> None:
    await cancelled(lambda: with_error_handling(trio.sleep_forever, "x", LOGGER))
    assert caplog.records == []


# with_timeout


@pytest.mark.trio
async def test_within_its_time_a_function_gives_its_value(autojump_clock: MockClock) -> None:
    async def fn() -> str:
        await trio.sleep(4.9)
        return "done"

    assert await with_timeout(fn, 5) == "done"


@pytest.mark.trio
@pytest.mark.parametrize(
    ("message", "expected"), [(None, "it took longer than 5 s"), ("too slow", "too slow")]
)
async def test_past_its_time_a_function_is_stopped(
    message: str | None, expected: str, autojump_clock: MockClock
) -> None:
    with pytest.raises(ExecutionTimeoutError, match=expected) as caught:
        await with_timeout(trio.sleep_forever, 5, message)
    assert caught.value.context == {"timeout": 5}
    assert trio.current_time() == pytest.approx(5)


@pytest.mark.trio
async def test_a_timeout_of_the_function_itself_passes_as_it_is(autojump_clock: MockClock) -> None:
    async def impatient() -> None:
        with trio.fail_after(1):
            await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        await with_timeout(impatient, 5)
    with pytest.raises(ExecutionTimeoutError, match="inner"):
        await with_timeout(lambda: with_timeout(trio.sleep_forever, 1, "inner"), 5, "outer")
    with pytest.raises(ExecutionTimeoutError, match="outer"):
        await with_timeout(lambda: with_timeout(trio.sleep_forever, 5, "inner"), 1, "outer")


@pytest.mark.trio
async def test_the_callers_cancellation_is_no_timeout() -> None:
    await cancelled(lambda: with_timeout(trio.sleep_forever, 5))


@pytest.mark.trio
async def test_no_time_at_all_lasts_up_to_the_first_wait() -> None:
    assert await with_timeout(Failing(), 0) == "done"
    with pytest.raises(ExecutionTimeoutError):
        await with_timeout(trio.lowlevel.checkpoint, 0)


@pytest.mark.trio
@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), None])
async def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout is"):
        await with_timeout(Failing(), timeout)


# retry_with_backoff


@pytest.mark.trio
async def test_it_waits_longer_each_time_and_gives_the_first_success(
    autojump_clock: MockClock,
) -> None:
    fn = Failing(OSError("1"), OSError("2"), OSError("3"))
    begin = trio.current_time()
    answer = await retry_with_backoff(
        fn, max_attempts=4, initial_delay=1, multiplier=3, max_delay=5
    )
    assert answer == "done"
    assert [at - begin for at in fn.times] == pytest.approx([0, 1, 4, 9])


@pytest.mark.trio
async def test_the_last_attempts_error_is_raised(autojump_clock: MockClock) -> None:
    last = OSError("3")
    with pytest.raises(OSError, match="3") as caught:
        await retry_with_backoff(Failing(OSError("1"), OSError("2"), last))
    assert caught.value is last
    assert caught.value.__context__ is None


@pytest.mark.trio
async def test_an_error_that_is_not_retryable_is_raised_at_once() -> None:
    fn = Failing(BusinessError("no"))
    asked: list[object] = []
    with pytest.raises(BusinessError):
        await retry_with_backoff(fn, should_retry=lambda *args: bool(asked.append(args)) or True)
    assert len(fn.times) == 1
    assert asked == []


@pytest.mark.trio
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_hooks_decide_and_hear_of_every_retry(
    asynchronous: bool, autojump_clock: MockClock
) -> None:
    heard: list[tuple[str, int, float]] = []

    def should_retry(error: Exception, attempt: int) -> bool:
        return "give up" not in str(error)

    def on_retry(error: Exception, attempt: int) -> None:
        heard.append((str(error), attempt, trio.current_time()))

    async def should_retry_later(error: Exception, attempt: int) -> bool:
        await trio.lowlevel.checkpoint()
        return should_retry(error, attempt)

    async def on_retry_later(error: Exception, attempt: int) -> None:
        await trio.lowlevel.checkpoint()
        on_retry(error, attempt)

    with pytest.raises(NetworkError, match="give up"):
        await retry_with_backoff(
            Failing(OSError("a"), NetworkError("b"), NetworkError("give up"), OSError("never")),
            max_attempts=9,
            initial_delay=1,
            should_retry=should_retry_later if asynchronous else should_retry,
            on_retry=on_retry_later if asynchronous else on_retry,
        )
    assert heard == [("a", 1, 0.0), ("b", 2, 1.0)]


@given(
    attempts=st.integers(1, 6),
    backoff=st.floats(0, 5),
    multiplier=st.floats(1, 4),
    maximum=st.floats(0, 20),
    jitter=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_the_waits_are_those_of_the_retry_policy(
    *, attempts: int, backoff: float, multiplier: float, maximum: float, jitter: float, seed: int
) -> None:
    fn = Failing(*[OSError(str(n)) for n in range(attempts)])

    async def main() -> None:
        with pytest.raises(OSError, match=f"^{attempts - 1}$"):
            await retry_with_backoff(
                fn,
                max_attempts=attempts,
                initial_delay=backoff,
                max_delay=maximum,
                multiplier=multiplier,
                jitter=jitter,
                rng=random.Random(seed),
            )

    trio.run(main, clock=MockClock(autojump_threshold=0))
    policy = RetryPolicy(backoff=backoff, max_backoff=maximum, multiplier=multiplier, jitter=jitter)
    rng = random.Random(seed)
    waits = [policy.delay(attempt, rng) for attempt in range(1, attempts)]
    took = [later - earlier for earlier, later in zip(fn.times, fn.times[1:], strict=False)]
    assert took == pytest.approx(waits, abs=1e-6)


@pytest.mark.trio
async def test_cancellation_is_never_retried_and_ends_a_wait_at_once(
    autojump_clock: MockClock,
) -> None:
    await cancelled(lambda: retry_with_backoff(trio.sleep_forever))
    fn = Failing(OSError("1"), OSError("2"))
    with trio.move_on_after(5) as scope:
        await retry_with_backoff(fn, initial_delay=100, max_delay=100)
    assert scope.cancelled_caught
    assert len(fn.times) == 1
    assert trio.current_time() == pytest.approx(5)


@pytest.mark.trio
async def test_a_keyboard_interrupt_is_never_retried() -> None:
    fn = Failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await retry_with_backoff(fn)
    assert len(fn.times) == 1


@pytest.mark.trio
@pytest.mark.parametrize(
    "options", [{"max_attempts": 0}, {"initial_delay": -1}, {"multiplier": 0.5}, {"jitter": 2}]
)
async def test_numbers_that_make_no_sense_are_refused_before_anything_runs(
    options: dict[str, Any],
) -> None:
    fn = Failing()
    with pytest.raises(ConfigurationError):
        await retry_with_backoff(fn, **options)
    assert fn.times == []


def test_every_severity_has_a_level() -> None:
    assert set(resilience._LEVELS) == set(ErrorSeverity)
