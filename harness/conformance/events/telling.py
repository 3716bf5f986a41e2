"""What else is told: by processors and callers, of sessions, and at each interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import trio

from am2z import (
    ConfigurationError,
    Context,
    PayloadTooLargeError,
    RuntimeConfig,
    RuntimeNotStartedError,
    RuntimeStats,
    ValidationError,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    CLOCK_GRAIN,
    Gate,
    assert_waited,
    increment,
    make,
    within,
)
from harness.conformance._watching import count_events, events_of
from harness.conformance.events._shared import FAILED, tell
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


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
    assert last.data["uptime"] > 0
    assert last.data["failed"] == last.data["waiting"] == last.data["active"] == 0
    assert last.execution_id == ""
    async with kit.runtime(increment) as runtime:
        with TestEventCollector(runtime) as events:
            await runtime.execute(increment, TestState())
            if kit.virtual_time:  # elsewhere it would take too long to tell
                await trio.sleep(kit.timeout)
            assert not events.events("metrics:*"), "metrics are told that nobody wanted"


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
    await _look_at_the_end(kit)


async def _look_at_the_end(kit: Kit) -> None:
    """What runs on while its runtime stops can tell all that it could before; later nobody can."""
    gate = Gate()

    async def tell_late(state: TestState, ctx: Context) -> TestState:
        state = await gate.run(state, ctx)
        ctx.update_progress(50)
        ctx.emit("order:late")
        ctx.runtime.emit("shop:late")
        return state

    async with kit.runtime(make("tell_late", tell_late)) as runtime:
        with TestEventCollector(runtime) as events:
            handle = await runtime.submit("tell_late", TestState())
            with within(kit, "the start of an execution"):
                await gate.started.wait()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runtime.stop)
                await wait_for_condition(lambda: not runtime.is_started, message="the stop")
                gate.open()
            result = await handle.result()
            told = [event.type for event in events.events("*:late")]
            with pytest.raises(RuntimeNotStartedError):
                runtime.emit("shop:closed")
        assert not events.events("shop:closed")
    assert result.success, repr(result.error)
    assert sorted(told) == ["order:late", "shop:late"]


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
    await _look_at_limits_of_data(kit)


async def _look_at_limits_of_data(kit: Kit) -> None:
    """Exactly 64 KB are taken, and no byte more; data are a mapping, or none."""

    def box(size: int) -> dict[str, str]:
        return {"box": "x" * 60_000, "more": "x" * size}

    def emit_too_much(emit: Callable[..., object]) -> None:
        with pytest.raises(PayloadTooLargeError) as refused:
            emit("order:bad", box(10_000))
        assert refused.value.context["limit"] == limit
        largest = limit - refused.value.context["size"] + 10_000
        emit("order:largest", box(largest))
        with pytest.raises(PayloadTooLargeError):
            emit("order:bad", box(largest + 1))
        for wrong in (["a", "list"], "a text", 7, {"order"}, {1: "a number for a key"}):
            with pytest.raises(ValidationError):
                emit("order:bad", cast("Any", wrong))
        for name in ("", "two\nlines", "x" * 300):
            with pytest.raises(ConfigurationError):
                emit(name)

    async def overdo(state: TestState, ctx: Context) -> TestState:
        for emit in (ctx.emit, ctx.runtime.emit):
            emit_too_much(emit)
        return state

    limit = 65_536
    async with kit.runtime(make("overdo", overdo)) as runtime:
        with TestEventCollector(runtime) as events:
            result = await runtime.execute("overdo", TestState())
            emit_too_much(runtime.emit)
            await events.wait_for_event("order:largest", count=3)
            assert not events.events("order:bad")
    assert result.success, result.error


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
