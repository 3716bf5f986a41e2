"""set, update and delete, also of many at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio

from am2z import (
    ConfigurationError,
    StateConflictError,
    StateNotFoundError,
    ValidationError,
)
from harness.conformance._watching import committed
from harness.conformance.state._shared import add_one
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("STA-002")
async def test_write_that_expects_another_version_changes_nothing(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        store = runtime.state
        assert await store.set("a", TestState(count=1), expected_version=0) == 1
        assert await store.set("a", TestState(count=2), expected_version=1) == 2
        for wrong in (0, 1, 3):
            with pytest.raises(StateConflictError) as conflict:
                await store.set("a", TestState(count=99), expected_version=wrong)
            assert conflict.value.context["expected"] == wrong
            assert conflict.value.context["actual"] == 2
        kept = await committed(runtime, "a")
        same = TestState(count=3)
        again = [await store.set("b", same) for _ in range(3)]
        again.append(await store.set("b", same, expected_version=3))
    assert (kept.version, kept.state.count) == (2, 2)
    assert again == [1, 2, 3, 4], "what is set as it was is a commit like any other"


@rule("STA-004")
async def test_concurrent_updates_lose_none(kit: Kit) -> None:
    async def add(state: TestState) -> TestState:
        await trio.lowlevel.checkpoint()
        return state.evolve(count=state.count + 1)

    async with kit.runtime() as runtime:
        await runtime.state.set("a", TestState())
        answers: list[int] = []

        async def update() -> None:
            answers.append((await runtime.state.update("a", add)).count)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(update)
        kept = await committed(runtime, "a")
    assert (kept.state.count, kept.version) == (20, 21)
    assert sorted(answers) == list(range(1, 21)), "two updates were made from the same state"


@rule("STA-009")
async def test_writes_in_one_session_are_not_seen_in_another(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        store = runtime.state
        for session_id in ("a", "b"):
            await store.set(session_id, TestState(count=1))
        await store.set("a", TestState(count=2))
        await store.update("a", lambda state: state.evolve(message="changed"))
        kept = await committed(runtime, "b")
        assert (kept.state.count, kept.state.message, kept.version) == (1, "", 1)
        await store.delete("a")
        assert await store.exists("b")


@rule("STA-015")
async def test_update_of_an_absent_state_is_an_error(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        with pytest.raises(StateNotFoundError):
            await runtime.state.update("nobody", lambda state: state)
        assert not await runtime.state.exists("nobody")


@rule("STA-016")
async def test_update_that_always_loses_ends_in_a_conflict(kit: Kit) -> None:
    tries: list[int] = []

    async def lose(state: TestState) -> TestState:
        tries.append(1)
        await runtime.state.set("a", state.evolve(message="somebody was faster"))
        return state.evolve(count=99)

    async with kit.runtime() as runtime:
        await runtime.state.set("a", TestState(count=1))
        with pytest.raises(StateConflictError):
            await runtime.state.update("a", lose)
        kept = await committed(runtime, "a")
    assert (kept.state.count, kept.state.message) == (1, "somebody was faster")
    assert len(tries) == 64


@rule("STA-017")
async def test_of_many_writers_that_expect_one_version_one_wins(kit: Kit) -> None:
    won: list[int] = []
    async with kit.runtime() as runtime:
        await runtime.state.set("a", TestState())

        async def write(number: int) -> None:
            try:
                await runtime.state.set("a", TestState(count=number), expected_version=1)
            except StateConflictError:
                return
            won.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(1, 11):
                nursery.start_soon(write, number)
        kept = await committed(runtime, "a")
    assert won == [kept.state.count]
    assert kept.version == 2


@rule("STA-020")
async def test_absent_state_is_no_error_to_ask_for_or_delete(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        store = runtime.state
        assert await store.get("nobody") is None
        assert not await store.exists("nobody")
        assert await store.version("nobody") == 0
        await store.delete("nobody")
        await store.set("a", TestState())
        assert await store.exists("a")
        await store.delete("a")
        assert await store.get("a") is None
        assert await store.version("a") == 0
    await _look_at_illegal_names(kit)


async def _look_at_illegal_names(kit: Kit) -> None:
    """A name that nobody can have is no absent one: whoever asks for it is told."""
    async with kit.runtime() as runtime:
        store = runtime.state
        for name in ("", "two\nlines", "zero\x00", "x" * 257):
            asked: list[tuple[Callable[..., Awaitable[object]], list[Any]]] = [
                (store.get, []),
                (store.get, [TestState]),
                (store.set, [TestState()]),
                (store.update, [add_one]),
                (store.delete, []),
                (store.exists, []),
                (store.version, []),
            ]
            for ask, rest in asked:
                with pytest.raises(ConfigurationError):
                    await ask(name, *rest)


@rule("STA-021")
async def test_update_takes_plain_and_async_functions_and_gives_the_new_state(kit: Kit) -> None:
    async def async_add(state: TestState) -> TestState:
        await trio.lowlevel.checkpoint()
        return state.evolve(count=state.count + 10)

    def add(state: TestState) -> TestState:
        return state.evolve(count=state.count + 1)

    async with kit.runtime() as runtime:
        await runtime.state.set("a", TestState())
        plain = await runtime.state.update("a", add)
        last = await runtime.state.update("a", async_add)
        kept = await committed(runtime, "a")
    assert (plain.count, last.count, kept.state.count, kept.version) == (1, 11, 11, 3)
    await _look_at_failing_updates(kit)


async def _look_at_failing_updates(kit: Kit) -> None:
    """What the function raises is its caller's; what it returns is the whole new state."""
    error, calls = KeyError("mine"), list[int]()

    def fail(_state: TestState) -> TestState:
        calls.append(1)
        raise error

    async def fail_later(state: TestState) -> TestState:
        await trio.lowlevel.checkpoint()
        return fail(state)

    def answer_nothing(_state: TestState) -> None: ...

    def begin_anew(_state: TestState) -> TestState:
        return TestState(message="new")

    async with kit.runtime() as runtime:
        await runtime.state.set("a", TestState(count=1))
        before = await committed(runtime, "a")
        for failing in (fail, fail_later):
            with pytest.raises(KeyError) as raised:
                await runtime.state.update("a", failing)
            assert raised.value is error, "what the function raised has to pass as it is"
        with pytest.raises(ValidationError):
            await runtime.state.update("a", cast("Any", answer_nothing))
        assert calls == [1, 1], "a function that raised was called again"
        assert await committed(runtime, "a") == before
        answer = await runtime.state.update("a", begin_anew)
        after = await committed(runtime, "a")
    assert answer == after.state, "update() answers another state than the one that it committed"
    assert (after.state.message, after.state.count) == ("new", 0)
    assert after.version == before.version + 1


@rule("STA-029")
async def test_update_writes_only_over_the_very_state_it_read(kit: Kit) -> None:
    async def while_another_is_set(state: TestState) -> TestState:
        if not seen:
            await runtime.state.delete("a")
            await runtime.state.set("a", TestState(count=10))
        seen.append(state.count)
        return add_one(state)

    async def while_it_is_deleted(state: TestState) -> TestState:
        await runtime.state.delete("a")
        return add_one(state)

    seen: list[int] = []
    async with kit.runtime() as runtime:
        await runtime.state.set("a", TestState(count=1))
        answer = await runtime.state.update("a", while_another_is_set)
        kept = await committed(runtime, "a")
        assert (seen, answer.count) == ([1, 10], 11)
        assert (kept.state.count, kept.version) == (11, 2)
        with pytest.raises(StateNotFoundError):
            await runtime.state.update("a", while_it_is_deleted)
        assert not await runtime.state.exists("a")
