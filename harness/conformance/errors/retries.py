"""What is tried again, how often and when."""

from __future__ import annotations

from typing import Any, cast

import trio

from am2z import (
    BusinessError,
    ConfigurationError,
    Context,
    ExecutionCancelledError,
    NetworkError,
    Processor,
    ProcessorResult,
    ResourceError,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    SessionStoppedError,
    chain,
    processor,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    assert_waited,
    flaky,
    increment,
    make,
    within,
)
from harness.conformance._watching import events_of
from harness.conformance.errors._shared import THRICE, OutOfStockError
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("ERR-003")
async def test_every_attempt_has_its_full_time(kit: Kit) -> None:
    async def hang_twice(state: TestState, ctx: Context) -> TestState:
        if ctx.metadata.attempt < 3:
            await trio.sleep_forever()
        if kit.virtual_time:  # a busy machine could stretch it beyond the timeout
            await trio.sleep(0.01)
        return state.evolve(processed=True)

    hanging = make("hanging", hang_twice, timeout=0.03, retry=THRICE)
    async with kit.runtime(hanging) as runtime:
        began = trio.current_time()
        with within(kit, "the end of three attempts"):
            result = await runtime.execute(hanging, TestState())
        took = trio.current_time() - began
    assert result.success, repr(result.error)
    assert result.metadata.attempt == 3
    assert_waited(kit, [took], [0.03 + 0.03 + (0.01 if kit.virtual_time else 0.0)])
    if kit.virtual_time:
        assert_waited(kit, [result.execution_time], [0.01])  # what the last attempt took


@rule("ERR-004")
async def test_a_later_success_is_a_success(kit: Kit) -> None:
    runs: list[int] = []
    errors = [NetworkError("gone"), OSError("away")]
    unsteady = flaky("unsteady", errors, retry=THRICE, runs=runs)
    async with kit.runtime(unsteady) as runtime:
        result = await runtime.execute(unsteady, TestState(count=1))
    assert result.success, f"the caller got {result.error!r} of an earlier attempt"
    assert result.error is None
    assert result.state.count == 2
    assert result.metadata.attempt == 3
    assert runs == [1, 2, 3]
    await _look_at_plain_functions(kit)


async def _look_at_plain_functions(kit: Kit) -> None:
    """What runs in a thread is tried again as everything else is, and as a step, too."""
    runs: list[int] = []

    @processor(retry=THRICE)
    def plain(state: TestState, ctx: Context) -> TestState:
        runs.append(ctx.metadata.attempt)
        if ctx.metadata.attempt < 3:
            raise NetworkError("gone")
        return state.evolve(count=state.count + 1)

    whole: Processor[TestState] = chain("whole", [plain])
    async with kit.runtime(whole) as runtime:
        for one in (plain, whole):
            result = await runtime.execute(one, TestState(count=1))
            assert result.success, repr(result.error)
            assert result.state.count == 2
    assert runs == [1, 2, 3] * 2


@rule("ERR-005")
async def test_attempts_are_counted_exactly(kit: Kit) -> None:
    runs: list[int] = []
    errors = [NetworkError("gone")] * 9
    thrice = flaky("thrice", errors, retry=THRICE, runs=runs)
    once = make("once", cast("Any", thrice.fn))
    async with kit.runtime(thrice, once) as runtime:
        result = await runtime.execute(thrice, TestState())
        assert isinstance(result.error, NetworkError)
        assert runs == [1, 2, 3]
        assert result.metadata.attempt == 3
        runs.clear()
        await runtime.execute(once, TestState())
        assert runs == [1], "it was tried again without a retry policy"


@rule("ERR-006")
async def test_waits_grow_up_to_their_limit(kit: Kit) -> None:
    starts, ends = list[float](), list[float]()
    unit = kit.timeout / 10 if kit.virtual_time else 0.01  # scaled as the limits are
    policy = RetryPolicy(max_attempts=6, backoff=unit, multiplier=2.0, max_backoff=6 * unit)

    async def fail(_state: TestState, _ctx: Context) -> TestState:
        starts.append(trio.current_time())
        await trio.sleep(unit)  # a wait that is counted from the start of an attempt is too short
        ends.append(trio.current_time())
        raise NetworkError("gone")

    retried, runs = trio.Event(), list[int]()
    hourly = RetryPolicy(backoff=3600.0, max_backoff=3600.0, on_retry=lambda _error: retried.set())
    failing = make("failing", fail, retry=policy)
    patient = flaky("patient", [NetworkError("gone")] * 2, retry=hourly, runs=runs)
    async with kit.runtime(failing, patient) as runtime:
        handle = await runtime.submit(patient, TestState())
        with within(kit, "the first attempt"):
            await retried.wait()
        await runtime.execute(failing, TestState())
        assert runs == [1], "an attempt began an hour too early"
        await handle.cancel()
    waits = [later - sooner for sooner, later in zip(ends, starts[1:], strict=False)]
    assert_waited(kit, waits, [factor * unit for factor in (1, 2, 4, 6, 6)])
    # What is told of each wait: uneven, and never further from the even one than jitter says.
    spread = RetryPolicy(max_attempts=12, backoff=1e-4, multiplier=1.0, jitter=0.5)
    uneven_ones = flaky("uneven_ones", [NetworkError("gone")] * 12, retry=spread)
    async with kit.runtime(uneven_ones) as runtime:
        with TestEventCollector(runtime) as events:
            await runtime.execute(uneven_ones, TestState())
            delays = [event.data["delay"] for event in events.events("processor:retrying")]
    assert all(0.5e-4 - 1e-9 <= delay <= 1.5e-4 + 1e-9 for delay in delays), delays
    assert len(set(delays)) > 1, "every wait is the same, in spite of jitter"
    if kit.virtual_time:  # where time is real, nobody can tell that a wait was too long
        starts.clear()
        ends.clear()
        uneven = RetryPolicy(max_attempts=12, backoff=unit / 9, max_backoff=unit / 9, jitter=1.0)
        wavering = make("wavering", fail, retry=uneven)
        async with kit.runtime(wavering) as runtime:
            await runtime.execute(wavering, TestState())
        waits = [later - sooner for sooner, later in zip(ends, starts[1:], strict=False)]
        assert max(waits) <= unit / 9 + 1e-6, f"jitter led beyond max_backoff: {max(waits)}"


@rule("ERR-011")
async def test_should_retry_decides(kit: Kit) -> None:
    asked: list[tuple[str, int]] = []

    def while_away(error: Exception, attempt: int) -> bool:
        asked.append((str(error), attempt))
        return "away" in str(error)

    async def always(_error: Exception) -> bool:
        return True

    runs: list[int] = []
    choosy = RetryPolicy(max_attempts=9, backoff=0, should_retry=while_away)
    errors = [NetworkError("away"), NetworkError("away"), NetworkError("closed for good")]
    picky = flaky("picky", errors, retry=choosy)
    eager = RetryPolicy(max_attempts=2, backoff=0, should_retry=always)
    stubborn = flaky("stubborn", [NetworkError("away")] * 9, retry=eager, runs=runs)
    async with kit.runtime(picky, stubborn) as runtime:
        result = await runtime.execute(picky, TestState())
        await runtime.execute(stubborn, TestState())
    assert "closed for good" in str(result.error)
    assert asked == [("away", 1), ("away", 2), ("closed for good", 3)]
    assert runs == [1, 2], "should_retry went beyond max_attempts"


@rule("ERR-014")
async def test_what_cannot_help_is_not_tried_again(kit: Kit) -> None:
    async def always(_error: Exception) -> bool:
        return True

    hopeless = NetworkError("gone for good")
    hopeless.retryable = False
    errors = (OutOfStockError("chair", wanted=2), BusinessError("no"), ConfigurationError("bad"))
    policies = [
        RetryPolicy(max_attempts=3, backoff=0, should_retry=hook)
        for hook in (None, always, lambda _error: False)  # it may refuse an attempt, and give none
    ]
    async with kit.runtime() as runtime:
        for policy in policies:
            for error in (hopeless, *errors):
                runs: list[int] = []
                failing = flaky("failing", [error] * 3, retry=policy, runs=runs)
                whole: Processor[TestState] = chain("whole", [failing])
                runtime.register(failing, whole)
                await runtime.sync_processors()
                for one in (failing, whole):
                    runs.clear()
                    result = await runtime.execute(one, TestState())
                    assert isinstance(result.error, type(error))
                    assert runs == [1], f"{type(error).__name__} was tried again"


@rule("ERR-015")
async def test_the_last_error_is_the_answer(kit: Kit) -> None:
    errors = [NetworkError("first"), ResourceError("second"), OSError("third")]
    failing = flaky("failing", errors, retry=THRICE)
    async with kit.runtime(failing) as runtime:
        result = await runtime.execute(failing, TestState())
    assert "third" in str(result.error), f"the caller got {result.error!r}"
    assert result.metadata.attempt == 3


@rule("ERR-023")
async def test_waiting_for_the_next_attempt_holds_no_slot(kit: Kit) -> None:
    retried = trio.Event()
    policy = RetryPolicy(backoff=20.0, on_retry=lambda _error: retried.set())
    failing = flaky("failing", [NetworkError("gone")] * 2, retry=policy)
    async with kit.runtime(failing, increment, config=RuntimeConfig(concurrency=1)) as runtime:
        delayed = await runtime.submit(failing, TestState())
        with within(kit, "the first attempt"):
            await retried.wait()
        with within(kit, "work beside an execution that waits for its next attempt"):
            result = await runtime.execute(increment, TestState())
        await delayed.cancel()
        assert result.success
        await _end_in_the_back_off(kit, runtime)


async def _end_in_the_back_off(kit: Kit, runtime: Runtime) -> None:
    """It has run: so its end there is told as that of every execution that has."""

    async def end(session_id: str | None) -> ProcessorResult[TestState]:
        handle = await runtime.submit("failing", TestState(), session_id)
        await wait_for_condition(
            lambda: "processor:retrying" in events_of(events, handle.execution_id),
            kit.timeout,
            message="the first attempt to fail",
        )
        await (runtime.stop_session("stopped") if session_id == "stopped" else handle.cancel())
        return await handle.result()

    with TestEventCollector(runtime) as events:
        ended = [await end(session_id) for session_id in (None, "cancelled", "stopped")]
        told = [events_of(events, one.metadata.execution_id) for one in ended]
    began = ["processor:active", "processor:retrying"]
    assert told == [[*began, "processor:failed", "queue:failed"]] * 3, told
    assert isinstance(ended[1].error, ExecutionCancelledError), repr(ended[1].error)
    assert isinstance(ended[2].error, SessionStoppedError), repr(ended[2].error)
