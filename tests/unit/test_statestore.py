"""The local state manager: versions, compare-and-set, expiry, and damage that is noticed."""

import math
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from am2z import (
    AppState,
    ConfigurationError,
    LocalStateManager,
    PayloadTooLargeError,
    StateConflictError,
    StateCorruptError,
    StateNotFoundError,
    ValidationError,
)
from am2z import statestore as statestore_module


class Count(AppState):
    count: int = 0
    anything: Any = None


class Other(AppState):
    name: str = ""


def run(main: Any) -> Any:
    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_versions_count_commits_and_begin_anew_after_a_delete() -> None:
    async def main() -> None:
        store = LocalStateManager()
        assert await store.get("s") is None
        assert (await store.version("s"), await store.exists("s")) == (0, False)
        assert [await store.set("s", Count(count=n)) for n in range(3)] == [1, 2, 3]
        got = await store.get("s", Count)
        assert got is not None
        assert (got.state.count, got.version, len(got.checksum)) == (2, 3, 64)
        assert (await store.version("s"), await store.exists("s")) == (3, True)
        await store.delete("s")
        await store.delete("s")
        assert await store.get("s") is None
        assert await store.set("s", Count()) == 1

    run(main)


def test_a_write_with_an_expected_version_wins_or_says_what_is_there() -> None:
    async def main() -> None:
        store = LocalStateManager()
        assert await store.set("s", Count(), expected_version=0) == 1
        with pytest.raises(StateConflictError, match=r"at version 1, not 0; read it again") as info:
            await store.set("s", Count(), expected_version=0)
        assert info.value.context == {"session_id": "s", "expected": 0, "actual": 1}
        assert await store.set("s", Count(), expected_version=1) == 2
        with pytest.raises(ConfigurationError, match="give 0 or more"):
            await store.set("s", Count(), expected_version=-1)

    run(main)


def test_a_state_is_kept_for_its_ttl_exactly() -> None:
    async def main() -> None:
        store = LocalStateManager(ttl=10)
        await store.set("default", Count())
        await store.set("short", Count(), ttl=2)
        await trio.sleep(1.9)
        assert await store.exists("short")
        await trio.sleep(0.1)
        assert not await store.exists("short")
        assert await store.version("short") == 0
        await trio.sleep(7.9)
        assert await store.exists("default")
        await trio.sleep(0.1)
        assert await store.get("default") is None
        for ttl in (0, -1, math.inf):
            with pytest.raises(ConfigurationError, match="ttl"):
                await store.set("s", Count(), ttl=ttl)

    run(main)


def test_what_was_read_and_what_was_written_share_nothing() -> None:
    async def main() -> None:
        store = LocalStateManager()
        items = [1]
        await store.set("s", Count(anything=items))
        items.append(2)
        first = await store.get("s", Count)
        assert first is not None
        first.state.anything.append(3)
        second = await store.get("s", Count)
        assert second is not None
        assert second.state.anything == [1]

    run(main)


@pytest.mark.parametrize("name", ["", "a\n", 7, "x" * 257])
def test_an_illegal_session_is_refused_by_every_method(name: Any) -> None:
    async def main() -> None:
        store = LocalStateManager()
        for call in (store.get, store.version, store.exists, lambda s: store.set(s, Count())):
            with pytest.raises(ConfigurationError, match="session"):
                await call(name)

    run(main)


def test_a_state_that_cannot_be_stored_is_refused_and_the_old_one_stays() -> None:
    async def main() -> None:
        store = LocalStateManager(max_bytes=500)
        await store.set("s", Count(count=1))
        for state, error in (
            (Count(anything=object()), ValidationError),
            (Count(count="x"), ValidationError),  # type: ignore[arg-type]
            (Count(anything="x" * 1000), PayloadTooLargeError),
            ({"count": 1}, ValidationError),
        ):
            with pytest.raises(error):
                await store.set("s", state)  # type: ignore[arg-type]
        got = await store.get("s")
        assert got is not None
        assert got.state.count == 1  # type: ignore[attr-defined]
        assert got.version == 1

    run(main)


def test_damage_and_other_classes_are_noticed_with_the_session_named() -> None:
    async def main() -> None:
        store = LocalStateManager()
        await store.set("s", Count(count=1))
        with pytest.raises(ValidationError, match="does not fit Strict") as info:
            await store.get("s", Strict)
        assert info.value.context["session_id"] == "s"
        record, expires = store._records["s"]
        store._records["s"] = (record._replace(type_name="gone:Gone"), expires)
        with pytest.raises(ValidationError, match="'gone:Gone' is unknown here"):
            await store.get("s")
        store._records["s"] = (record._replace(data=record.data + b"\xc0"), expires)
        with pytest.raises(StateCorruptError, match="does not match its checksum; restore"):
            await store.get("s")

    run(main)


class Strict(AppState):
    needed: int


def test_update_reads_changes_and_writes_with_either_kind_of_function() -> None:
    async def main() -> None:
        store = LocalStateManager()
        await store.set("s", Count())

        async def later(state: Count) -> Count:
            await trio.sleep(1)
            return state.evolve(count=state.count + 10)

        assert (await store.update("s", later)).count == 10
        new = await store.update("s", lambda state: state.evolve(count=state.count + 1))  # type: ignore[attr-defined]
        assert new.count == 11
        assert await store.version("s") == 3

    run(main)


def test_concurrent_updates_lose_nothing() -> None:
    async def main() -> None:
        store = LocalStateManager()
        await store.set("s", Count())

        async def add(state: Count) -> Count:
            await trio.lowlevel.checkpoint()
            return state.evolve(count=state.count + 1)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(store.update, "s", add)
        got = await store.get("s", Count)
        assert got is not None
        assert (got.state.count, got.version) == (10, 11)

    run(main)


def test_an_update_that_others_always_overtake_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statestore_module, "UPDATE_ATTEMPTS", 3)

    async def main() -> None:
        store = LocalStateManager()
        await store.set("s", Count())

        async def overtaken(state: Count) -> Count:
            await store.set("s", Count())
            return state

        with pytest.raises(StateConflictError, match="in each of 3 tries"):
            await store.update("s", overtaken)

    run(main)


def test_an_update_of_nothing_or_to_nothing_is_refused() -> None:
    async def main() -> None:
        store = LocalStateManager()
        with pytest.raises(StateNotFoundError, match=r"call set\(\) first"):
            await store.update("s", lambda state: state)
        await store.set("s", Count())
        with pytest.raises(ValidationError, match="the update returned a NoneType"):
            await store.update("s", lambda state: None)  # type: ignore[arg-type,return-value]
        assert await store.version("s") == 1

    run(main)


def test_a_state_of_another_class_replaces_the_old_one() -> None:
    async def main() -> None:
        store = LocalStateManager()
        await store.set("s", Count())
        await store.set("s", Other(name="x"))
        got = await store.get("s")
        assert got is not None
        assert type(got.state) is Other
        assert msgspec.structs.asdict(got.state)["name"] == "x"

    run(main)
