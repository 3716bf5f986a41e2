"""What holds from the start on."""

from __future__ import annotations

import pytest
import trio
from msgspec.structs import replace

from am2z import (
    Context,
    Event,
    ExecutionTimeoutError,
    ProcessorExecutionError,
    QueueOptions,
    RuntimeConfig,
    RuntimeNotStartedError,
    RuntimeStats,
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
    await _look_at_defaults(kit)


async def _look_at_defaults(kit: Kit) -> None:
    """The default is for who has no timeout, called or not, and bounds nobody who has one."""
    left: list[tuple[str, float]] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        left.append((ctx.processor.name, ctx.deadline - trio.current_time()))
        return state

    async def ask(state: TestState, ctx: Context) -> TestState:
        for name in ("plain", "own"):
            (await ctx.call(name, state)).unwrap()
        return await note(state, ctx)

    plain, own = make("plain", note), make("own", note, timeout=9000.0)
    asking = make("asking", ask, timeout=5000.0)
    config = RuntimeConfig(default_timeout=1000.0)
    async with kit.runtime(plain, own, asking, config=config) as runtime:
        for name in ("plain", "own", "asking"):
            (await runtime.execute(name, TestState())).unwrap()
    most = [1000.0, 9000.0, 1000.0, 5000.0, 5000.0]
    assert [name for name, _ in left] == ["plain", "own", "plain", "own", "asking"]
    for (name, seconds), limit in zip(left, most, strict=True):
        assert limit - kit.limit <= seconds <= limit, f"{name} has {seconds} s of {limit}"


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
    async def ask(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("gate", state)).unwrap()

    gate, asking = Gate(queue=QueueOptions(concurrency=1)), make("asking", ask)
    failing = create_error_processor("failing")
    unsteady = flaky("unsteady", [ProcessorExecutionError("once")])
    processors = (increment, failing, unsteady, gate.processor, asking)
    async with kit.runtime(*processors) as runtime:
        before = await runtime.stats()
        await runtime.execute_many(increment, [TestState()] * 3)
        await runtime.execute(failing, TestState())
        await runtime.execute(unsteady, TestState())
        runtime.unregister("failing")
        later = await runtime.submit(increment, TestState(), delay=3600.0)
        handles = [await runtime.submit(asking, TestState(), "s")]
        with within(kit, "the start of a call"):
            await gate.started.wait()
        handles += [await runtime.submit(gate.processor, TestState()) for _ in range(2)]
        during = await runtime.stats()
        gate.open()
        await later.cancel()
        for handle in handles:
            await handle.result()
        after = await runtime.stats()
    times = [one.uptime for one in (before, during, after)]
    assert times == sorted(times), f"uptimes {times}"
    assert times[0] >= 0
    assert [replace(one, uptime=0.0) for one in (before, during)] == [
        RuntimeStats(registered_processors=5),
        RuntimeStats(
            registered_processors=4,
            waiting=2,
            active=2,
            running=2,
            completed=4,
            failed=1,
            active_sessions=1,
        ),
    ]
    ended = (after.completed, after.failed, after.waiting, after.active)
    assert ended == (8, 2, 0, 0), f"completed, failed, waiting and active: {ended}"


@rule("LIF-006")
async def test_a_stopped_runtime_starts_again(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        first = await runtime.execute(increment, TestState(count=1), "session")
        await trio.sleep(2 * CLOCK_GRAIN)  # so that its first life shows in an uptime
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
