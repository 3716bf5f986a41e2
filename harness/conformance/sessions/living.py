"""From the first execution of a session over its end to its next beginning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from am2z import ConfigurationError, SessionStoppedError
from harness.conformance._processors import Gate, increment, within
from harness.conformance._watching import committed
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("SES-003")
async def test_session_comes_to_be_with_its_first_execution(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor) as runtime:
        await runtime.state.set("customer-7", TestState())
        await runtime.state.update("customer-7", lambda state: state.evolve(count=1))
        before = await runtime.active_sessions()
        handle = await runtime.submit(gate.processor, TestState(), "customer-7")
        with within(kit, "the start of the first execution"):
            await gate.started.wait()
        during = await runtime.active_sessions()
        gate.open()
        await handle.result()
        after = await runtime.active_sessions()
    assert (before, during, after) == ([], ["customer-7"], ["customer-7"])


@rule("SES-006")
async def test_cleaned_session_is_forgotten_with_its_state(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        for session_id in ("a", "b"):
            await runtime.execute(increment, TestState(), session_id)
        await runtime.execute(increment, TestState(), "a")
        await runtime.clean_session("a")
        assert await runtime.active_sessions() == ["b"]
        assert await runtime.state.get("a") is None
        assert (await committed(runtime, "b")).version == 1
        assert (await runtime.execute(increment, TestState(), "a")).success
        assert await runtime.state.version("a") == 1


@rule("SES-010")
async def test_session_lives_is_stopped_and_lives_again(kit: Kit) -> None:
    async def outcome() -> tuple[bool, list[str]]:
        result = await runtime.execute(increment, TestState(), "a")
        return result.success, await runtime.active_sessions()

    async with kit.runtime(increment) as runtime:
        assert await outcome() == (True, ["a"])
        await runtime.stop_session("a")
        assert await outcome() == (False, [])
        await runtime.clean_session("a")
        assert await runtime.active_sessions() == []
        assert await outcome() == (True, ["a"])


@rule("SES-016")
async def test_active_sessions_are_sorted(kit: Kit) -> None:
    names = ["b", "10", "a", "9", "B", "ä"]
    async with kit.runtime(increment) as runtime:
        for name in names:
            await runtime.execute(increment, TestState(), name)
        assert await runtime.active_sessions() == sorted(names)


@rule("SES-017")
async def test_cleaning_all_sessions_leaves_none(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        for name in ("a", "b", "c"):
            await runtime.execute(increment, TestState(), name)
        await runtime.stop_session("stopped")
        for number in range(20):
            await runtime.execute(increment, TestState(), f"one of many {number}")
        await runtime.clean_all_sessions()
        assert await runtime.active_sessions() == []
        assert not any([await runtime.state.exists(name) for name in ("a", "b", "c")])
        assert [await runtime.session_stats(name) for name in ("a", "b", "c")] == [{}] * 3
        assert (await runtime.execute(increment, TestState(), "a")).success
        await runtime.clean_all_sessions()
        await runtime.clean_all_sessions()  # of none at all
        refused = await runtime.execute(increment, TestState(), "stopped")
    assert isinstance(refused.error, SessionStoppedError), "a stopped session is no active one"


@rule("SES-019")
async def test_illegal_session_id_is_refused_at_once(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        pair = [(increment, TestState())]
        ways: dict[str, Callable[[str], Awaitable[object]]] = {
            "execute": lambda name: runtime.execute(increment, TestState(), name),
            "submit": lambda name: runtime.submit(increment, TestState(), name),
            "execute_in_session": lambda name: runtime.execute_in_session(
                increment, TestState(), name
            ),
            "execute_many": lambda name: runtime.execute_many(increment, [TestState()], name),
            "execute_many, of pairs": lambda name: runtime.execute_many(pair, None, name),
            "stop_session": runtime.stop_session,
            "clean_session": runtime.clean_session,
            "session_stats": runtime.session_stats,
            "state.set": lambda name: runtime.state.set(name, TestState()),
            "state.get": runtime.state.get,
            "state.update": lambda name: runtime.state.update(name, lambda state: state),
            "state.exists": runtime.state.exists,
            "state.version": runtime.state.version,
        }
        for session_id in ("", "a\nb", "a\x00b", "x" * 257, "\ud800"):
            refused: list[str] = []
            for name, ask in ways.items():
                try:
                    await ask(session_id)
                except ConfigurationError:
                    refused.append(name)
            assert refused == list(ways), f"what refuses {session_id!r:.9}, and shall"
        assert await runtime.active_sessions() == []
        longest = "x" * 256
        assert (await runtime.execute(increment, TestState(), longest)).success
        assert await runtime.active_sessions() == [longest]
