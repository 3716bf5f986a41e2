"""EVT: what a runtime tells about its work, to whom, in which order and how often."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import cast

import pytest
import trio

from am2z import (
    BusinessError,
    ConfigurationError,
    Context,
    Event,
    ExecutionCancelledError,
    ExecutionMetadata,
    NetworkError,
    PayloadTooLargeError,
    Processor,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    RuntimeStats,
    ValidationError,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    CLOCK_GRAIN,
    Gate,
    assert_waited,
    flaky,
    increment,
    make,
    within,
)
from harness.conformance._watching import count_events, events_of, grammar_errors, recorded
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

SUCCEEDED = ["processor:active", "processor:completed", "queue:completed"]
FAILED = ["processor:active", "processor:failed", "queue:failed"]


async def _refuse(_state: TestState, _ctx: Context) -> TestState:
    raise BusinessError("refused", context={"order": 7})


refuse = make("refuse", _refuse)


async def _tell(state: TestState, ctx: Context) -> TestState:
    """Emits progress and events of its own, with and without waiting for their delivery."""
    ctx.update_progress(10)
    await ctx.emit("order:packed", {"boxes": [1, 2], "by": {"name": "Ada"}})
    await ctx.update_progress(50.5)
    ctx.emit("order:sent")
    ctx.update_progress(100)
    return state.evolve(processed=True)


tell = make("tell", _tell)


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


@rule("EVT-005")
async def test_metrics_are_told_at_each_interval(kit: Kit) -> None:
    interval = 0.1 if kit.virtual_time else 0.02
    started = trio.current_time()
    async with kit.runtime(increment, config=RuntimeConfig(metrics_interval=interval)) as runtime:
        with TestEventCollector(runtime) as events:
            await events.wait_for_event("metrics:collected")
            took = trio.current_time() - started
            if kit.virtual_time:
                await events.wait_for_event("metrics:collected", count=3)
                assert_waited(kit, [trio.current_time() - started], [3 * interval])
            await runtime.execute_many(increment, [TestState()] * 3)
            told_before = len(events.events("metrics:collected"))
            # The next one may have been counted while the work was done; the one after was not.
            last = await events.wait_for_event("metrics:collected", count=told_before + 2)
            await runtime.stop()
            told_before = len(events.events("metrics:collected"))
            await runtime.start()
            await events.wait_for_event("metrics:collected", count=told_before + 2)
    assert took >= interval - CLOCK_GRAIN
    assert last.data["completed"] == 3
    assert last.data["registered_processors"] == 1
    assert set(last.data["queues"]) == {"increment"}
    assert last.data["queues"]["increment"]["completed"] == 3
    assert set(RuntimeStats.__struct_fields__) <= set(last.data), "a number of stats() is missing"
    assert last.data["failed"] == last.data["waiting"] == last.data["active"] == 0
    assert last.execution_id == ""


@rule("EVT-006")
async def test_every_handler_is_called_once_for_every_event(kit: Kit) -> None:
    calls: list[tuple[int, str]] = []

    def note(number: int) -> Callable[[Event], None]:
        return lambda event: calls.append((number, event.type))

    async with kit.runtime(increment) as runtime:
        for number in range(3):
            runtime.on("processor:completed", note(number))
        runtime.on("processor:active", note(9))
        await runtime.execute(increment, TestState())
    async with kit.runtime(increment) as runtime:
        late: list[Event] = []
        await runtime.execute(increment, TestState())
        runtime.on("processor:*", late.append)
        result = await runtime.execute(increment, TestState())
    told = {event.execution_id for event in late}
    assert told == {result.metadata.execution_id}, "who listens late is told what is over"
    assert sorted(calls) == [
        *((number, "processor:completed") for number in range(3)),
        (9, "processor:active"),
    ]


@rule("EVT-007")
async def test_removed_handler_is_called_no_more_and_all_others_are(kit: Kit) -> None:
    removed: list[Event] = []
    kept: list[Event] = []
    async with kit.runtime(increment) as runtime:
        for handler in (removed.append, kept.append):
            runtime.on("processor:completed", handler)
        await runtime.execute(increment, TestState())
        runtime.off("processor:completed", removed.append)
        runtime.off("processor:completed", removed.append)
        runtime.off("processor:active", kept.append)
        await runtime.execute(increment, TestState())

        async def wait(event: Event) -> None:
            raise AssertionError(f"nobody waits for a handler of {event.type}")

        with pytest.raises(ConfigurationError):
            runtime.on("processor:completed", cast("Callable[[Event], None]", wait))
    assert (len(removed), len(kept)) == (1, 2)


@rule("EVT-008")
async def test_processor_tells_events_of_its_own(kit: Kit) -> None:
    async def announce(state: TestState, ctx: Context) -> TestState:
        ctx.runtime.emit("shop:opened", {"at": 9})
        return (await ctx.call("tell", state)).unwrap()

    async with kit.runtime(tell, make("announce", announce)) as runtime:
        with TestEventCollector(runtime) as events:
            result = await runtime.execute("announce", TestState(), "a")
            await events.wait_for_event("shop:opened")
    assert result.success
    own = events.events("order:*")
    assert [event.type for event in own] == ["order:packed", "order:sent"]
    packed, sent = own
    assert packed.data == {"boxes": [1, 2], "by": {"name": "Ada"}}
    assert sent.data == {}
    assert packed.processor_name == "tell"
    assert packed.session_id == "a"
    assert packed.execution_id == sent.execution_id != ""
    (opened,) = events.events("shop:opened")
    assert (opened.data, opened.execution_id) == ({"at": 9}, "")


@rule("EVT-009")
async def test_handler_that_raises_hurts_nobody(kit: Kit) -> None:
    def fail(event: Event) -> None:
        raise ValueError(f"no use for {event.type}")

    records: list[logging.LogRecord] = []
    async with kit.runtime(increment) as runtime:
        runtime.on("*", fail)
        with recorded(records), TestEventCollector(runtime) as events:
            runtime.on("*", fail)
            results = [await runtime.execute(increment, TestState()) for _ in range(2)]
            for result in results:
                assert events_of(events, result.metadata.execution_id) == SUCCEEDED
    assert all(result.success for result in results)
    told = [f"{record.getMessage()} {record.exc_info}" for record in records]
    assert any("no use for processor:completed" in one for one in told), (
        "that a handler raised was not logged"
    )


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


@rule("EVT-011")
async def test_waiting_for_an_event_ends_when_it_happens(kit: Kit) -> None:
    gate = Gate()
    async with (
        kit.runtime(gate.processor) as runtime,
        runtime.subscribe("processor:*") as events,
    ):
        handle = await runtime.submit(gate.processor, TestState())
        with within(kit, "word of the start for the subscriber"):
            started = await anext(events)
        was_running = not gate.ended.is_set()
        gate.open()
        with within(kit, "word of the end for the subscriber"):
            ended = await anext(events)
        await handle.result()
    assert (started.type, ended.type) == ("processor:active", "processor:completed")
    assert started.execution_id == ended.execution_id == handle.execution_id
    assert was_running, "the start was told after the end"


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


@rule("EVT-013")
async def test_patterns_are_shell_style_and_case_matters(kit: Kit) -> None:
    def note(types: list[str]) -> Callable[[Event], None]:
        return lambda event: types.append(event.type)

    seen: dict[str, list[str]] = {
        pattern: [] for pattern in ("order:*", "order:?", "order:[ab]", "*", "Order:*", "order")
    }
    async with kit.runtime() as runtime:
        for pattern, types in seen.items():
            runtime.on(pattern, note(types))
        with TestEventCollector(runtime) as events:
            for name in ("order:a", "order:c", "order:long", "other:a"):
                runtime.emit(name)
            await events.wait_for_event("other:a")
    assert seen["order:*"] == ["order:a", "order:c", "order:long"]
    assert seen["order:?"] == ["order:a", "order:c"]
    assert seen["order:[ab]"] == ["order:a"]
    assert [name for name in seen["*"] if name.startswith("o")] == [*seen["order:*"], "other:a"]
    assert seen["Order:*"] == seen["order"] == []


@rule("EVT-014")
async def test_subscription_ends_with_its_runtime(kit: Kit) -> None:
    types: list[str] = []

    async def consume(runtime: Runtime, task_status: trio.TaskStatus[None]) -> None:
        async with runtime.subscribe("processor:*", "order:*", "*:progress") as events:
            task_status.started()
            types.extend([event.type async for event in events])

    with within(kit, "the end of the iteration"):
        async with trio.open_nursery() as nursery, kit.runtime(tell) as runtime:
            await nursery.start(consume, runtime)
            await runtime.execute(tell, TestState())
        async with AsyncExitStack() as after:
            async with kit.runtime(tell) as runtime:
                late = await after.enter_async_context(runtime.subscribe("processor:*"))
                ours = (await runtime.execute(tell, TestState())).metadata.execution_id
            # Where a namespace outlives its runtimes, the end of the one before may be among them.
            tail = [event.type async for event in late if event.execution_id == ours]
    assert types[0] == "processor:active"
    assert types[-1] == "processor:completed"
    assert types.count("processor:progress") == 3
    assert [name for name in types if name.startswith("order:")] == ["order:packed", "order:sent"]
    told = ["processor:active", *["processor:progress"] * 3, "processor:completed"]
    assert tail == told, "who reads late gets less"


@rule("EVT-015")
async def test_events_of_an_execution_are_delivered_before_its_result(kit: Kit) -> None:
    async with kit.runtime(tell, refuse) as runtime:
        with TestEventCollector(runtime) as events:
            story = events_of(
                events, (await runtime.execute(tell, TestState())).metadata.execution_id
            )
            handle = await runtime.submit(refuse, TestState())
            await handle.result()
            failure = events_of(events, handle.execution_id)
    assert story[-2:] == SUCCEEDED[1:]
    assert len(story) == 8
    assert failure == FAILED


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


@rule("EVT-017")
async def test_beginning_and_end_of_a_session_are_told_once(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        with TestEventCollector(runtime) as events:
            await runtime.execute_many(increment, [TestState()] * 5, "a")
            await events.wait_for_event("session:created")
            created = await count_events(runtime, events, "session:created")
            stopped_early = await count_events(runtime, events, "session:stopped")
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(runtime.stop_session, "a")
            await runtime.execute(increment, TestState(), "a")
            await events.wait_for_event("session:stopped")
            stopped = await count_events(runtime, events, "session:stopped")
            sessions = [event.session_id for event in events.events("session:*")]
            await runtime.clean_session("a")
            await runtime.execute(increment, TestState(), "a")
            await events.wait_for_event("session:created", count=2)
            created_again = await count_events(runtime, events, "session:created")
    assert (created, stopped_early, stopped, created_again) == (1, 0, 1, 2)
    assert sessions == ["a", "a"]


@rule("EVT-018")
async def test_event_data_cross_by_value(kit: Kit) -> None:
    async def emit(state: TestState, ctx: Context) -> TestState:
        boxes = [1, 2]
        ctx.emit("order:packed", {"boxes": boxes})
        boxes.append(3)
        with pytest.raises(ValidationError):
            ctx.emit("order:bad", {"box": object()})
        with pytest.raises(PayloadTooLargeError):
            ctx.emit("order:bad", {"box": "x" * 66_000})
        ctx.emit("order:large", {"box": "x" * 65_000})
        return state

    ours = {"boxes": [1, 2]}
    async with kit.runtime(make("emit", emit)) as runtime:
        with TestEventCollector(runtime) as events:
            result = await runtime.execute("emit", TestState())
            runtime.emit("order:told", ours)
            ours["boxes"].append(3)
            with pytest.raises(PayloadTooLargeError):
                runtime.emit("order:bad", {"box": "x" * 66_000})
            told = await events.wait_for_event("order:told")
            (packed,) = events.events("order:packed")
            (large,) = events.events("order:large")
            assert not events.events("order:bad")
    assert result.success, result.error
    assert large.data == {"box": "x" * 65_000}
    assert packed.data == told.data == {"boxes": [1, 2]}


@rule("EVT-019")
async def test_event_of_the_runtime_cannot_be_forged(kit: Kit) -> None:
    prefixes = ("processor:", "queue:", "session:", "metrics:", "resource:", "runtime:")
    free = ("processors:done", "queue", "my:session:created", "job:runtime:x", "Session:a")

    async def forge(state: TestState, ctx: Context) -> TestState:
        for prefix in prefixes:
            for emit in (ctx.emit, ctx.runtime.emit):
                with pytest.raises(ConfigurationError):
                    emit(f"{prefix}forged")
        for name in free:
            ctx.emit(name)
        ctx.emit("processor:completed")
        return state

    async with kit.runtime(make("forge", forge)) as runtime:
        with TestEventCollector(runtime) as events:
            for prefix in prefixes:
                with pytest.raises(ConfigurationError):
                    runtime.emit(f"{prefix}forged", {"session": "a"})
            result = await runtime.execute("forge", TestState())
            told = events_of(events, result.metadata.execution_id)
    assert isinstance(result.error, ConfigurationError), repr(result.error)
    assert told == [FAILED[0], *free, *FAILED[1:]]
    assert not events.events("*:forged")


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


@rule("EVT-021")
async def test_events_reach_every_runtime_of_the_namespace(kit: Kit) -> None:
    stumbling = flaky("stumbling", [NetworkError("down")])
    async with (
        kit.runtime(stumbling, tell, role="worker") as worker,
        kit.runtime(role="client") as client,
        kit.runtime(role="client") as other,
    ):
        watchers = [TestEventCollector(runtime).start() for runtime in (client, other, worker)]

        def everybody_listens() -> bool:
            client.emit("rule:begin")
            return all(watcher.events("rule:begin") for watcher in watchers)

        await wait_for_condition(everybody_listens)
        first = await client.execute("stumbling", TestState(), "a")
        second = await client.execute("tell", first.unwrap(), "a")
        ids = [result.metadata.execution_id for result in (first, second)]
        for execution_id in ids:
            story = events_of(watchers[0], execution_id)
            assert story[-2:] == SUCCEEDED[1:], "the caller's events came after its result"
        for watcher in watchers:
            await watcher.wait_for_event("queue:completed", count=2)
            assert grammar_errors(watcher.events()) == []
            for execution_id in ids:
                assert events_of(watcher, execution_id) == events_of(watchers[0], execution_id)
            assert len(watcher.events("session:created")) == 1


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


def _comes_up(calls: list[str], name: str, times: int) -> bool:
    return calls.count(name) == times


@rule("EVT-024")
async def test_handlers_may_come_and_go_while_an_event_is_told(kit: Kit) -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[[Event], None]:
        return lambda _event: calls.append(name)

    def leave(_event: Event) -> None:
        calls.append("leave")
        runtime.off("order:told", leave)

    def bring(_event: Event) -> None:
        calls.append("bring")
        runtime.off("order:told", bring)
        runtime.on("order:told", note("guest"))
        runtime.on("order:*", note("other guest"))

    async def tell_and_wait(number: int) -> None:
        runtime.emit("order:told")
        for name in ("before", "after", "elsewhere"):
            await wait_for_condition(
                partial(_comes_up, calls, name, number),
                message=f"call {number} of the handler {name!r}",
            )

    async with kit.runtime() as runtime:
        for handler in (note("before"), leave, bring, note("after")):
            runtime.on("order:told", handler)
        runtime.on("*:told", note("elsewhere"))
        await tell_and_wait(1)
        assert (calls.count("leave"), calls.count("bring")) == (1, 1)
        calls[:] = ["before", "after", "elsewhere"]
        await tell_and_wait(2)
    assert sorted(calls[3:]) == ["after", "before", "elsewhere", "guest", "other guest"]
