"""States cross by value: what is in them, what cannot be, and as which class they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from am2z import (
    AM2ZError,
    AppState,
    Context,
    NetworkError,
    ProcessorResult,
    RetryPolicy,
    ValidationError,
    create_processor,
)
from harness.conformance._processors import increment, make
from harness.conformance._watching import committed
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


class Colour(Enum):
    """A field of every kind that programs commonly have."""

    RED = "red"


class Line(msgspec.Struct, frozen=True):
    """A record inside a state."""

    sku: str
    amount: int = 1


@dataclass
class Part:
    """A plain dataclass inside a state."""

    name: str
    sizes: list[int]


class Everything(AppState, frozen=True, kw_only=True):
    """One field of each kind that a state may hold."""

    lines: list[Line]
    by_sku: dict[str, Line]
    matrix: list[list[int]]
    tags: set[str]
    codes: set[int]
    pair: tuple[int, str]
    day: date
    moment: datetime
    key: UUID
    raw: bytes
    price: Decimal
    colour: Colour
    text: str
    large: int
    small: float
    nothing: int | None
    part: Part


class Cart:
    """Has a class of states whose bare name another one has, too."""

    class Line(AppState):
        sku: str = ""


class Invoice:
    """See ``Cart``."""

    class Line(AppState):
        amount: float = 0.0


class Total(AppState, frozen=True, kw_only=True):
    """A part of ``TestState``, for who wants to know no more."""

    count: int = 0
    currency: str = "EUR"


class Misfit(AppState, frozen=True, kw_only=True):
    """What nobody can read a ``TestState`` as."""

    count: str


class Loose(AppState, frozen=True, kw_only=True):
    """A state whose field may hold what no wire can carry."""

    anything: Any = None


EVERYTHING = Everything(
    lines=[Line("chair", 4), Line("table")],
    by_sku={"chair": Line("chair"), "": Line("")},
    matrix=[[1, 2], [], [3]],
    tags={"b", "a", "c"},
    codes={0, 8},
    pair=(7, "seven"),
    day=date(2024, 2, 29),
    moment=datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    key=UUID("12345678-1234-5678-1234-567812345678"),
    raw=bytes(range(256)),
    price=Decimal("0.10"),
    colour=Colour.RED,
    text="na\u00efve \U0001f600 \u202e\x00 'quoted' \\ {}",
    large=2**63 - 1,
    small=-1e-300,
    nothing=None,
    part=Part("leg", [1, 2]),
)


@rule("STA-005")
async def test_every_kind_of_field_survives_the_journey(kit: Kit) -> None:
    async def touch(state: Everything, _ctx: Context) -> Everything:
        assert state.lines[0].amount == 4
        return state.evolve(nothing=state.nothing)

    async with kit.runtime(create_processor("touch").process(touch)) as runtime:
        result = await runtime.execute("touch", EVERYTHING, "a")
        kept = await runtime.state.get("a", Everything)
    assert kept is not None
    for field in Everything.__struct_fields__:
        if field != "metadata":
            assert getattr(result.unwrap(), field) == getattr(EVERYTHING, field), field
            assert getattr(kept.state, field) == getattr(EVERYTHING, field), field


@rule("STA-006")
async def test_checksum_tells_equal_states_from_different_ones(kit: Kit) -> None:
    # Equal, and yet in another order: 0 and 8 fall into one place of a set's table.
    same = msgspec.structs.replace(
        EVERYTHING, codes={8, 0}, by_sku=dict(reversed(EVERYTHING.by_sku.items()))
    )
    assert same == EVERYTHING
    other = msgspec.structs.replace(EVERYTHING, raw=bytes(reversed(range(256))))
    checksums: list[str] = []
    async with kit.runtime() as runtime:
        for state in (EVERYTHING, same, other):
            await runtime.state.set("a", state)
            kept = await runtime.state.get("a", Everything)
            assert kept is not None
            checksums.append(kept.checksum)
    first, second, third = checksums
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert first == second, "equal states have different checksums"
    assert first != third, "different states have the same checksum"


@rule("STA-011")
async def test_nothing_that_one_side_does_to_a_state_is_seen_by_another(kit: Kit) -> None:
    held: list[TestState] = []

    async def inner(state: TestState, _ctx: Context) -> TestState:
        state.items.append("inner")
        return state

    async def outer(state: TestState, ctx: Context) -> TestState:
        held.append(state)
        child = await ctx.call("inner", state)
        assert child.state.items == ["chair", "inner"]
        assert state.items == ["chair"], "a nested call changed its caller's state"
        return state

    given = TestState(items=["chair"])
    async with kit.runtime(make("inner", inner), make("outer", outer)) as runtime:
        result = await runtime.execute("outer", given, "a")
        result.unwrap().items.append("by the caller")
        held[0].items.append("by the processor, later")
        (await committed(runtime, "a")).state.items.append("by a reader")
        assert (await committed(runtime, "a")).state.items == ["chair"]
        await runtime.execute("inner", given, "b")
    assert given.items == ["chair"], "an execution changed its caller's state"


@rule("STA-012")
async def test_every_attempt_begins_with_the_state_that_was_given(kit: Kit) -> None:
    seen: list[list[str]] = []

    async def spoil(state: TestState, ctx: Context) -> TestState:
        seen.append(list(state.items))
        state.items.append("spoilt")
        if ctx.metadata.attempt < 3:
            raise NetworkError("down")
        return state

    policy = RetryPolicy(max_attempts=3, backoff=0)
    async with kit.runtime(make("spoil", spoil, retry=policy)) as runtime:
        result = await runtime.execute("spoil", TestState(items=["chair"]), "a")
    assert seen == [["chair"]] * 3
    assert result.state.items == ["chair", "spoilt"]


@rule("STA-018")
async def test_state_that_cannot_cross_is_refused_with_the_path_of_its_field(kit: Kit) -> None:
    runs: list[int] = []

    async def run(state: Loose, _ctx: Context) -> Loose:
        runs.append(1)
        return state

    async def ask(state: Loose, ctx: Context) -> Loose:
        with pytest.raises(ValidationError) as refused:
            await ctx.call("run", bad)
        paths.append(refused.value.field)
        return state

    paths: list[str] = []
    bad = Loose(anything={"rows": [1, object()]})
    asking = create_processor("ask").process(ask)
    async with kit.runtime(create_processor("run").process(run), asking) as runtime:
        assert (await runtime.execute("ask", Loose())).success
        assert paths == ["anything['rows'][1]"]
        for call in (runtime.execute, runtime.submit):
            with pytest.raises(ValidationError) as refused:
                await call("run", bad, "a")
            assert refused.value.field == "anything['rows'][1]"
        with pytest.raises(ValidationError) as refused:
            await runtime.state.set("a", bad)
        assert refused.value.field == "anything['rows'][1]"
        assert not await runtime.state.exists("a")
    assert runs == []


@rule("STA-019")
async def test_result_that_cannot_cross_fails_and_commits_nothing(kit: Kit) -> None:
    async def spoil(state: Loose, _ctx: Context) -> Loose:
        return state.evolve(anything=[object()])

    async with kit.runtime(create_processor("spoil").process(spoil)) as runtime:
        result: ProcessorResult[Loose] = await runtime.execute("spoil", Loose(anything=1), "a")
        kept = await runtime.state.get("a")
    assert not result.success
    error: AM2ZError | None = result.error
    assert isinstance(error, ValidationError)
    assert error.field == "anything[0]"
    assert result.state.anything == 1
    assert kept is None


@rule("STA-031")
async def test_state_is_read_as_the_class_that_is_asked_for(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        await runtime.execute(increment, TestState(count=6), "a")
        await runtime.state.set("b", TestState(count=7))
        for session_id in ("a", "b"):
            stored = await runtime.state.get(session_id)
            part = await runtime.state.get(session_id, Total)
            assert stored is not None
            assert part is not None
            assert await committed(runtime, session_id) == stored
            assert type(stored.state) is TestState
            assert type(part.state) is Total
            assert (part.state.count, part.state.currency) == (7, "EUR")
            assert (part.version, part.checksum) == (stored.version, stored.checksum)
            with pytest.raises(ValidationError) as refused:
                await runtime.state.get(session_id, Misfit)
            assert refused.value.field == "count"
            assert await committed(runtime, session_id) == stored, "reading has changed it"
        await runtime.state.set("b", Total(count=8))
        other = await runtime.state.get("b")
        assert other is not None
        assert type(other.state) is Total
        assert await runtime.state.get("nobody", Total) is None
        for line in (Cart.Line(sku="chair"), Invoice.Line(amount=49.0)):
            await runtime.state.set("c", line)
            found = await runtime.state.get("c")
            assert found is not None
            assert type(found.state) is type(line), "two classes with one bare name are mixed up"
