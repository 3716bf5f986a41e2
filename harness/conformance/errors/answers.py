"""Who is told of a failure, and how: raised or answered, at once or by a call."""

from __future__ import annotations

from typing import Any, cast

import trio

from am2z import (
    BusinessError,
    Context,
    Failure,
    NetworkError,
    PayloadTooLargeError,
    Processor,
    ProcessorNotFoundError,
    ProcessorResult,
    RuntimeConfig,
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
    await _look_at_partial_states(kit)


async def _look_at_partial_states(kit: Kit) -> None:
    """A processor may say itself what was done by then, and how many steps that were."""
    given = TestState(count=4)
    forms = [(partial, steps) for partial in (False, True) for steps in (0, 2)]
    answers: list[ProcessorResult[TestState]] = []
    kept: list[TestState] = []

    async def fail(state: TestState, ctx: Context) -> Failure[TestState]:
        done = None
        if is_partial:
            done = state.evolve(count=9, message="half", items=["done"])
            kept.append(done)
        failure = Failure(BusinessError("no"), state=done, completed_steps=steps)
        if ctx.metadata.processor_name == "raising":
            raise failure
        return failure

    async def ask(state: TestState, ctx: Context) -> TestState:
        answers.append(await ctx.call("returning", state))
        return state

    ways = [make("returning", fail), make("raising", fail)]
    async with kit.runtime(*ways, make("asking", ask)) as runtime:
        for is_partial, steps in forms:
            expected = (9, "half", steps) if is_partial else (4, "", steps)
            await runtime.execute("asking", given)
            for answer in (answers[-1], *[await runtime.execute(one, given, "a") for one in ways]):
                assert isinstance(answer.error, BusinessError), repr(answer.error)
                told = (answer.state.count, answer.state.message, answer.metadata.completed_steps)
                assert told == expected
                assert answer.state.metadata.session_id == answer.metadata.session_id
                answer.state.items.append("after the answer")
            assert all(state.items == ["done"] for state in kept), "shared with the caller"
        assert given.items == [], "shared with the caller"
        assert await runtime.state.get("a") is None, "a partial state was committed"


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
