"""What an execution commits, and what it leaves as it was."""

from __future__ import annotations

import time

from am2z import (
    Context,
    Processor,
    StateMetadata,
    chain,
)
from harness.conformance._processors import Gate, increment, make, within
from harness.conformance._watching import committed
from harness.conformance.state._shared import work_and_refuse
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("STA-001")
async def test_successful_execution_commits_its_state(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        assert await runtime.state.get("a") is None
        result = await runtime.execute(increment, TestState(count=1, items=["chair"]), "a")
        kept = await runtime.state.get("a")
    assert kept is not None
    assert kept.state == result.state
    assert type(kept.state) is TestState
    assert kept.version == 1
    await _look_at_classes(kit)


class Special(TestState, frozen=True, kw_only=True):
    """A state with a field more than the processor's own class has."""

    discount: float = 0.0


async def _look_at_classes(kit: Kit) -> None:
    """What is committed is of the class that the processor answered with, not of its own."""

    async def specialise(state: TestState, _ctx: Context) -> TestState:
        return Special(count=state.count, discount=0.5)

    async with kit.runtime(make("specialise", specialise), increment) as runtime:
        result = await runtime.execute("specialise", TestState(count=1), "b")
        kept = await runtime.state.get("b")
        assert kept is not None
        assert type(kept.state) is type(result.state) is Special
        assert kept.state == result.state
        after = await runtime.execute(increment, kept.state, "b")
        last = await runtime.state.get("b")
    assert last is not None
    assert last.state == after.state
    assert isinstance(last.state, Special), "a processor has cut off what it does not know"
    assert (last.state.count, last.state.discount, last.version) == (2, 0.5, 2)


@rule("STA-003")
async def test_state_goes_through_a_series_of_executions_unharmed(kit: Kit) -> None:
    async def add(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(count=state.count + 1, items=[*state.items, str(state.count)])

    state = TestState(message="kept")
    async with kit.runtime(make("add", add)) as runtime:
        for number in range(1, 6):
            result = await runtime.execute("add", state, "a")
            kept = await committed(runtime, "a")
            assert kept.state == result.state
            assert kept.version == number
            state = kept.state
    assert (state.count, state.items) == (5, ["0", "1", "2", "3", "4"])
    assert state.message == "kept"


@rule("STA-008")
async def test_processors_of_a_session_see_what_others_committed(kit: Kit) -> None:
    async def fill(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(items=["chair", "table"])

    async def price(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(total=10.0 * len(state.items))

    async with kit.runtime(make("fill", fill), make("price", price)) as runtime:
        await runtime.execute("fill", TestState(), "a")
        await runtime.execute("price", (await committed(runtime, "a")).state, "a")
        kept = await committed(runtime, "a")
        alone = await runtime.execute("price", TestState(), "a")
    assert (kept.state.items, kept.state.total, kept.version) == (["chair", "table"], 20.0, 2)
    assert (alone.state.items, alone.state.total) == ([], 0.0), "nobody gave it what is committed"


@rule("STA-010")
async def test_failed_execution_leaves_the_committed_state_as_it_was(kit: Kit) -> None:
    async def raise_late(state: TestState, ctx: Context) -> TestState:
        await ctx.call("increment", state.evolve(count=99))
        return (await ctx.call("work_and_refuse", state)).unwrap()

    steps: Processor[TestState] = chain("steps", [increment, work_and_refuse])
    failing = [work_and_refuse, make("raise_late", raise_late), steps]
    async with kit.runtime(increment, *failing) as runtime:
        await runtime.execute(increment, TestState(items=["chair"]), "a")
        before = await committed(runtime, "a")
        for one in failing:
            assert not (await runtime.execute(one, before.state, "a")).success
            assert await committed(runtime, "a") == before
            assert not (await runtime.execute(one, TestState(), "new")).success
            assert await runtime.state.get("new") is None


@rule("STA-013")
async def test_version_grows_by_one_for_each_successful_execution(kit: Kit) -> None:
    async def outer(state: TestState, ctx: Context) -> TestState:
        for _ in range(2):
            state = (await ctx.call("increment", state)).unwrap()
            versions.append(await runtime.state.version("a"))
        return state

    versions: list[int] = []
    steps: Processor[TestState] = chain("steps", [increment, increment, "increment"])
    async with kit.runtime(increment, make("outer", outer), steps, work_and_refuse) as runtime:
        for name in ("increment", "outer", "work_and_refuse", "steps", "increment"):
            await runtime.execute(name, TestState(), "a")
            versions.append(await runtime.state.version("a"))
    assert versions == [1, 1, 1, 2, 2, 3, 4], "a nested call, a step or a failure was committed"


@rule("STA-014")
async def test_version_in_the_metadata_grows_with_every_execution(kit: Kit) -> None:
    state, versions = TestState(), [1]
    async with kit.runtime(increment, *_MAKERS) as runtime:
        for one in (increment, *_MAKERS, increment):
            state = (await runtime.execute(one, state, "a")).unwrap()
            versions.append(state.metadata.version)
    assert versions == sorted(set(versions)), f"versions that do not grow: {versions}"
    await _look_at_metadata(kit)


async def _from_nothing(_state: TestState, _ctx: Context) -> TestState:
    return TestState(message="new")


async def _as_it_was(state: TestState, _ctx: Context) -> TestState:
    return state


async def _by_calling(state: TestState, ctx: Context) -> TestState:
    return (await ctx.call("from_nothing", state)).unwrap()


_MAKERS: list[Processor[TestState]] = [
    make("from_nothing", _from_nothing),
    make("as_it_was", _as_it_was),
    make("by_calling", _by_calling),
    chain("in_place", [make("first", _from_nothing), make("second", _as_it_was)]),
    chain("by_name", ["from_nothing", "as_it_was"]),
]


async def _look_at_metadata(kit: Kit) -> None:
    """Whatever a state went through, it says whose it is, and since when it is there."""
    born, changed = time.time() - 10.0, time.time() - 5.0
    old = StateMetadata(version=7, session_id="elsewhere", created_at=born, last_updated=changed)
    seen: list[StateMetadata] = []

    async def look_at_it(state: TestState, ctx: Context) -> TestState:
        assert state.metadata.session_id == state.evolve(count=1).metadata.session_id
        assert state.metadata.session_id == ctx.session_id
        seen.append(state.metadata)
        return state

    looking = make("look_at_it", look_at_it)
    async with kit.runtime(looking, increment, *_MAKERS) as runtime:
        for one in (looking, increment, *_MAKERS):
            for session_id in ("a", None):
                result = await runtime.execute(one, TestState(metadata=old), session_id)
                made = result.unwrap().metadata
                assert made.session_id == result.metadata.session_id, f"{one.name}: {made}"
                assert made.version > 7, f"{one.name}: {made}"
                assert made.created_at == born, f"{one.name} forgot when the state was made: {made}"
                assert made.last_updated >= changed, f"{one.name}: {made}"
                if session_id is not None:
                    assert (await committed(runtime, session_id)).state.metadata == made
    asked = [(one.version, one.created_at, one.last_updated) for one in seen]
    assert asked == [(7, born, changed)] * 2, "a processor is given other metadata than was sent"


@rule("STA-023")
async def test_committed_state_outlives_its_runtime(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        await runtime.execute(increment, TestState(count=1), "a")
        before = await committed(runtime, "a")
    async with kit.runtime(increment) as runtime:
        assert await committed(runtime, "a") == before
        await runtime.execute(increment, before.state, "a")
        kept = await committed(runtime, "a")
    assert (kept.state.count, kept.version) == (3, 2)


@rule("STA-024")
async def test_runtimes_of_a_namespace_share_committed_states(kit: Kit) -> None:
    async with (
        kit.runtime(increment, role="worker"),
        kit.runtime(role="client") as client,
        kit.runtime(role="client") as other,
    ):
        result = await client.execute(increment.name, TestState(count=1), "a")
        kept = await committed(other, "a")
        assert kept.state == result.unwrap()
        assert await committed(client, "a") == kept
        await other.state.update("a", lambda state: state.evolve(count=10))
        assert (await committed(client, "a")).state.count == 10
        assert await client.state.version("a") == 2


@rule("STA-030")
async def test_what_ends_last_is_what_is_committed(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor, increment) as runtime:
        handle = await runtime.submit(gate.processor, TestState(message="slow"), "a")
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        await runtime.execute(increment, TestState(message="quick"), "a")
        await runtime.state.set("a", TestState(message="by hand"))
        between = await committed(runtime, "a")
        gate.open()
        result = await handle.result()
        after = await committed(runtime, "a")
    assert (between.state.message, between.version) == ("by hand", 2)
    assert result.success, result.error
    assert (after.state.message, after.version) == ("slow", 3)
    assert after.state == result.state
