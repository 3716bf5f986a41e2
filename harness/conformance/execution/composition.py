"""Processors made of processors."""

from __future__ import annotations

from typing import Any

import trio

from am2z import (
    Context,
    Processor,
    ValidationError,
    batch,
    chain,
    parallel,
    route,
)
from harness.conformance._processors import (
    increment,
    make,
    within,
)
from harness.conformance.execution._shared import double, spoil
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("EXE-006")
async def test_a_chain_hands_the_state_on(kit: Kit) -> None:
    steps: Processor[TestState] = chain("steps", [increment, "double", increment])
    async with kit.runtime(steps, double) as runtime:
        result = await runtime.execute(steps, TestState(count=3))
    assert result.unwrap().count == (3 + 1) * 2 + 1


@rule("EXE-007")
async def test_branches_run_together_and_merge_in_order(kit: Kit) -> None:
    second_ended = trio.Event()

    async def first(state: TestState, _ctx: Context) -> TestState:
        await second_ended.wait()
        return state.evolve(items=[*state.items, "first"])

    async def second(state: TestState, _ctx: Context) -> TestState:
        second_ended.set()
        return state.evolve(items=[*state.items, "second"])

    def merge(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(items=[str(state.items), *(str(r.items) for r in results)])

    both = parallel("both", [make("first", first), make("second", second)], merge=merge)
    named = parallel("named", ["first", "second"], merge=merge)
    async with kit.runtime(both, named) as runtime:
        for one in (both, named):
            second_ended = trio.Event()
            with within(kit, "the end of branches that wait for each other"):
                result = await runtime.execute(one, TestState(items=["start"]))
            seen = result.unwrap().items
            assert seen == ["['start']", "['start', 'first']", "['start', 'second']"]


@rule("EXE-008")
async def test_a_batch_joins_in_the_order_of_its_split(kit: Kit) -> None:
    ended = {name: trio.Event() for name in "abc"}

    async def shout(state: TestState, _ctx: Context) -> TestState:
        if state.message != "c":
            await ended[chr(ord(state.message) + 1)].wait()
        ended[state.message].set()
        return state.evolve(message=state.message.upper())

    def split(state: TestState) -> list[TestState]:
        found = [TestState(message=letter) for letter in state.items]
        state.items.append("seen by split() alone")
        return found

    def join(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(items=[r.message for r in results], error=str(state.items))

    def letters(name: str, step: Any) -> Processor[TestState]:
        return batch(name, step, split=split, join=join)

    in_place, by_name = letters("in_place", make("shout", shout)), letters("by_name", "shout")
    async with kit.runtime(in_place, by_name) as runtime:
        for one in (in_place, by_name):
            ended = {name: trio.Event() for name in "abc"}
            with within(kit, "the end of a batch whose items wait for each other"):
                full = await runtime.execute(one, TestState(items=["a", "b", "c"]))
            empty = await runtime.execute(one, TestState(items=[]))
            assert full.unwrap().items == ["A", "B", "C"]
            assert full.state.error == "['a', 'b', 'c']", "join saw what split did to its state"
            assert empty.unwrap().items == []


@rule("EXE-031")
async def test_a_route_runs_what_was_chosen(kit: Kit) -> None:
    def spoil_and_choose(state: TestState) -> str:
        state.items.append("seen by choose() alone")
        return state.message

    routes: dict[str, Any] = {"add": increment, "double": "double"}
    closed = route("closed", spoil_and_choose, routes)
    open_ = route("open", lambda state: state.message, routes, fallback=spoil)
    async with kit.runtime(closed, open_, double) as runtime:
        asked = [TestState(count=5, message=m) for m in ("add", "double", "other")]
        with_fallback = await runtime.execute_many(open_, asked)
        without = await runtime.execute_many(closed, asked)
    await _look_at_keys_that_are_nothing(kit)
    assert [result.unwrap().count for result in with_fallback] == [6, 10, 6]
    assert with_fallback[2].state.items == ["spoiled"]
    assert [result.success for result in without] == [True, True, False]
    assert [result.state.items for result in without] == [[], [], []]
    assert isinstance(without[2].error, ValidationError)
    assert "other" in str(without[2].error)


async def _look_at_keys_that_are_nothing(kit: Kit) -> None:
    """A key that is empty, zero or None is a key, where there is a route for it."""
    keys: list[Any] = [None, "", 0, (), "other"]

    async def mark(state: TestState, ctx: Context) -> TestState:
        return state.evolve(message=ctx.processor.name)

    routes = {key: make(f"way {n}", mark) for n, key in enumerate(keys[:-1])}
    open_ = route("open", lambda state: keys[state.count], routes, fallback=make("else", mark))
    async with kit.runtime(open_) as runtime:
        asked = [TestState(count=n) for n in range(len(keys))]
        results = await runtime.execute_many(open_, asked)
    went = [result.unwrap().message for result in results]
    assert went == ["way 0", "way 1", "way 2", "way 3", "else"]


@rule("EXE-032")
async def test_compositions_nest(kit: Kit) -> None:
    def add_up(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(count=sum(result.count for result in results))

    inner = chain("inner", [increment, double])
    both = parallel("both", [inner, "inner", double], merge=add_up)
    each = batch(
        "each",
        both,
        split=lambda state: [state, state],
        join=add_up,
    )
    outer = chain("outer", [route("pick", lambda _: 1, {1: each}), increment])
    async with kit.runtime(outer, inner) as runtime:
        result = await runtime.execute("outer", TestState(count=3))
    assert result.unwrap().count == 2 * (8 + 8 + 6) + 1


@rule("EXE-033")
async def test_branches_that_disagree_are_not_merged(kit: Kit) -> None:
    async def rename(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(message="renamed")

    async def plus_one(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(count=state.count + 1)

    async def clear(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(items=[], message="", count=0)

    async def keep(state: TestState, _ctx: Context) -> TestState:
        return state

    renaming = make("renaming", rename)
    clearing = parallel("clearing", [make("clear", clear), make("keep", keep)])
    agreeing = parallel("agreeing", [increment, renaming, make("same", plus_one)])
    disagreeing = parallel("disagreeing", [increment, double])
    async with kit.runtime(agreeing, disagreeing, clearing) as runtime:
        full = TestState(items=["x"], message="x", count=5, total=2.0)
        cleared = (await runtime.execute(clearing, full)).unwrap()
        merged = await runtime.execute(agreeing, TestState(count=5, items=["kept"]))
        conflict = await runtime.execute(disagreeing, TestState(count=5))
    assert (cleared.items, cleared.message, cleared.count) == ([], "", 0), "to clear is to change"
    assert cleared.total == 2.0
    assert (merged.unwrap().count, merged.state.message) == (6, "renamed")
    assert merged.state.items == ["kept"]
    assert not conflict.success
    assert conflict.state.count == 5
    assert "count" in str(conflict.error)
    await _look_at_every_conflict(kit)


async def _look_at_every_conflict(kit: Kit) -> None:
    """Whichever field two branches change, to whatever, and whoever comes first."""

    def change(name: str, field: str, value: object) -> Processor[TestState]:
        async def change_it(state: TestState, _ctx: Context) -> TestState:
            return state.evolve(**{field: value})

        return make(name, change_it)

    given = TestState(count=5, message="x", items=["x"], total=2.0)
    values: dict[str, tuple[object, object]] = {
        "count": (0, 7),
        "message": ("", "y"),
        "items": ([], ["y"]),
        "total": (0.0, 3.0),
    }
    async with kit.runtime() as runtime:
        for field, (empty, full) in values.items():
            for first, second in ((empty, full), (full, empty)):
                branches = [change("one", field, first), change("other", field, second)]
                disputed = parallel("disputed", branches)
                runtime.register(disputed)
                await runtime.sync_processors()
                result = await runtime.execute(disputed, given)
                assert not result.success, f"{field}={first!r} and {second!r} were merged"
                assert field in str(result.error)
