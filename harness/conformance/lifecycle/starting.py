"""What holds from the start on."""

from __future__ import annotations

import pytest
import trio

from am2z import (
    Context,
    Event,
    ExecutionTimeoutError,
    ProcessorExecutionError,
    RuntimeConfig,
    RuntimeNotStartedError,
    SessionStoppedError,
    processor,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import CLOCK_GRAIN, Gate, flaky, increment, make, within
from harness.kit import Kit
from harness.processors import create_error_processor
from harness.rules import rule
from harness.states import TestState


@rule("LIF-001")
async def test_an_entered_runtime_is_started_and_configured(kit: Kit) -> None:
    forever = Gate("forever")
    async with kit.runtime(config=RuntimeConfig(default_timeout=0.02)) as runtime:
        assert runtime.is_started
        assert runtime.list_processors() == []
        runtime.register(forever.processor)
        await runtime.sync_processors()
        result = await runtime.execute(forever.processor, TestState())
    assert isinstance(result.error, ExecutionTimeoutError), "default_timeout was not used"


@rule("LIF-003")
async def test_starting_and_stopping_twice_changes_nothing(kit: Kit) -> None:
    at_once, most = 0, 0

    @processor
    async def watched(state: TestState, _ctx: Context) -> TestState:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        at_once -= 1
        return state

    async with kit.runtime(watched, config=RuntimeConfig(concurrency=1)) as runtime:
        with TestEventCollector(runtime) as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runtime.start)
                nursery.start_soon(runtime.start)
            results = await runtime.execute_many(watched, [TestState()] * 6)
            await runtime.stop()
            await runtime.stop()
            assert not events.events("runtime:started"), "a second start was announced"
    assert all(result.success for result in results)
    assert most == 1, "started twice, a runtime of one slot ran two at once"


@rule("LIF-004")
async def test_statistics_count_every_execution_once(kit: Kit) -> None:
    gate = Gate()
    failing = create_error_processor("failing")
    unsteady = flaky("unsteady", [ProcessorExecutionError("once")])
    processors = (increment, failing, unsteady, gate.processor)
    async with kit.runtime(*processors) as runtime:
        before = await runtime.stats()
        await runtime.execute_many(increment, [TestState()] * 3)
        await runtime.execute(failing, TestState())
        await runtime.execute(unsteady, TestState())
        handle = await runtime.submit(gate.processor, TestState())
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        stats = await runtime.stats()
        gate.open()
        await handle.result()
    assert before.registered_processors == stats.registered_processors == 4
    assert (before.completed, before.failed, before.active, before.waiting) == (0, 0, 0, 0)
    assert (before.running, stats.running) == (0, 1)
    assert (stats.completed, stats.failed, stats.active, stats.waiting) == (4, 1, 1, 0)
    assert stats.uptime >= before.uptime >= 0


@rule("LIF-006")
async def test_a_stopped_runtime_starts_again(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        first = await runtime.execute(increment, TestState(count=1), "session")
        await trio.sleep(2 * CLOCK_GRAIN)
        events = TestEventCollector(runtime).start("runtime:*")
        await runtime.stop()
        stopped_at = trio.current_time()
        await runtime.start()
        assert runtime.is_started
        await events.wait_for_event("runtime:started", kit.timeout)
        told = [(event.type, event.execution_id, event.session_id) for event in events.events()]
        assert told == [("runtime:stopped", "", ""), ("runtime:started", "", "")]
        uptime = (await runtime.stats()).uptime
        assert uptime <= trio.current_time() - stopped_at + CLOCK_GRAIN, "it counts from before"
        assert runtime.list_processors() == ["increment"]
        kept = await runtime.state.get("session", TestState)
        second = await runtime.execute(increment, first.state, "session")
    assert kept is not None
    assert kept.state.count == 2
    assert second.state.count == 3
    await _look_at_what_is_known(kit)


async def _look_at_what_is_known(kit: Kit) -> None:
    """Whatever it knew before it stopped, it knows when it has started again."""
    fences: list[int] = []
    told: list[Event] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        fences.append(ctx.fence)
        return state.evolve(count=state.count + 1)

    noting, refusing = make("noting", note), create_error_processor("refusing")
    async with kit.runtime(noting, refusing) as runtime:

        async def known() -> dict[str, object]:
            return {
                "sessions": await runtime.active_sessions(),
                "figures": await runtime.queue_stats(),
                "figures of a session": await runtime.session_stats("a"),
                "dead letters": [one.execution_id for one in await runtime.dead.list()],
                "version": await runtime.state.version("a"),
                "processors": runtime.list_processors(),
            }

        await runtime.execute(refusing, TestState(), "a")
        await runtime.execute(noting, TestState(), "a")
        await runtime.stop_session("stopped")
        handle = await runtime.submit(noting, TestState(), "a", execution_id="bill-1")
        await handle.result()
        runtime.on("queue:completed", told.append)
        before = await known()
        await runtime.stop()
        await runtime.start()
        assert await known() == before
        refused = await runtime.execute(noting, TestState(), "stopped")
        again = await runtime.submit(noting, TestState(), "a", execution_id="bill-1")
        assert (await again.result()).state.count == 1
        assert len(fences) == 2, "an id that was used before the stop ran again"
        last = await runtime.execute(noting, TestState(), "a")
        assert await runtime.dead.drop((await runtime.dead.list())[0].execution_id)
    assert isinstance(refused.error, SessionStoppedError), repr(refused.error)
    assert fences == sorted(set(fences)), f"fences begin anew: {fences}"
    heard = [event.execution_id for event in told]
    assert last.metadata.execution_id in heard, "a handler of before the stop hears nothing"


@rule("LIF-011")
async def test_a_runtime_cannot_start_outside_its_block(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        pass
    with pytest.raises(RuntimeNotStartedError):
        await runtime.start()
    assert not runtime.is_started
