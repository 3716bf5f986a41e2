"""Subscriptions: the events of some patterns, as an iterator."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from am2z import (
    Event,
    Runtime,
)
from harness.conformance._processors import (
    Gate,
    within,
)
from harness.conformance.events._shared import tell
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


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
    await _look_at_several(kit)


async def _look_at_several(kit: Kit) -> None:
    """Each subscription has all of its events, whoever else has them, comes or leaves."""
    read: list[Event] = []

    async def read_at_once() -> None:
        read.extend([event async for event in same])

    async with AsyncExitStack() as after, trio.open_nursery() as nursery:
        async with kit.runtime(tell) as runtime:
            every = await after.enter_async_context(runtime.subscribe())
            same = await after.enter_async_context(runtime.subscribe("order:*"))
            nursery.start_soon(read_at_once)
            ids = [(await runtime.execute(tell, TestState())).metadata.execution_id]
            async with runtime.subscribe("order:*") as guest:
                ids.append((await runtime.execute(tell, TestState())).metadata.execution_id)
                with within(kit, "an event for who came later"):
                    seen = [(await anext(guest)).execution_id for _ in range(2)]
            await runtime.stop()
            await runtime.start()
            ids.append((await runtime.execute(tell, TestState())).metadata.execution_id)
        told = [event async for event in every if event.execution_id in ids]
    orders = [event for event in read if event.execution_id in ids]
    assert seen == ids[1:2] * 2, "who comes later gets what was told before"
    assert [event.type for event in orders] == ["order:packed", "order:sent"] * 3
    assert [event for event in told if event.type.startswith("order:")] == orders
    stories = [[event.type for event in told if event.execution_id == one] for one in ids]
    assert stories[0] == stories[1] == stories[2]
    assert len(stories[0]) == 8, f"a subscription of everything has {stories[0]}"
    await _look_at_slow_subscriber(kit)


async def _look_at_slow_subscriber(kit: Kit) -> None:
    """Who takes its time loses nothing, as long as no more than 65,536 wait for it."""
    many = 300
    async with kit.runtime() as runtime, runtime.subscribe("order:*") as events:
        for number in range(many):
            runtime.emit("order:told", {"number": number})
        with within(kit, "the events that wait for a subscriber"):
            seen = [(await anext(events)).data["number"] for _ in range(many)]
    assert seen == [*range(many)]
