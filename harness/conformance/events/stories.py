"""What is told of one execution, from its start to its end."""

from __future__ import annotations

from typing import cast

import pytest
import trio

from am2z import (
    BusinessError,
    Context,
    Event,
    ExecutionCancelledError,
    ExecutionMetadata,
    NetworkError,
    Processor,
    RetryPolicy,
    RuntimeConfig,
    ValidationError,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    Gate,
    flaky,
    increment,
    make,
    within,
)
from harness.conformance._watching import count_events, events_of, grammar_errors
from harness.conformance.events._shared import FAILED, SUCCEEDED, refuse, tell
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("EVT-001")
async def test_execution_is_told_from_its_start_to_its_end(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        with TestEventCollector(runtime) as events:
            result = await runtime.execute(increment, TestState(), "a")
            execution_id = result.metadata.execution_id
            assert events_of(events, execution_id) == SUCCEEDED
            for event in events.events("processor:*"):
                assert event.execution_id == execution_id
                assert event.processor_name == "increment"
                assert event.session_id == "a"
                assert 1e9 < event.time < 1e11, "not a wall-clock time in seconds"


@rule("EVT-002")
async def test_progress_is_told_in_order_while_the_work_is_done(kit: Kit) -> None:
    async def hurry(state: TestState, ctx: Context) -> TestState:
        for percent in range(10):
            ctx.update_progress(percent)
        return state

    async def overdo(state: TestState, ctx: Context) -> TestState:
        for wrong in (-0.1, 100.1, float("nan"), True, cast("float", "50")):
            with pytest.raises(ValidationError):
                ctx.update_progress(wrong)
        return state

    async with kit.runtime(tell, make("hurry", hurry), make("overdo", overdo)) as runtime:
        with TestEventCollector(runtime).start("processor:progress") as events:
            assert (await runtime.execute("overdo", TestState())).success
            assert events.events() == [], "a percent that is none was told"
        with TestEventCollector(runtime).start("processor:*") as events:
            await runtime.execute(tell, TestState())
            told = events.events()
            await runtime.execute("hurry", TestState())
            in_a_hurry = events.events("processor:progress")[3:]
    assert [event.type.removeprefix("processor:") for event in told] == [
        "active",
        *["progress"] * 3,
        "completed",
    ]
    assert [event.data["percent"] for event in told[1:-1]] == [10, 50.5, 100]
    assert [event.data["percent"] for event in in_a_hurry] == [*range(10)]


@rule("EVT-003")
async def test_end_of_an_execution_is_told_once_for_its_queue(kit: Kit) -> None:
    retried = flaky("retried", [NetworkError("down")] * 2)
    async with kit.runtime(retried, refuse) as runtime:
        with TestEventCollector(runtime) as events:
            good = await runtime.execute(retried, TestState())
            bad = await runtime.execute(refuse, TestState())
            completed = await count_events(runtime, events, "queue:completed")
            failed = await count_events(runtime, events, "queue:failed")
    assert (completed, failed) == (1, 1)
    assert events_of(events, good.metadata.execution_id)[-2:] == SUCCEEDED[1:]
    assert events_of(events, bad.metadata.execution_id)[-2:] == FAILED[1:]


@rule("EVT-004")
async def test_failure_is_told_with_its_error(kit: Kit) -> None:
    async with kit.runtime(refuse) as runtime:
        with TestEventCollector(runtime) as events:
            result = await runtime.execute(refuse, TestState())
            told = events.events("*:failed")
    assert events_of(events, result.metadata.execution_id) == FAILED
    assert [event.type for event in told] == FAILED[1:]
    error = told[0].data["error"]
    assert isinstance(error, BusinessError)
    assert (error.message, error.context) == ("refused", {"order": 7})


@rule("EVT-010")
async def test_every_event_of_an_execution_names_its_session(kit: Kit) -> None:
    ours: list[ExecutionMetadata] = []

    async def work(session: str) -> None:
        async with trio.open_nursery() as nursery:
            for one in (tell, refuse, gate.processor):
                nursery.start_soon(work_on, one, session)
            await gate.started.wait()
            gate.open()

    async def work_on(one: Processor[TestState], session: str) -> None:
        ours.append((await runtime.execute(one, TestState(), session)).metadata)

    async def ask(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call(tell, state)).unwrap()

    gate, asking = Gate(), make("asking", ask)
    async with kit.runtime(tell, refuse, gate.processor, asking) as runtime:
        with TestEventCollector(runtime) as events:
            alone = (await runtime.execute(asking, TestState())).metadata
            assert {one.session_id for one in events.events() if one.execution_id} == {
                alone.session_id
            }, "what an execution without a session calls is in the session of its caller"
        with TestEventCollector(runtime) as events:
            async with trio.open_nursery() as nursery:  # side by side, so that they could mix
                for session in ("a", "b"):
                    nursery.start_soon(work, session)
    told = {(one.execution_id, one.session_id) for one in events.events() if one.execution_id}
    assert told == {(one.execution_id, one.session_id) for one in ours}
    assert sorted(one.session_id for one in ours) == ["a"] * 3 + ["b"] * 3


@rule("EVT-012")
async def test_events_of_every_execution_obey_the_grammar(kit: Kit) -> None:
    contexts: dict[tuple[str, int], Context] = {}

    async def stumble(state: TestState, ctx: Context) -> TestState:
        contexts[ctx.execution_id, ctx.metadata.attempt] = ctx
        ctx.update_progress(ctx.metadata.attempt)
        ctx.emit("stumble:tried", {"attempt": ctx.metadata.attempt})
        if ctx.metadata.attempt < 3:
            raise NetworkError("down")
        await ctx.call("tell", state)
        await ctx.call("refuse", state)
        await ctx.call("exhausted", state)
        return state

    def tell_too_late(event: Event) -> None:
        """What a processor says when its attempt is over comes to nobody."""
        ended = contexts.get((event.execution_id, event.data["attempt"]))
        if ended is not None:
            ended.update_progress(99)
            ended.emit("stumble:late")

    errors = [NetworkError(str(number)) for number in range(3)]
    exhausted = flaky("exhausted", errors, retry=RetryPolicy(max_attempts=3, backoff=0))
    patient = RetryPolicy(max_attempts=3, backoff=0.001)
    stumbling = make("stumble", stumble, retry=patient)
    slow = Gate("slow", timeout=0.01).processor
    work = [stumbling, tell, refuse, exhausted, slow]
    async with kit.runtime(*work) as runtime:
        with TestEventCollector(runtime) as events:
            for ends in ("processor:retrying", "processor:completed"):
                runtime.on(ends, tell_too_late)
            results = await runtime.execute_many([(one, TestState()) for one in work * 3])
            told = events.events()
    assert grammar_errors(told) == []
    assert len({event.execution_id for event in told if event.execution_id}) == 15 + 3 * 3
    for result in results[0::5]:
        story = events_of(events, result.metadata.execution_id)
        attempt = ["processor:active", "processor:progress", "stumble:tried"]
        again = ["processor:retrying", *attempt]
        assert story == [*attempt, *again, *again, *SUCCEEDED[1:]]


@rule("EVT-016")
async def test_work_dropped_before_it_ran_is_told_by_its_queue_only(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor, config=RuntimeConfig(concurrency=1)) as runtime:
        with TestEventCollector(runtime) as events:
            first = await runtime.submit(gate.processor, TestState())
            await gate.started.wait()
            second = await runtime.submit(gate.processor, TestState())
            await second.cancel()
            result = await second.result()
            story = events_of(events, second.execution_id)
            gate.open()
            await first.result()
    assert isinstance(result.error, ExecutionCancelledError)
    assert story == ["queue:failed"]


@rule("EVT-020")
async def test_every_attempt_is_told_with_its_number_and_its_error(kit: Kit) -> None:
    policy = RetryPolicy(max_attempts=3, backoff=0.01)
    down = flaky("down", [NetworkError("first"), NetworkError("second")], retry=policy)
    async with kit.runtime(down) as runtime:
        with TestEventCollector(runtime) as events:
            await runtime.execute(down, TestState())
            active = events.events("processor:active")
            retrying = events.events("processor:retrying")
    assert [event.data["attempt"] for event in active] == [1, 2, 3]
    errors = [event.data["error"] for event in retrying]
    assert [type(error) for error in errors] == [NetworkError] * 2
    assert [error.message for error in errors] == ["first", "second"]
    delays = [event.data["delay"] for event in retrying]
    assert delays == pytest.approx([policy.delay(1), policy.delay(2)])


@rule("EVT-022")
async def test_handle_answers_the_last_percent_that_was_reported(kit: Kit) -> None:
    at_half, may_end = trio.Event(), trio.Event()

    async def report(state: TestState, ctx: Context) -> TestState:
        await ctx.update_progress(50)
        at_half.set()
        await may_end.wait()
        ctx.update_progress(75.5)
        return state

    gate = Gate()
    config = RuntimeConfig(concurrency=1)
    async with kit.runtime(gate.processor, make("report", report), config=config) as runtime:
        first = await runtime.submit(gate.processor, TestState())
        with within(kit, "the start of the one before"):
            await gate.started.wait()
        handle = await runtime.submit("report", TestState())
        waiting = await handle.progress()
        gate.open()
        with within(kit, "half of the work"):
            await at_half.wait()
        half = await handle.progress()
        may_end.set()
        await handle.result()
        ended = await handle.progress()
        await first.result()
    assert (waiting, half, ended) == (0, 50, 75.5)
    await _look_at_progress_of_a_retry(kit)


async def _look_at_progress_of_a_retry(kit: Kit) -> None:
    """Each attempt begins at 0: nothing is left of what the one before had done."""

    async def stumble(state: TestState, ctx: Context) -> TestState:
        if ctx.metadata.attempt == 1:
            await ctx.update_progress(50)
            raise NetworkError("half done")
        return state

    policy = RetryPolicy(max_attempts=2, backoff=0)
    async with kit.runtime(make("stumble", stumble, retry=policy)) as runtime:
        handle = await runtime.submit("stumble", TestState())
        assert (await handle.result()).success
        assert await handle.progress() == 0, "a second attempt that reported nothing"
    await _look_at_other_ends(kit)


async def _look_at_other_ends(kit: Kit) -> None:
    """However it ends, it was as far as it was; what was refused never got anywhere."""
    gate = Gate()

    async def report(state: TestState, ctx: Context) -> TestState:
        await ctx.update_progress(20)
        await ctx.update_progress(state.count)
        if state.count == 30:
            raise BusinessError("no further")
        return await gate.run(state, ctx)

    async with kit.runtime(make("report", report)) as runtime:
        failed = await runtime.submit("report", TestState(count=30))
        await failed.result()
        cancelled = await runtime.submit("report", TestState(count=40), "a")
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        await cancelled.cancel()
        nobody = await runtime.submit("nobody", TestState())
        await nobody.result()
        told = [await handle.progress() for handle in (failed, cancelled, nobody)]
    assert told == [30, 40, 0]
