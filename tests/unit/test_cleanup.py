"""One failing cleanup never keeps the rest from being cleaned, and cancellation always passes."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from am2z.cleanup import (
    batch_cleanup,
    cleanup_resources,
    create_cleanup_error_handler,
    create_timeout_cleanup,
)
from am2z.errors import (
    BusinessError,
    ConfigurationError,
    ExecutionTimeoutError,
    ProcessorExecutionError,
)

LOGGER = logging.getLogger("am2z.test_cleanup")
BAD_TIMES: list[Any] = [0, -1, float("nan"), float("inf"), "1", None]


class Resource:
    """Notes in ``log`` when its cleanup began and ended; may take time or fail."""

    def __init__(
        self,
        name: str,
        log: list[str],
        *,
        takes: float = 0.0,
        error: BaseException | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.takes = takes
        self.error = error

    async def cleanup(self) -> None:
        self.log.append(f"{self.name} begins")
        await trio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        self.log.append(f"{self.name} done")


async def cancelled(fn: Callable[[], Awaitable[object]]) -> None:
    """Call ``fn`` in a scope that is cancelled already, and see the cancellation arrive."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await fn()
    assert scope.cancelled_caught


# create_cleanup_error_handler


def test_the_handler_logs_the_error_without_its_secrets_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    create_cleanup_error_handler("cache", LOGGER)(OSError("redis://:hunter2@db is gone"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "cleaning up cache failed: OSError: redis://:***@db is gone"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), BaseExceptionGroup("", [KeyboardInterrupt()])]
)
def test_the_handler_raises_again_what_is_no_exception(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(type(error)):
        create_cleanup_error_handler("cache", LOGGER)(error)
    assert caplog.records == []


# cleanup_resources


@pytest.mark.trio
async def test_resources_are_cleaned_one_by_one_in_reverse_order() -> None:
    log: list[str] = []
    first, second = Resource("first", log), Resource("second", log)
    assert await cleanup_resources([first, ("second", second.cleanup)], LOGGER) == []
    assert log == ["second begins", "second done", "first begins", "first done"]


@pytest.mark.trio
async def test_every_resource_is_cleaned_and_every_error_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    refused, broken = BusinessError("still in use"), OSError("broken")
    resources = [
        Resource("a", log, error=refused),
        Resource("b", log),
        Resource("c", log, error=broken),
    ]
    wrapped, own = await cleanup_resources(resources, LOGGER)
    assert log == ["c begins", "b begins", "b done", "a begins"]
    assert isinstance(wrapped, ProcessorExecutionError)
    assert wrapped.message == "cleaning up c: OSError: broken"
    assert wrapped.__cause__ is broken
    assert wrapped.context == {"resource": "c"}
    assert own is refused
    assert own.context == {"resource": "a"}
    assert caplog.messages == [
        "cleaning up c failed: OSError: broken",
        "cleaning up a failed: BusinessError: still in use",
    ]


@pytest.mark.trio
async def test_a_cleanup_that_hangs_is_stopped_and_each_has_its_own_time(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    resources = [Resource("a", log, takes=2.9), Resource("b", log, takes=100)]
    (error,) = await cleanup_resources(resources, LOGGER, timeout=3)
    assert isinstance(error, ExecutionTimeoutError)
    assert error.message == "cleaning up b took longer than 3 s"
    assert error.context == {"timeout": 3, "resource": "b"}
    assert log == ["b begins", "a begins", "a done"]
    assert trio.current_time() == pytest.approx(5.9)


@pytest.mark.trio
async def test_a_cancelled_task_still_cleans_up_within_the_time_and_then_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    resources = [Resource("a", log, takes=1), Resource("b", log, takes=100)]
    await cancelled(lambda: cleanup_resources(resources, LOGGER, timeout=2))
    assert log == ["b begins", "a begins", "a done"]
    assert trio.current_time() == pytest.approx(3)


@pytest.mark.trio
async def test_a_keyboard_interrupt_passes_after_the_rest_was_cleaned() -> None:
    log: list[str] = []
    resources = [Resource("a", log), Resource("b", log, error=KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        await cleanup_resources(resources, LOGGER)
    assert log == ["b begins", "a begins", "a done"]


@pytest.mark.trio
async def test_nothing_to_clean_up_is_no_error_but_still_a_checkpoint() -> None:
    assert await cleanup_resources([], LOGGER) == []
    await cancelled(lambda: cleanup_resources([], LOGGER))


@pytest.mark.trio
@pytest.mark.parametrize("timeout", BAD_TIMES)
async def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout is"):
        await cleanup_resources([], LOGGER, timeout=timeout)
    with pytest.raises(ConfigurationError, match="timeout is"):
        create_timeout_cleanup(trio.lowlevel.checkpoint, timeout, "late")


# create_timeout_cleanup


@pytest.mark.trio
async def test_a_cleanup_in_time_gives_its_value_or_its_own_error() -> None:
    async def value() -> int:
        return 7

    async def late() -> int:
        raise trio.TooSlowError

    assert await create_timeout_cleanup(value, 1, "late")() == 7
    with pytest.raises(trio.TooSlowError):
        await create_timeout_cleanup(late, 1, "late")()


@pytest.mark.trio
async def test_a_cleanup_past_its_time_is_stopped_with_the_given_message(
    autojump_clock: MockClock,
) -> None:
    run = create_timeout_cleanup(trio.sleep_forever, 2.5, "the door did not close")
    for expected in (2.5, 5.0):  # the time begins with each call
        with pytest.raises(ExecutionTimeoutError, match="the door did not close"):
            await run()
        assert trio.current_time() == pytest.approx(expected)


@pytest.mark.trio
async def test_a_cleanup_is_shielded_from_the_cancellation_of_its_caller(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    resource = Resource("a", log, takes=1)

    async def clean_and_wait() -> None:
        await create_timeout_cleanup(resource.cleanup, 2, "late")()
        await trio.lowlevel.checkpoint()

    await cancelled(clean_and_wait)
    assert log == ["a begins", "a done"]


# batch_cleanup


@pytest.mark.trio
async def test_a_batch_runs_at_once_and_the_next_one_only_after_it(
    autojump_clock: MockClock,
) -> None:
    running: set[int] = set()
    most: list[set[int]] = []

    async def clean(item: int) -> None:
        running.add(item)
        await trio.testing.wait_all_tasks_blocked()
        most.append(set(running))
        await trio.sleep(item)
        running.remove(item)

    assert await batch_cleanup(range(1, 8), clean, batch_size=3) == []
    assert {frozenset(one) for one in most} == {
        frozenset({1, 2, 3}),
        frozenset({4, 5, 6}),
        frozenset({7}),
    }
    assert trio.current_time() == pytest.approx(3 + 6 + 7)


@given(st.lists(st.booleans(), max_size=25), st.integers(1, 7))
def test_every_item_is_cleaned_once_and_progress_ends_at_the_total(
    fails: list[bool], batch_size: int
) -> None:
    cleaned: list[int] = []
    progress: list[tuple[int, int]] = []

    async def clean(item: int) -> None:
        await trio.lowlevel.checkpoint()
        cleaned.append(item)
        if fails[item]:
            raise OSError(f"no {item}")

    async def main() -> None:
        errors = await batch_cleanup(
            iter(range(len(fails))),
            clean,
            batch_size=batch_size,
            on_progress=lambda completed, total: progress.append((completed, total)),
        )
        expected = [str(item) for item, failing in enumerate(fails) if failing]
        assert [error.message.rpartition("no ")[2] for error in errors] == expected

    trio.run(main)
    assert sorted(cleaned) == list(range(len(fails)))
    assert progress == [(n + 1, len(fails)) for n in range(len(fails))]


@pytest.mark.trio
async def test_errors_come_in_the_items_order_and_name_the_item(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    refused = BusinessError("in use")

    async def clean(item: int) -> None:
        await trio.sleep(10 - item)
        raise refused if item == 1 else OSError("broken")

    first, second = await batch_cleanup([1, 2], clean, logger=LOGGER)
    assert first is refused
    assert second.message == "cleaning up item 2 of 2: OSError: broken"
    assert second.context == {"resource": "item 2 of 2"}
    assert caplog.messages == [
        "cleaning up item 2 of 2 failed: OSError: broken",
        "cleaning up item 1 of 2 failed: BusinessError: in use",
    ]


@pytest.mark.trio
@pytest.mark.parametrize("logger", [LOGGER, None])
async def test_a_progress_report_that_raises_is_logged_and_stops_nothing(
    logger: logging.Logger | None, caplog: pytest.LogCaptureFixture
) -> None:
    cleaned: list[int] = []

    async def clean(item: int) -> None:
        cleaned.append(item)

    def report(completed: int, total: int) -> None:
        raise RuntimeError("no terminal")

    assert await batch_cleanup([1, 2, 3], clean, on_progress=report, logger=logger) == []
    assert sorted(cleaned) == [1, 2, 3]
    assert caplog.messages == ["on_progress failed"] * 3


@pytest.mark.trio
async def test_cancellation_stops_a_batch_at_once(autojump_clock: MockClock) -> None:
    begun: list[int] = []

    async def clean(item: int) -> None:
        begun.append(item)
        await trio.sleep(10)

    with trio.move_on_after(5) as scope:
        await batch_cleanup(range(100), clean, batch_size=2)
    assert scope.cancelled_caught
    assert sorted(begun) == [0, 1]
    assert trio.current_time() == pytest.approx(5)


@pytest.mark.trio
async def test_no_items_are_no_error_but_still_a_checkpoint() -> None:
    async def clean(item: int) -> None:
        raise AssertionError("nothing is there to clean")

    await cancelled(lambda: batch_cleanup([], clean))


@pytest.mark.trio
@pytest.mark.parametrize("size", [0, -1, 1.5, "10"])
async def test_a_batch_size_below_one_is_refused(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        await batch_cleanup([1], trio.sleep, batch_size=size)
