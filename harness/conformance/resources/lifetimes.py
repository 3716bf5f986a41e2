"""What ends by itself after a time, and what must not: idle sessions and leases."""

from __future__ import annotations

import trio

from am2z import (
    Context,
    ResourceLimits,
    RuntimeConfig,
    SessionStoppedError,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import CLOCK_GRAIN, Gate, increment, make
from harness.kit import Kit
from harness.processors import create_delay_processor
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("RES-017")
async def test_idle_session_is_stopped_after_its_ttl_and_not_before(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.05
    async with kit.runtime(increment, limits=ResourceLimits(session_ttl=ttl)) as runtime:
        with TestEventCollector(runtime) as events:
            if kit.virtual_time:  # elsewhere the first use may be longer ago than it should be
                await runtime.execute(increment, TestState(), "a")
                await trio.sleep(0.4 * ttl)
            started = trio.current_time()
            await runtime.execute(increment, TestState(), "a")  # from here on nobody uses it
            stopped = await events.wait_for_event("session:stopped")
            took = trio.current_time() - started
            assert stopped.session_id == "a"
            assert await runtime.active_sessions() == []
    assert took >= ttl - CLOCK_GRAIN
    assert took <= 2 * ttl or not kit.virtual_time
    await _look_at_many_idle_sessions(kit, ttl)


async def _look_at_many_idle_sessions(kit: Kit, ttl: float) -> None:
    """Each by its own time; then it is stopped as by hand: refused, and told of once."""
    names = [f"idle-{number}" for number in range(12)]
    limits = ResourceLimits(session_ttl=ttl)
    async with kit.runtime(increment, limits=limits) as runtime:
        await runtime.stop()
        await runtime.start()  # its second life looks for them as its first one does
        with TestEventCollector(runtime) as events:
            started = trio.current_time()
            await runtime.execute(increment, TestState(), "later")
            for name in names:
                await runtime.execute(increment, TestState(), name)
            ended = trio.current_time()
            if kit.virtual_time:
                await trio.sleep(0.7 * ttl)  # so that this one is used when they are idle
                await runtime.execute(increment, TestState(), "later")
            await events.wait_for_event("session:stopped", count=len(names))
            took = trio.current_time() - ended
            if kit.virtual_time:
                assert await runtime.active_sessions() == ["later"]
                refused = await runtime.execute(increment, TestState(), names[0])
                assert isinstance(refused.error, SessionStoppedError), repr(refused.error)
            await events.wait_for_event("session:stopped", count=len(names) + 1)
            stopped = [event.session_id for event in events.events("session:stopped")]
    assert trio.current_time() - started >= ttl - CLOCK_GRAIN
    assert sorted(stopped) == sorted([*names, "later"])
    assert took <= 2 * ttl or not kit.virtual_time, f"the last one was stopped after {took} s"


@rule("RES-018")
async def test_session_at_work_is_not_idle(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.05
    gate = Gate()
    limits = ResourceLimits(session_ttl=ttl)
    async with kit.runtime(gate.processor, increment, limits=limits) as runtime:
        with TestEventCollector(runtime) as events:
            handle = await runtime.submit(gate.processor, TestState(), "busy")
            await gate.started.wait()
            later = await runtime.submit(increment, TestState(), "later", delay=3600)
            await runtime.execute(increment, TestState(), "idle")
            stopped = await events.wait_for_event("session:stopped")
            still_active = await runtime.active_sessions()
            assert "later" in still_active, "a session whose work is to come was stopped"
            still_active.remove("later")
            await later.cancel()
            gate.open()
            result = await handle.result()
            if kit.virtual_time:
                await trio.sleep(ttl / 2)
                still_active += await runtime.active_sessions()
                assert "later" in still_active, "idle time began before a cancelled end"
                still_active.remove("later")
    assert stopped.session_id == "idle"
    assert result.success, result.error
    assert set(still_active) == {"busy"}
    assert len(still_active) == (2 if kit.virtual_time else 1), "idle time began too early"


@rule("RES-019")
async def test_stopped_session_is_forgotten_after_its_ttl(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.05

    async def is_open() -> bool:
        result = await runtime.execute(increment, TestState(), "a")
        assert result.success or isinstance(result.error, SessionStoppedError)
        return result.success

    async with kit.runtime(increment, limits=ResourceLimits(session_ttl=ttl)) as runtime:
        started = trio.current_time()
        await runtime.stop_session("a")
        await wait_for_condition(is_open, message="the end of a stopped session's TTL")
        took = trio.current_time() - started
    assert took >= ttl - CLOCK_GRAIN
    async with kit.runtime(increment) as runtime:
        await runtime.stop_session("c")
        await runtime.stop()
        await runtime.start()
        refused = await runtime.execute(increment, TestState(), "c")
        assert isinstance(refused.error, SessionStoppedError), "a restart has opened it again"
    async with kit.runtime(increment, limits=ResourceLimits(session_ttl=ttl)) as runtime:

        async def is_forgotten() -> bool:
            return not await runtime.state.exists("b")

        await runtime.execute(increment, TestState(), "b")
        await runtime.stop_session("b")
        await wait_for_condition(is_forgotten, message="the state of a stopped session to go")


@rule("RES-022")
async def test_housekeeping_never_breaks_a_runtime_that_is_stopping(kit: Kit) -> None:
    ttl = 0.05
    slow = create_delay_processor("slow", 4 * ttl)
    config = RuntimeConfig(metrics_interval=ttl / 10)
    limits = ResourceLimits(session_ttl=ttl)
    async with kit.runtime(increment, slow, config=config, limits=limits) as runtime:
        await runtime.execute(increment, TestState(), "idle")
        with TestEventCollector(runtime) as events:
            handle = await runtime.submit(slow, TestState(), "busy")
            await events.wait_for_event("processor:active")
        await runtime.stop()
        result = await handle.result()
        await runtime.start()
        assert (await runtime.execute(increment, TestState())).success
    assert result.success, result.error


@rule("RES-028")
async def test_work_that_takes_longer_than_a_lease_runs_once(kit: Kit) -> None:
    lease = kit.timeout / 4
    runs: list[int] = []

    async def work(state: TestState, _ctx: Context) -> TestState:
        runs.append(state.count)
        await trio.sleep(1.6 * lease)  # the work itself: longer than its first lease
        return state

    working = make("working", work)
    config = RuntimeConfig(lease=lease, max_deliveries=1)
    for number in range(3):
        async with kit.runtime(working, config=config) as runtime:
            result = await runtime.execute(working, TestState(count=number))
        # A process that the machine stops for longer than a lease may lose one, but not each time.
        if result.success and runs.count(number) == 1:
            return
    raise AssertionError(f"a lease ended while its worker was at work: {runs}, {result.error!r}")
