"""Who is told of a failure, and how: raised or answered, at once or by a call."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio

from am2z import (
    AppState,
    BusinessError,
    ConfigurationError,
    Context,
    NetworkError,
    PayloadTooLargeError,
    Processor,
    ProcessorNotFoundError,
    ResourceError,
    ResourceLimits,
    RuntimeConfig,
    SessionStoppedError,
    ThreadContext,
    ValidationError,
    chain,
    processor,
)
from harness.conformance._processors import (
    Gate,
    increment,
    make,
    within,
)
from harness.conformance.errors._shared import THRICE
from harness.kit import Kit
from harness.processors import create_error_processor
from harness.rules import rule
from harness.states import TestState


class Unlike(AppState):
    """A state, but not of the class that the processors take."""

    count: int = 0


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
