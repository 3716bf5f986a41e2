"""States that end by themselves."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import product

import pytest
import trio

from am2z import (
    ConfigurationError,
    ResourceLimits,
    Runtime,
    RuntimeConfig,
    StateNotFoundError,
)
from harness.conformance._processors import CLOCK_GRAIN, increment
from harness.conformance._watching import committed
from harness.conformance.state._shared import add_one
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("STA-007")
async def test_state_expires_with_its_ttl_and_not_before(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.04
    async with kit.runtime() as runtime:
        await runtime.state.set("b", TestState(count=2))
        for name in ("c", "d", "e"):  # which nobody reads until they are gone
            await runtime.state.set(name, TestState(), ttl)
        started = trio.current_time()
        await runtime.state.set("a", TestState(count=1), ttl=ttl)
        if kit.virtual_time:
            await trio.sleep(ttl - 0.001)
            assert not await _is_gone(runtime, "a")
            await trio.sleep(0.002)
            assert await _is_gone(runtime, "a")
        else:
            await wait_for_condition(
                partial(_is_gone, runtime, "a"), message="the end of a state's TTL"
            )
            assert trio.current_time() - started >= ttl - CLOCK_GRAIN
        assert await runtime.state.get("a") is None
        assert await runtime.state.version("a") == 0
        assert (await committed(runtime, "b")).state.count == 2
        assert await runtime.state.set("c", TestState(), expected_version=0) == 1
        assert await runtime.state.set("d", TestState()) == 1
        with pytest.raises(StateNotFoundError):
            await runtime.state.update("e", add_one)


@rule("STA-022")
async def test_committed_state_expires_when_nobody_touches_it(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.04
    async with kit.runtime(increment, config=RuntimeConfig(state_ttl=ttl)) as runtime:
        await runtime.execute(increment, TestState(), "a")
        if kit.virtual_time:
            await trio.sleep(0.6 * ttl)
        started = trio.current_time()
        await runtime.execute(increment, TestState(), "a")
        if kit.virtual_time:
            await trio.sleep(0.9 * ttl)
            assert not await _is_gone(runtime, "a")
        await wait_for_condition(
            partial(_is_gone, runtime, "a"), message="the end of a state's TTL"
        )
        assert trio.current_time() - started >= ttl - CLOCK_GRAIN
        for before in (None, 600.0):  # whatever the state before it was given
            await runtime.state.set("a", TestState(), before)
            await runtime.execute(increment, TestState(), "a")
            await wait_for_condition(
                partial(_is_gone, runtime, "a"), message="the end of the TTL of what was committed"
            )
    async with kit.runtime(increment) as runtime:
        await runtime.state.set("a", TestState(), ttl)
        await runtime.execute(increment, TestState(count=1), "a")
        await trio.sleep(1.5 * ttl)  # nothing tells that a state stays
        assert not await _is_gone(runtime, "a"), (
            "the time of an earlier state ended what was committed"
        )
        assert (await committed(runtime, "a")).state.count == 2


@rule("STA-025")
async def test_update_keeps_the_time_to_live(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        ttl, found = 0.1, None
        while found is None:
            began = trio.current_time()
            await runtime.state.set("s", TestState(count=1), ttl=ttl)
            with suppress(StateNotFoundError):
                await runtime.state.update("s", add_one)
                found = await runtime.state.get("s", TestState)
            took = trio.current_time() - began
            assert found is not None or took >= ttl - CLOCK_GRAIN, "the state ended too early"
            ttl *= 4  # for where all this took longer than the state lives
        assert found.state.count == 2
        await wait_for_condition(
            partial(_is_gone, runtime, "s"),
            kit.timeout + ttl,
            message="the updated state to expire",
        )
        await runtime.state.set("s", TestState(count=1))
        kept = await committed(runtime, "s")
        assert kept.state.metadata.session_id == "s"
        ttl = 0.1 if kit.virtual_time else 0.03
        for later in (None, 600.0):  # a state that is set anew lives as long as it is told now
            await runtime.state.set("t", TestState(), ttl=ttl)
            await runtime.state.set("t", TestState(), later)
            await trio.sleep(1.5 * ttl)  # nothing tells that a state stays
            assert await runtime.state.exists("t"), "the time of an earlier state ended a later one"
        for wrong in (0, -1, float("nan")):
            with pytest.raises(ConfigurationError):
                await runtime.state.set("t", TestState(count=9), wrong)
        with pytest.raises(ConfigurationError):
            await runtime.state.set("t", TestState(count=9), expected_version=-1)
        assert (await committed(runtime, "t")).state.count == 0


async def _is_gone(runtime: Runtime, session_id: str) -> bool:
    return not await runtime.state.exists(session_id)


LONG = 600.0


@rule("STA-032")
async def test_last_write_says_how_long_a_state_lives(kit: Kit) -> None:
    short = 0.05
    for state_ttl in (None, short, LONG):
        config = RuntimeConfig(state_ttl=state_ttl)
        async with kit.runtime(increment, config=config) as runtime:
            expected = {
                f"{first} {last}": await _write_twice(runtime, first, last, state_ttl) == short
                for first, last in product((None, short, LONG), (*_WRITES, None, short, LONG))
            }
            await _look_at_lives(kit, runtime, expected, f"state_ttl={state_ttl}")
    await _look_at_states_of_stopped_sessions(kit, short)


_WRITES = ("update", "execute")


async def _write_twice(
    runtime: Runtime, first: float | None, last: float | str | None, state_ttl: float | None
) -> float | None:
    """Set a state with a ttl, write it once more, and say how long it is to live from then on."""
    session_id = f"{first} {last}"
    began = trio.current_time()
    await runtime.state.set(session_id, TestState(), first)
    if last == "execute":
        await runtime.execute(increment, TestState(), session_id)
        return state_ttl
    if last == "update":
        try:
            await runtime.state.update(session_id, add_one)
        except StateNotFoundError:
            life = first or state_ttl
            assert life is not None, "a state is gone that has no end"
            assert trio.current_time() - began >= life - CLOCK_GRAIN, "it ended too early"
            return life
        return state_ttl or first
    assert not isinstance(last, str)
    await runtime.state.set(session_id, TestState(), last)
    return last or state_ttl


async def _look_at_lives(kit: Kit, runtime: Runtime, expected: dict[str, bool], where: str) -> None:
    """Those that are to end soon end; all others are there, then and later."""

    async def there() -> set[str]:
        return {name for name in expected if await runtime.state.exists(name)}

    stay = {name for name, ends in expected.items() if not ends}

    async def have_ended() -> bool:
        return await there() <= stay

    await wait_for_condition(
        have_ended, kit.timeout + 0.3, message=f"the end of what ends ({where})"
    )
    if stay == set(expected):  # then nothing has told that the time has passed
        await trio.sleep(0.3)
    missing = stay - await there()
    assert not missing, f"these have ended, though nothing said so ({where}): {sorted(missing)}"


async def _look_at_states_of_stopped_sessions(kit: Kit, short: float) -> None:
    """Who stops a session may end its state sooner than it would, and not later."""
    for session_ttl, ttls in ((LONG, (short,)), (short, (None, LONG))):
        limits = ResourceLimits(session_ttl=session_ttl)
        async with kit.runtime(increment, limits=limits) as runtime:
            for ttl in ttls:
                name = f"stopped {ttl}"
                await runtime.state.set(name, TestState(), ttl)
                await runtime.state.set(f"other {ttl}", TestState())
                await runtime.stop_session(name)
                await _look_at_lives(
                    kit, runtime, {name: True, f"other {ttl}": False}, f"{session_ttl=}"
                )
