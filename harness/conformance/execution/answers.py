"""What a caller gets back."""

from __future__ import annotations

import logging

import pytest
import trio

from am2z import (
    ConfigurationError,
    Context,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    ProcessorExecutionError,
    RetryPolicy,
    RuntimeConfig,
    Success,
    ValidationError,
)
from harness.conformance._processors import (
    CLOCK_GRAIN,
    Gate,
    assert_waited,
    increment,
    make,
    within,
)
from harness.conformance._watching import recorded
from harness.conformance.execution._shared import ONE_SLOT
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


class Receipt(TestState, frozen=True, kw_only=True):
    """What a processor makes of a plain state."""

    number: int = 0


async def _settle(state: TestState, _ctx: Context) -> TestState:
    return Receipt(count=state.count, number=7)


@rule("EXE-001")
async def test_the_processors_result_reaches_the_caller(kit: Kit) -> None:
    settle = make("settle", _settle)
    async with kit.runtime(increment, settle) as runtime:
        result = await runtime.execute(increment, TestState(count=1, message="kept"))
        settled = (await runtime.execute(settle, TestState(count=3))).unwrap()
        reckoned = (await runtime.execute(increment, settled)).unwrap()
        large = TestState(message="ä" * 150_000, items=[str(n) for n in range(5_000)])
        carried = (await runtime.execute(increment, large, "session")).unwrap()
        kept = await runtime.state.get("session", TestState)
    assert (carried.message, carried.items) == (large.message, large.items)
    assert kept is not None
    assert kept.state == carried
    assert isinstance(settled, Receipt), f"the result came back as a {type(settled).__name__}"
    assert (settled.count, settled.number) == (3, 7)
    assert isinstance(reckoned, Receipt), "who takes a state takes those of its subclasses"
    assert (reckoned.count, reckoned.number) == (4, 7)
    assert result.success
    assert result.error is None
    assert (result.state.count, result.state.message) == (2, "kept")
    assert result.metadata.processor_name == "increment"
    assert result.metadata.execution_id
    assert result.metadata.attempt == 1
    assert result.execution_time >= 0


@rule("EXE-004")
async def test_results_come_in_the_order_of_the_states(kit: Kit) -> None:
    ended = [trio.Event() for _ in range(5)]

    async def after_the_next(state: TestState, _ctx: Context) -> TestState:
        if state.count + 1 < len(ended):
            await ended[state.count + 1].wait()
        ended[state.count].set()
        return state.evolve(total=float(state.count))

    backwards = make("backwards", after_the_next)
    async with kit.runtime(backwards) as runtime:
        results = await runtime.execute_many(backwards, [TestState(count=n) for n in range(5)])
        none_at_all = await runtime.execute_many(backwards, [])
    assert [result.unwrap().total for result in results] == [0, 1, 2, 3, 4]
    assert none_at_all == []


@rule("EXE-005")
async def test_one_failure_leaves_the_others_alone(kit: Kit) -> None:
    async def refuse_odd(state: TestState, _ctx: Context) -> TestState:
        if state.count % 2:
            raise ValidationError("count", "is odd", state.count)
        return state.evolve(processed=True)

    even_only = make("even_only", refuse_odd)
    async with kit.runtime(even_only) as runtime:
        results = await runtime.execute_many(even_only, [TestState(count=n) for n in range(6)])
    assert [result.success for result in results] == [True, False] * 3
    assert [result.state.processed for result in results] == [True, False] * 3
    values = [getattr(result.error, "value", None) for result in results if result.error]
    assert values == [1, 3, 5]


@rule("EXE-010")
async def test_a_timeout_ends_the_processor_and_answers_the_caller(kit: Kit) -> None:
    gate = Gate(timeout=0.05)
    async with kit.runtime(gate.processor) as runtime:
        began = trio.current_time()
        with within(kit, "the timeout"):
            result = await runtime.execute(gate.processor, TestState(count=1))
        took = trio.current_time() - began
    assert isinstance(result.error, ExecutionTimeoutError), repr(result.error)
    assert gate.was_cancelled, "the caller was told, but the processor went on"
    assert result.state.count == 1
    assert_waited(kit, [took, result.execution_time], [0.05, 0.05])
    await _look_at_time_in_a_queue(kit)


async def _look_at_time_in_a_queue(kit: Kit) -> None:
    """The time of an attempt begins with it: to wait for a slot or for a due time costs none."""
    timeout, wait = 4 * kit.timeout, 10 * CLOCK_GRAIN
    starts: list[float] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        starts.append(ctx.deadline - timeout)
        return state

    gate, noting = Gate("holds_the_slot"), make("noting", note, timeout=timeout)
    async with kit.runtime(gate.processor, noting, config=ONE_SLOT) as runtime:
        began = trio.current_time()
        await (await runtime.submit(noting, TestState(), delay=wait)).result()
        held = await runtime.submit(gate.processor, TestState())
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        waiting = await runtime.submit(noting, TestState())
        await trio.sleep(wait)
        opened = trio.current_time()
        gate.open()
        for handle in (held, waiting):
            assert (await handle.result()).success
    for start, least in zip(starts, (began + wait, opened), strict=True):
        assert start >= least - CLOCK_GRAIN, f"{least - start} s of waiting counted as running"


@rule("EXE-012")
async def test_each_of_many_callers_gets_its_own_result(kit: Kit) -> None:
    async def square(state: TestState, ctx: Context) -> TestState:
        for _ in range(state.count % 3):
            await trio.lowlevel.checkpoint()
        return state.evolve(total=float(state.count**2), message=ctx.execution_id)

    squares = make("squares", square)
    numbers = list(range(60))
    kit.rng.shuffle(numbers)
    async with kit.runtime(squares, config=RuntimeConfig(concurrency=7)) as runtime:
        results = await runtime.execute_many(squares, [TestState(count=n) for n in numbers])
    assert [result.unwrap().total for result in results] == [n**2 for n in numbers]
    ids = [result.metadata.execution_id for result in results]
    assert len(set(ids)) == len(ids)
    assert [result.state.message for result in results] == ids


LOGGED = ("processor_name", "execution_id", "session_id", "attempt")


@rule("EXE-029")
async def test_the_context_tells_which_execution_it_is(kit: Kit) -> None:
    contexts: list[Context] = []
    records: list[logging.LogRecord] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        contexts.append(ctx)
        ctx.log.warning("attempt %d", ctx.metadata.attempt)
        if state.count == 0 and ctx.metadata.attempt == 1:
            raise ProcessorExecutionError("not yet")
        return state

    noting = make("noting", note, retry=RetryPolicy(max_attempts=2, backoff=0))
    with recorded(records, "am2z.processor"):
        async with kit.runtime(noting) as runtime:
            result = await runtime.execute(noting, TestState(count=0), "session")
            await runtime.execute(noting, TestState(count=1), "session")
            for ctx in contexts:
                with pytest.raises(ExecutionCancelledError):  # nobody can call for what is over
                    await ctx.call(noting, TestState())
    first, second, other = contexts
    for record, ctx in zip(records, contexts, strict=True):
        said = {name: getattr(record, name, None) for name in LOGGED}
        assert said == {name: getattr(ctx.metadata, name) for name in LOGGED}, "what a record knows"
        assert record.getMessage() == f"attempt {ctx.metadata.attempt}"
    for ctx, attempt in ((first, 1), (second, 2)):
        assert ctx.metadata.processor_name == ctx.processor.name == "noting"
        assert ctx.metadata.execution_id == ctx.execution_id == result.metadata.execution_id
        assert ctx.metadata.session_id == ctx.session_id == "session"
        assert ctx.metadata.attempt == attempt
        assert ctx.metadata.started_at > 0
    assert first.idempotency_key == second.idempotency_key != other.idempotency_key
    assert first.fence < second.fence < other.fence


@rule("EXE-034")
async def test_an_answer_is_a_state_or_a_success(kit: Kit) -> None:
    async def succeed(state: TestState, _ctx: Context) -> Success[TestState]:
        return Success(state.evolve(count=1))

    async def forget(state: TestState, _ctx: Context) -> None:
        state.evolve(count=1)

    async def pass_on(state: TestState, ctx: Context) -> object:
        return await ctx.call(state.message, state)

    succeeding, forgetful = make("succeeding", succeed), make("forgetful", forget)
    passing_on = make("passing_on", pass_on)
    async with kit.runtime(succeeding, forgetful, passing_on) as runtime:
        good = await runtime.execute(passing_on, TestState(message="succeeding"))
        bad = await runtime.execute(passing_on, TestState(message="forgetful"))
        success = await runtime.execute(succeeding, TestState())
        nothing = await runtime.execute(forgetful, TestState())
    assert success.unwrap().count == 1
    assert good.unwrap().count == 1
    for failed in (nothing, bad):
        assert isinstance(failed.error, ConfigurationError), repr(failed.error)
        assert "forgetful" in str(failed.error)
