"""What each event has as its data, and of what it is."""

from __future__ import annotations

from typing import Any, cast

from am2z import (
    Context,
    Event,
    NetworkError,
    Processor,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    ThreadContext,
    chain,
    processor,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import Gate, flaky, make, within
from harness.conformance._watching import exact
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

Told = tuple[str, dict[str, Any]]

PACKED = {"boxes": [1, 2], "by": {"name": "Ada", "age": None}, "fast": True, "weight": 0.5}
PERCENTS: tuple[float, ...] = (0, 50, 50, 20.5, 100, 0)

BEGAN: Told = ("processor:active", {"attempt": 1})
TOLD: list[Told] = [
    *(("processor:progress", {"percent": number, "attempt": 1}) for number in PERCENTS[:3]),
    ("order:packed", PACKED),
    *(("processor:progress", {"percent": number, "attempt": 1}) for number in PERCENTS[3:]),
    ("order:sent", {}),
    ("order:empty", {}),
]


def _ends(outcome: str, attempt: int = 1, **data: Any) -> list[Told]:
    told = {**(data or {"execution_time": "seconds"}), "attempt": attempt}
    return [(f"processor:{outcome}", told), (f"queue:{outcome}", told)]


async def _tell(state: TestState, ctx: Context) -> TestState:
    for percent in PERCENTS[:3]:
        ctx.update_progress(percent)
    await ctx.emit("order:packed", PACKED)
    for percent in PERCENTS[3:]:
        await ctx.update_progress(percent)
    ctx.emit("order:sent")
    ctx.emit("order:empty", {})
    ctx.runtime.emit("shop:opened", PACKED)
    ctx.runtime.emit("shop:closed")
    return state.evolve(processed=True)


@processor
def from_a_thread(state: TestState, given: Context) -> TestState:
    """Tells the same, without ``await``."""
    ctx = cast("ThreadContext", given)
    for percent in PERCENTS[:3]:
        ctx.update_progress(percent)
    ctx.emit("order:packed", PACKED)
    for percent in PERCENTS[3:]:
        ctx.update_progress(percent)
    ctx.emit("order:sent")
    ctx.emit("order:empty", {})
    ctx.runtime.emit("shop:opened", PACKED)
    ctx.runtime.emit("shop:closed")
    return state.evolve(processed=True)


def _plain(event: Event) -> Told:
    """Type and data of an event, with names for what differs from time to time."""
    data = dict(event.data)
    if "error" in data:
        data["error"] = type(data["error"]).__name__
    if isinstance(data.get("execution_time"), float) and data["execution_time"] >= 0:
        data["execution_time"] = "seconds"
    return str(event.type), data


@rule("EVT-025")
async def test_each_event_has_the_data_that_are_promised(kit: Kit) -> None:
    telling = make("telling", _tell)
    in_place: Processor[TestState] = chain("in_place", [telling])
    policy = RetryPolicy(max_attempts=2, backoff=0.01)
    errors = [NetworkError("first"), OSError("second")]
    down = flaky("down", errors, retry=policy)
    retrying = {"error": "NetworkError", "delay": 0.01, "attempt": 1}
    failed = _ends("failed", 2, error="ProcessorExecutionError")
    again: list[Told] = [("processor:retrying", retrying), ("processor:active", {"attempt": 2})]
    expected: list[tuple[Processor[TestState], list[Told]]] = [
        (telling, [BEGAN, *TOLD, *_ends("completed")]),
        (from_a_thread, [BEGAN, *TOLD, *_ends("completed")]),
        (in_place, [BEGAN, *TOLD, *_ends("completed")]),
        (down, [BEGAN, *again, *failed]),
    ]
    async with kit.runtime(*(one for one, _ in expected)) as runtime:
        for one, story in expected:
            for session_id in ("a", None):
                await _look_at_story(runtime, one, session_id, story)
    await _look_at_what_never_ran(kit)


async def _look_at_story(
    runtime: Runtime, one: Processor[TestState], session_id: str | None, story: list[Told]
) -> None:
    with TestEventCollector(runtime) as events:
        meta = (await runtime.execute(one, TestState(), session_id)).metadata
        shops = 2 * any(kind == "order:sent" for kind, _ in story)
        if shops:
            await events.wait_for_event("shop:closed")
        told = [event for event in events.events() if event.execution_id]
        others = [event for event in events.events("shop:*") if not event.execution_id]
    assert exact([_plain(event) for event in told]) == exact(story), one.name
    for event in told:
        whose = (event.execution_id, event.session_id, event.processor_name)
        assert whose == (meta.execution_id, meta.session_id, one.name), f"{event.type}: {whose}"
    assert [_plain(event) for event in others] == [("shop:opened", PACKED), ("shop:closed", {})][
        :shops
    ]
    assert {(event.session_id, event.processor_name) for event in others} <= {("", "")}


async def _look_at_what_never_ran(kit: Kit) -> None:
    """What ended before it began says why, and so do sessions, which are no executions."""
    gate = Gate()
    config = RuntimeConfig(concurrency=1)
    async with kit.runtime(gate.processor, config=config) as runtime:
        with TestEventCollector(runtime) as events:
            first = await runtime.submit(gate.processor, TestState())
            with within(kit, "the start of the one before"):
                await gate.started.wait()
            cancelled = await runtime.submit(gate.processor, TestState(), "c")
            stopped = await runtime.submit(gate.processor, TestState(), "d")
            later = await runtime.submit(gate.processor, TestState(), "d", delay=3600.0)
            await cancelled.cancel()
            await runtime.stop_session("d")
            for handle in (stopped, later):
                await handle.result()
            gate.open()
            await first.result()
            await events.wait_for_event("session:stopped")
            for handle, error in (
                (cancelled, "ExecutionCancelledError"),
                (stopped, "SessionStoppedError"),
                (later, "SessionStoppedError"),
            ):
                told = [one for one in events.events() if one.execution_id == handle.execution_id]
                data = {"error": error, "attempt": 1}
                assert [_plain(event) for event in told] == [("queue:failed", data)]
                assert {event.processor_name for event in told} == {"gate"}
            sessions = events.events("session:*")
    told_of = sorted((event.session_id, event.type, dict(event.data)) for event in sessions)
    assert told_of == [
        ("c", "session:created", {}),
        ("d", "session:created", {}),
        ("d", "session:stopped", {}),
    ]
    assert {(event.execution_id, event.processor_name) for event in sessions} == {("", "")}
