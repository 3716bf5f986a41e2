"""What goes wrong, who is told, and what is tried again."""

from __future__ import annotations

import traceback
from itertools import pairwise
from typing import Any, NoReturn, cast

import pytest
import trio

from am2z import (
    AM2ZError,
    AppState,
    BusinessError,
    CallDepthExceededError,
    ConfigurationError,
    Context,
    ErrorCategory,
    ErrorSeverity,
    ExecutionCancelledError,
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
    ProcessorResult,
    ResourceError,
    ResourceLimits,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    SessionStoppedError,
    StateConflictError,
    StateCorruptError,
    StateNotFoundError,
    ThreadContext,
    UnsupportedCapability,
    ValidationError,
    batch,
    chain,
    parallel,
    processor,
    route,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    Gate,
    assert_waited,
    flaky,
    increment,
    make,
    within,
)
from harness.conformance._watching import events_of
from harness.kit import Kit
from harness.processors import create_error_processor
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

THRICE = RetryPolicy(max_attempts=3, backoff=0)


class OutOfStockError(AM2ZError):
    """An application's own error, with a constructor that nobody else can call."""

    code = "OUT_OF_STOCK"
    category = ErrorCategory.BUSINESS
    severity = ErrorSeverity.CRITICAL

    def __init__(self, sku: str, *, wanted: int) -> None:
        super().__init__(f"{wanted} of {sku} are not there", context={"shelf": ["A", 7]})
        self.sku = sku
        self.wanted = wanted


class Unlike(AppState):
    """A state, but not of the class that the processors take."""

    count: int = 0


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


@rule("ERR-007")
async def test_a_failed_chain_says_how_far_it_came(kit: Kit) -> None:
    after = Gate("after")
    broken = flaky("broken", [OSError("disk full")], retry=RetryPolicy(max_attempts=1))
    in_place: Processor[TestState] = chain(
        "in_place", [increment, "increment", broken, after.processor]
    )
    by_name: Processor[TestState] = chain("by_name", [increment, "broken", after.processor])
    nested: Processor[TestState] = chain("nested", [increment, chain("within", [broken])])
    after.open()
    async with kit.runtime(in_place, by_name, nested) as runtime:
        first = await runtime.execute(in_place, TestState(count=10))
        second = await runtime.execute(by_name, TestState(count=10))
        third = await runtime.execute(nested, TestState(count=10))
    assert not after.runs, "a step ran after the one that failed"
    assert (first.metadata.completed_steps, first.state.count) == (2, 12)
    assert (second.metadata.completed_steps, second.state.count) == (1, 11)
    assert (third.metadata.completed_steps, third.state.count) == (1, 11)
    for result in (first, second, third):
        assert not result.success
        assert isinstance(result.error, ProcessorExecutionError), repr(result.error)
        assert result.error.failed_processor == "broken"
        assert "disk full" in str(result.error.__cause__)
    await _look_at_failed_branches(kit)


async def _look_at_failed_branches(kit: Kit) -> None:
    """Of branches those are counted that were done when the first one failed."""
    done: list[TestState] = []

    async def finish(state: TestState, _ctx: Context) -> TestState:
        done.append(state)
        return state.evolve(count=99)

    async def fail_last(_state: TestState, _ctx: Context) -> TestState:
        await wait_for_condition(lambda: len(done) == 2, kit.timeout, message="two to be done")
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        raise BusinessError("no")

    async def either(state: TestState, ctx: Context) -> TestState:
        return await (fail_last if state.count == 7 else finish)(state, ctx)

    finishing, failing = make("finishing", finish), make("fail_last", fail_last)
    wide = parallel("wide", [finishing, failing, finishing])
    each: Processor[TestState] = batch(
        "each",
        make("either", either),
        split=lambda state: [state.evolve(count=count) for count in (1, 7, 2)],
        join=lambda state, _results: state,
    )
    async with kit.runtime(wide, each) as runtime:
        for one, name in ((wide, "fail_last"), (each, "either")):
            done.clear()
            result = await runtime.execute(one, TestState(count=3))
            assert isinstance(result.error, BusinessError), repr(result.error)
            assert result.error.failed_processor == name
            assert (result.metadata.completed_steps, result.state.count) == (2, 3)
    await _look_at_cut_branches(kit)


async def _look_at_cut_branches(kit: Kit) -> None:
    """The first failure ends the other branches, in place and called; a way names who failed."""
    in_place, called = Gate("in_place"), Gate("called")

    async def fail_then(state: TestState, _ctx: Context) -> TestState:
        await in_place.started.wait()
        await called.started.wait()
        return await refuse(state, _ctx)

    async def refuse(_state: TestState, _ctx: Context) -> TestState:
        raise BusinessError("no")

    refusing = make("refusing", refuse)
    wide = parallel("wide", [in_place.processor, make("fail_then", fail_then), "called"])
    way = route("way", lambda _state: "only", {"only": refusing})
    config = RuntimeConfig(lease=600.0)  # who learns of it with a lease alone learns too late
    async with kit.runtime(wide, way, called.processor, config=config) as runtime:
        with within(kit, "the end of branches of which one failed"):
            cut = await runtime.execute(wide, TestState(count=1))
            await called.ended.wait()
        chosen = await runtime.execute(way, TestState(count=1))
    assert in_place.was_cancelled
    assert called.was_cancelled
    for result, name in ((cut, "fail_then"), (chosen, "refusing")):
        assert isinstance(result.error, BusinessError), repr(result.error)
        assert result.error.failed_processor == name
        assert (result.metadata.completed_steps, result.state.count) == (0, 1)


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


@rule("ERR-009")
async def test_a_missing_processor_is_an_answer_everywhere(kit: Kit) -> None:
    async def ask(state: TestState, ctx: Context) -> TestState:
        answer = await ctx.call("nobody", state)
        assert isinstance(answer.error, ProcessorNotFoundError), repr(answer.error)
        return state.evolve(message="went on")

    asking = make("asking", ask)
    missing_step: Processor[TestState] = chain("missing_step", [increment, "nobody", increment])
    async with kit.runtime(asking, missing_step) as runtime:
        with within(kit, "an answer for work that nobody serves"):
            handle = await runtime.submit("nobody", TestState())
            submitted = await handle.result()
            called = await runtime.execute(asking, TestState())
            chained = await runtime.execute(missing_step, TestState(count=1))
    assert isinstance(submitted.error, ProcessorNotFoundError)
    assert called.unwrap().message == "went on"
    assert isinstance(chained.error, ProcessorNotFoundError)
    assert (chained.metadata.completed_steps, chained.state.count) == (1, 2)


@rule("ERR-010")
async def test_everything_that_an_error_carries_arrives(kit: Kit) -> None:
    context = {"order": 7, "items": ["chair", "desk"], "where": {"shelf": "A", "full": True}}
    error = NetworkError("no answer", endpoint="https://stock.example", context=context)
    failing = flaky("failing", [error], retry=RetryPolicy(max_attempts=1))
    step: Processor[TestState] = chain("step", [failing])
    async with kit.runtime(step) as runtime:
        result = await runtime.execute(step, TestState())
    arrived = result.error
    assert isinstance(arrived, NetworkError), repr(arrived)
    assert arrived.message == "no answer"
    assert arrived.context == context
    assert arrived.code == NetworkError.code
    assert arrived.category == NetworkError.category
    assert arrived.severity == NetworkError.severity
    assert arrived.retryable
    assert arrived.endpoint == "https://stock.example"
    assert arrived.failed_processor == "failing"


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


@rule("ERR-012")
async def test_each_caller_gets_its_own_error(kit: Kit) -> None:
    async def fail_some(state: TestState, ctx: Context) -> TestState:
        for _ in range(state.count % 4):
            await trio.lowlevel.checkpoint()
        if state.count % 3 == 0:
            raise BusinessError(f"number {state.count}", f"CODE_{state.count}")
        if state.count % 3 == 1 and ctx.metadata.attempt == 1:
            raise NetworkError(f"number {state.count} is away")
        return state.evolve(processed=True)

    failing = make("failing", fail_some, retry=THRICE)
    numbers = list(range(45))
    kit.rng.shuffle(numbers)
    async with kit.runtime(failing, config=RuntimeConfig(concurrency=8)) as runtime:
        results = await runtime.execute_many(failing, [TestState(count=n) for n in numbers])
    for number, result in zip(numbers, results, strict=True):
        assert result.state.count == number
        if number % 3 == 0:
            assert result.error is not None
            assert result.error.code == f"CODE_{number}"
        else:
            assert result.success, f"{number}: {result.error!r}"
            assert result.metadata.attempt == (2 if number % 3 == 1 else 1)


@rule("ERR-013")
async def test_a_processor_can_do_without_a_call_that_failed(kit: Kit) -> None:
    async def with_fallback(state: TestState, ctx: Context) -> TestState:
        answer = await ctx.call("failing", state)
        price = answer.state.total if answer.success else 9.5
        return state.evolve(total=price, error=answer.error.code if answer.error else "")

    failing = create_error_processor("failing", "business")
    careful = make("careful", with_fallback)
    async with kit.runtime(failing, careful) as runtime:
        result = await runtime.execute(careful, TestState())
    assert result.success, repr(result.error)
    assert (result.state.total, result.state.error) == (9.5, "BUSINESS_RULE")


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


@rule("ERR-016")
async def test_the_hooks_of_a_policy_are_called(kit: Kit) -> None:
    calls: list[tuple[str, str, int]] = []

    def on_retry(error: Exception, attempt: int) -> None:
        calls.append(("retry", str(error), attempt))

    async def on_exhausted(error: Exception, attempt: int) -> None:
        calls.append(("exhausted", str(error), attempt))

    policy = RetryPolicy(max_attempts=2, backoff=0, on_retry=on_retry, on_exhausted=on_exhausted)
    failing = flaky("failing", [NetworkError("a"), NetworkError("b")], retry=policy)
    recovering = flaky("recovering", [NetworkError("c")], retry=policy)
    async with kit.runtime(failing, recovering) as runtime:
        await runtime.execute(failing, TestState())
        await runtime.execute(recovering, TestState())
    assert calls == [("retry", "a", 1), ("exhausted", "b", 2), ("retry", "c", 1)]


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


@rule("ERR-019")
async def test_a_callers_mistake_is_raised(kit: Kit) -> None:
    def broken(**fields: Any) -> TestState:
        return TestState(**fields)

    async with kit.runtime(increment, config=RuntimeConfig(max_payload_bytes=4_000)) as runtime:
        for ask in (runtime.execute, runtime.submit):
            for name in ("", "two\nlines", "x" * 300):
                with pytest.raises(ConfigurationError):
                    await ask(name, TestState())
            with pytest.raises(ConfigurationError):
                await ask(increment, TestState(), "")
            with pytest.raises(ValidationError) as unknown:
                await ask(increment, broken(items=["fine", object()]))
            with pytest.raises(ValidationError) as misfit:
                await ask(increment, broken(count="three"))
            with pytest.raises(ValidationError):
                await ask(increment, cast("Any", {"count": 1}))
            with pytest.raises(ValidationError):
                await ask(increment, cast("Any", Unlike(count=1)))
            with pytest.raises(PayloadTooLargeError):
                await ask(increment, TestState(message="x" * 5_000))
            with pytest.raises(PayloadTooLargeError):
                await runtime.state.set("session", TestState(message="x" * 5_000))
            assert not await runtime.state.exists("session")
            with pytest.raises(ValidationError):  # as it is, in no group
                await runtime.execute_many(increment, [TestState(), broken(items=[object()])])
            assert "items[1]" in str(unknown.value)
            assert "count" in str(misfit.value)
        assert (await runtime.execute(increment, TestState())).success
        assert (await runtime.queue_stats())["increment"].waiting == 0


@rule("ERR-020")
async def test_what_a_running_system_can_meet_is_answered(kit: Kit) -> None:
    gate = Gate()
    config, limits = RuntimeConfig(concurrency=1), ResourceLimits(max_queue_size=1)
    async with kit.runtime(gate.processor, config=config, limits=limits) as runtime:
        running = await runtime.submit(gate.processor, TestState(), "stopped")
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        waiting = await runtime.submit(gate.processor, TestState())
        with within(kit, "an answer for work over a limit"):
            too_many = await runtime.execute(gate.processor, TestState())
        await runtime.stop_session("stopped")
        with within(kit, "an answer for work of a stopped session"):
            stopped = await runtime.execute(gate.processor, TestState(), "stopped")
            interrupted = await running.result()
        gate.open()
        assert (await waiting.result()).success
    assert isinstance(too_many.error, ResourceError), repr(too_many.error)
    assert isinstance(stopped.error, SessionStoppedError), repr(stopped.error)
    assert isinstance(interrupted.error, SessionStoppedError), repr(interrupted.error)


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


@rule("ERR-022")
async def test_a_failure_gives_back_what_was_submitted(kit: Kit) -> None:
    async def spoil_and_fail(state: TestState, _ctx: Context) -> TestState:
        state.items.append("half done")
        raise BusinessError("and then it broke")

    failing = make("failing", spoil_and_fail)
    given = TestState(count=4, items=["given"])
    async with kit.runtime(failing) as runtime:
        result = await runtime.execute(failing, given)
    assert not result.success
    assert given.items == ["given"]
    given.items.append("after the answer")
    assert (result.state.count, result.state.items) == (4, ["given"])


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


@rule("ERR-024")
async def test_a_step_keeps_its_own_timeout_and_retries(kit: Kit) -> None:
    runs: list[int] = []
    unsteady = flaky("unsteady", [NetworkError("gone")] * 2, retry=THRICE, runs=runs)
    hanging = Gate("hanging", timeout=0.02)
    steps: Processor[TestState] = chain("steps", [unsteady, hanging.processor])
    async with kit.runtime(steps) as runtime:
        began = trio.current_time()
        with within(kit, "the timeout of a step"):
            result = await runtime.execute(steps, TestState(count=1))
        took = trio.current_time() - began
    assert runs == [1, 2, 3]
    assert isinstance(result.error, ExecutionTimeoutError), repr(result.error)
    assert result.error.failed_processor == "hanging"
    assert (result.metadata.completed_steps, result.state.count) == (1, 2)
    assert result.metadata.attempt == 1, "the whole chain was tried again for one step"
    assert_waited(kit, [took], [0.02])
    await _look_at_steps(kit)
    await _look_at_time_of_steps(kit)
    await _look_at_hooks_of_steps(kit)


async def _look_at_time_of_steps(kit: Kit) -> None:
    """Each attempt of a step has its timeout anew, and the waits between them take none of it."""
    limit, backoff = 0.02, 0.03
    deadlines: list[float] = []

    async def hang_first(state: TestState, ctx: Context) -> TestState:
        deadlines.append(ctx.deadline)
        if len(deadlines) < 3:
            await trio.sleep_forever()
        if kit.virtual_time:  # a busy machine could stretch it beyond the timeout
            await trio.sleep(0.9 * limit)
        return state.evolve(count=state.count + 1)

    policy = RetryPolicy(max_attempts=3, backoff=backoff, multiplier=1.0)
    hanging = make("hanging", hang_first, timeout=limit, retry=policy)
    steps: Processor[TestState] = chain("steps", [increment, hanging])
    async with kit.runtime(steps) as runtime:
        with within(kit, "the third attempt of a step"):
            result = await runtime.execute(steps, TestState())
    assert len(deadlines) == 3, "a step that timed out was not tried as often as its policy says"
    assert_waited(kit, [b - a for a, b in pairwise(deadlines)], [backoff + limit] * 2)
    assert result.unwrap().count == 2


async def _look_at_hooks_of_steps(kit: Kit) -> None:
    """The policy of a step is asked, and told, as that of any other processor."""
    calls: list[tuple[str, str, int]] = []

    def refuse_closed(error: Exception, attempt: int) -> bool:
        calls.append(("should", str(error), attempt))
        return str(error) != "closed"

    policy = RetryPolicy(
        max_attempts=3,
        backoff=0,
        should_retry=refuse_closed,
        on_retry=lambda error, attempt: calls.append(("retry", str(error), attempt)),
        on_exhausted=lambda error, attempt: calls.append(("exhausted", str(error), attempt)),
    )
    closed = flaky("closed", [NetworkError("a"), NetworkError("closed")] * 2, retry=policy)
    gone = flaky("gone", [NetworkError(letter) for letter in "xyz"], retry=policy)
    first: Processor[TestState] = chain("first", [closed])
    second: Processor[TestState] = chain("second", [gone])
    async with kit.runtime(first, second) as runtime:
        refused = await runtime.execute(first, TestState())
        told, calls = calls, []
        exhausted = await runtime.execute(second, TestState())
    assert told == [("should", "a", 1), ("retry", "a", 1), ("should", "closed", 2)]
    asked = [(kind, *one) for one in (("x", 1), ("y", 2)) for kind in ("should", "retry")]
    assert calls == [*asked, ("exhausted", "z", 3)]
    assert str(refused.error) == "closed"
    assert str(exhausted.error) == "z"


async def _look_at_steps(kit: Kit) -> None:
    """A step waits between its attempts, knows who it is, and has no more time than the whole."""
    seen: list[tuple[str, int, str, float]] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        meta = ctx.metadata
        seen.append((meta.processor_name, meta.attempt, ctx.idempotency_key, trio.current_time()))
        left = ctx.deadline - trio.current_time()
        assert left <= whole_time + 1e-6, "a step has more time than the whole"
        if meta.processor_name == "slow" and meta.attempt == 1:
            raise NetworkError("gone")
        return state.evolve(count=state.count + 1)

    whole_time = 4 * kit.timeout
    slow = make(
        "slow", note, timeout=2 * whole_time, retry=RetryPolicy(max_attempts=2, backoff=0.03)
    )
    twice: Processor[TestState] = chain("twice", [slow, make("quick", note)], timeout=whole_time)
    forever = Gate("forever", timeout=60.0)
    cut: Processor[TestState] = chain("cut", [forever.processor], timeout=0.02)
    runs: list[int] = []
    again = flaky("again", [NetworkError("gone")], retry=RetryPolicy(max_attempts=1), runs=runs)
    policy = RetryPolicy(max_attempts=2, backoff=0)
    whole: Processor[TestState] = chain("whole", [increment, again], retry=policy)
    async with kit.runtime(twice, cut, whole) as runtime:
        result = await runtime.execute(twice, TestState())
        with within(kit, "the end of a chain's own time"):
            late = await runtime.execute(cut, TestState(count=1))
        tried = await runtime.execute(whole, TestState(count=1))
    assert result.unwrap().count == 2
    assert [one[:2] for one in seen] == [("slow", 1), ("slow", 2), ("quick", 1)]
    keys = [one[2] for one in seen]
    assert keys[0] == keys[1] != keys[2], f"what names a step's effects: {keys}"
    assert_waited(kit, [seen[1][3] - seen[0][3]], [0.03])
    assert isinstance(late.error, ExecutionTimeoutError), repr(late.error)
    assert forever.was_cancelled
    # A step of a chain that is tried again is a first attempt each time, and fails so again.
    assert isinstance(tried.error, NetworkError), repr(tried.error)
    assert (runs, tried.metadata.attempt) == ([1, 1], 2)
    assert (tried.metadata.completed_steps, tried.state.count) == (1, 2)


@rule("ERR-025")
async def test_an_answer_that_cannot_cross_is_a_failure(kit: Kit) -> None:
    async def answer_badly(state: TestState, _ctx: Context) -> TestState:
        bad: dict[str, dict[str, Any]] = {
            "unknown": {"items": [object()]},
            "misfit": {"count": "three"},
            "large": {"message": "x" * 5_000},
        }
        return state.evolve(**bad[state.message])

    answering = make("answering", answer_badly)
    step: Processor[TestState] = chain("step", [increment, answering, increment])
    kinds = ("unknown", "misfit", "large")
    async with kit.runtime(answering, config=RuntimeConfig(max_payload_bytes=4_000)) as runtime:
        results = await runtime.execute_many(
            answering, [TestState(message=kind) for kind in kinds], "session"
        )
        assert await runtime.state.get("session") is None
    unknown, misfit, large = (result.error for result in results)
    assert isinstance(unknown, ValidationError), repr(unknown)
    assert "items[0]" in str(unknown)
    assert isinstance(misfit, ValidationError), repr(misfit)
    assert "count" in str(misfit)
    assert isinstance(large, PayloadTooLargeError), repr(large)
    assert [result.state.message for result in results] == list(kinds)
    await _look_at_size_of_calls(kit)
    async with kit.runtime(step) as runtime:
        for kind, field in (("unknown", "items[0]"), ("misfit", "count")):
            result = await runtime.execute(step, TestState(message=kind))
            assert isinstance(result.error, ValidationError), repr(result.error)
            assert field in str(result.error)
            assert result.error.failed_processor == "answering"
            assert (result.metadata.completed_steps, result.state.count) == (1, 1)


async def _look_at_size_of_calls(kit: Kit) -> None:
    """What is called with is bounded as what is asked for."""
    refusals: list[Exception] = []

    async def call_with_much(state: TestState, ctx: Context) -> TestState:
        try:
            (await ctx.call("shorten", state.evolve(message="x" * 5_000))).unwrap()
        except PayloadTooLargeError as error:
            refusals.append(error)
        return state

    async def answer_shortly(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(message="")

    calling, shorten = make("calling", call_with_much), make("shorten", answer_shortly)
    config = RuntimeConfig(max_payload_bytes=4_000)
    async with kit.runtime(calling, shorten, config=config) as runtime:
        assert (await runtime.execute(calling, TestState())).success
    assert len(refusals) == 1, "a call may be of any size"


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


@rule("ERR-029")
async def test_a_call_that_had_ended_is_not_made_again(kit: Kit) -> None:
    calls: list[str] = []

    async def charge(state: TestState, ctx: Context) -> TestState:
        calls.append(ctx.execution_id)
        return state.evolve(count=state.count + 1)

    def buying(gate: Gate) -> Processor[TestState]:
        async def buy(state: TestState, ctx: Context) -> TestState:
            answer = await ctx.call("charge", state)
            return await gate.run(answer.unwrap(), ctx)

        return make("buy", buy)

    charging, first, second = make("charge", charge), Gate(), Gate()
    second.open()
    config = RuntimeConfig(shutdown_grace=0)
    async with kit.runtime(role="client") as client:
        async with kit.runtime(charging, buying(first), config=config, role="worker"):
            handle = await client.submit("buy", TestState())
            with within(kit, "the end of a call"):
                await first.started.wait()
        async with kit.runtime(charging, buying(second), role="worker"):
            with within(kit, "an answer by the other worker"):
                result = await handle.result()
    assert len(calls) == 1, "the call was made again"
    assert result.unwrap().count == 1


@rule("ERR-030")
async def test_a_cancelled_execution_takes_its_calls_along(kit: Kit) -> None:
    async def ask(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("gate", state)).unwrap()

    async def ask_further(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("asking", state)).unwrap()

    @processor
    def ask_from_a_thread(state: TestState, given: Context) -> TestState:
        ctx = cast("ThreadContext", given)
        return ctx.call("called", state).unwrap()

    called = Gate("called")
    gate, asking, first = Gate(), make("asking", ask), make("first", ask_further)
    # Who learns of it only when a lease is renewed learns too late.
    config = RuntimeConfig(lease=600.0)
    asks = (asking, first, ask_from_a_thread)
    async with kit.runtime(gate.processor, called.processor, *asks, config=config) as runtime:
        handle = await runtime.submit(first, TestState())
        with within(kit, "the start of a call"):
            await gate.started.wait()
        await handle.cancel()
        with within(kit, "the end of what a cancelled execution had called"):
            await gate.ended.wait()
        # A thread cannot be stopped, but what it has called can.
        handle = await runtime.submit(ask_from_a_thread, TestState())
        with within(kit, "the start of a call from a thread"):
            await called.started.wait()
        await handle.cancel()
        with within(kit, "the end of what a thread had called"):
            await called.ended.wait()
    assert called.was_cancelled
    assert gate.was_cancelled


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
