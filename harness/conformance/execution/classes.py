"""Compositions of many parts, and of states of several classes."""

from __future__ import annotations

from typing import Any

from am2z import AppState, Context, Processor, batch, chain, parallel, processor, route
from harness.conformance._processors import increment, make, within
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

MANY = 101


class Parcel(AppState, frozen=True, kw_only=True):
    """What a batch is split into: no part of what it is split from."""

    label: str
    stamps: int = 0


class Bill(TestState, frozen=True, kw_only=True):
    """What comes of a plain state, with more to it."""

    number: int = 0
    lines: list[str] = []  # noqa: RUF012 - msgspec gives each its own


@processor
async def stamp(state: Parcel, _ctx: Context) -> Parcel:
    """One more stamp."""
    return state.evolve(stamps=state.stamps + 1)


async def _settle(state: TestState, _ctx: Context) -> TestState:
    return Bill(count=state.count, number=7, lines=["one"])


async def _renumber(state: TestState, _ctx: Context) -> TestState:
    assert isinstance(state, Bill), f"a step was given a {type(state).__name__}"
    return state.evolve(number=state.number + 1, lines=[*state.lines, "two"])


def _split(state: TestState) -> list[Parcel]:
    return [Parcel(label=label) for label in state.items]


def _join(state: TestState, parcels: list[Parcel]) -> TestState:
    return state.evolve(items=[f"{one.label} {one.stamps}" for one in parcels])


@rule("EXE-055")
async def test_compositions_take_many_parts_and_states_of_any_class(kit: Kit) -> None:
    settle, renumber = make("settle", _settle), make("renumber", _renumber)
    steps: list[Any] = [settle, renumber, increment]
    names = [step.name for step in steps]
    bills: list[Processor[Any]] = [
        chain("line", steps),
        chain("line_by_name", names),
        chain("nested", [chain("inner", steps[:2]), increment]),
        chain("merged", [settle, parallel("wide", [renumber, increment])]),
        chain("merged_by_name", [settle, parallel("wide_by_name", names[1:])]),
        chain("routed", [route("way", lambda _: 1, {1: settle}), *steps[1:]]),
        chain("routed_by_name", [route("way_by_name", lambda _: 1, {1: "settle"}), *names[1:]]),
    ]
    parcels: list[Processor[Any]] = [
        batch("each", stamp, split=_split, join=_join),
        batch("each_by_name", "stamp", split=_split, join=_join),
        batch("each_twice", chain("twice", [stamp, "stamp"]), split=_split, join=_join),
    ]
    async with kit.runtime(*bills, *parcels) as runtime:
        for one in bills:
            result = await runtime.execute(one, TestState(count=1, message="kept"))
            bill = result.unwrap()
            assert isinstance(bill, Bill), f"{one.name} answered with a {type(bill).__name__}"
            seen = (bill.count, bill.number, bill.lines)
            assert seen == (2, 8, ["one", "two"]), one.name
        labels = [str(number) for number in range(MANY)]
        for one in parcels:
            stamps = 2 if one.name == "each_twice" else 1
            given = labels[: MANY // stamps]
            with within(kit, f"the end of {len(given)} items"):
                result = await runtime.execute(one, TestState(items=given))
            assert result.unwrap().items == [f"{label} {stamps}" for label in given], one.name
    await _look_at_many_branches(kit)


async def _look_at_many_branches(kit: Kit) -> None:
    async def add(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(count=state.count + 1)

    adding = make("adding", add)

    def merge(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(count=sum(result.count for result in results))

    for refs in ([adding] * MANY, ["adding"] * MANY):
        wide = parallel("wide", refs, merge=merge)
        async with kit.runtime(adding, wide) as runtime:
            together = await runtime.execute(wide, TestState(count=1))
        assert together.unwrap().count == 2 * MANY
    line: Processor[Any] = chain("long", [adding] * MANY)
    async with kit.runtime(line) as runtime:
        in_turn = await runtime.execute(line, TestState(count=1))
    assert in_turn.unwrap().count == 1 + MANY
