"""STA: states cross by value, are committed in one step, and are never lost or mixed up."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest
import trio

from am2z import (
    AM2ZError,
    AppState,
    BusinessError,
    ConfigurationError,
    Context,
    NetworkError,
    Processor,
    ProcessorResult,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    StateConflictError,
    StateNotFoundError,
    ValidationError,
    chain,
    create_processor,
)
from harness.conformance._processors import CLOCK_GRAIN, Gate, increment, make, within
from harness.conformance._watching import committed
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


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


async def _work_and_refuse(state: TestState, _ctx: Context) -> TestState:
    state.items.append("half done")
    raise BusinessError("refused")


work_and_refuse = make("work_and_refuse", _work_and_refuse)


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
    assert (kept.version, kept.state.count) == (2, 2)


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


@rule("STA-007")
async def test_state_expires_with_its_ttl_and_not_before(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.04

    async def gone() -> bool:
        return not await runtime.state.exists("a")

    async with kit.runtime() as runtime:
        await runtime.state.set("b", TestState(count=2))
        started = trio.current_time()
        await runtime.state.set("a", TestState(count=1), ttl=ttl)
        if kit.virtual_time:
            await trio.sleep(ttl - 0.001)
            assert not await gone()
            await trio.sleep(0.002)
            assert await gone()
        else:
            await wait_for_condition(gone, message="the end of a state's TTL")
            assert trio.current_time() - started >= ttl - CLOCK_GRAIN
        assert await runtime.state.get("a") is None
        assert await runtime.state.version("a") == 0
        assert (await committed(runtime, "b")).state.count == 2


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
    async def from_nothing(_state: TestState, _ctx: Context) -> TestState:
        return TestState(message="new")

    async def as_it_was(state: TestState, _ctx: Context) -> TestState:
        return state

    state, versions = TestState(), [1]
    async with kit.runtime(
        increment, make("from_nothing", from_nothing), make("as_it_was", as_it_was)
    ) as runtime:
        for name in ("increment", "from_nothing", "as_it_was", "increment"):
            state = (await runtime.execute(name, state, "a")).unwrap()
            versions.append(state.metadata.version)
    assert versions == sorted(set(versions)), f"versions that do not grow: {versions}"


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


@rule("STA-022")
async def test_committed_state_expires_when_nobody_touches_it(kit: Kit) -> None:
    ttl = 0.2 if kit.virtual_time else 0.04

    async def gone() -> bool:
        return not await runtime.state.exists("a")

    async with kit.runtime(increment, config=RuntimeConfig(state_ttl=ttl)) as runtime:
        await runtime.execute(increment, TestState(), "a")
        if kit.virtual_time:
            await trio.sleep(0.6 * ttl)
        started = trio.current_time()
        await runtime.execute(increment, TestState(), "a")
        if kit.virtual_time:
            await trio.sleep(0.9 * ttl)
            assert not await gone()
        await wait_for_condition(gone, message="the end of a state's TTL")
        assert trio.current_time() - started >= ttl - CLOCK_GRAIN
        for before in (None, 600.0):  # whatever the state before it was given
            await runtime.state.set("a", TestState(), before)
            await runtime.execute(increment, TestState(), "a")
            await wait_for_condition(gone, message="the end of the TTL of what was committed")
    async with kit.runtime(increment) as runtime:
        await runtime.state.set("a", TestState(), ttl)
        await runtime.execute(increment, TestState(count=1), "a")
        await trio.sleep(1.5 * ttl)  # nothing tells that a state stays
        assert not await gone(), "the time of an earlier state ended what was committed"
        assert (await committed(runtime, "a")).state.count == 2


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


@rule("STA-025")
async def test_update_keeps_the_time_to_live(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        ttl, found = 0.1, None
        while found is None:
            began = trio.current_time()
            await runtime.state.set("s", TestState(count=1), ttl=ttl)
            with suppress(StateNotFoundError):
                await runtime.state.update("s", _add_one)
                found = await runtime.state.get("s", TestState)
            took = trio.current_time() - began
            assert found is not None or took >= ttl - CLOCK_GRAIN, "the state ended too early"
            ttl *= 4  # for where all this took longer than the state lives
        assert found.state.count == 2
        await wait_for_condition(
            lambda: _is_gone(runtime), kit.timeout + ttl, message="the updated state to expire"
        )
        await runtime.state.set("s", TestState(count=1))
        kept = await committed(runtime, "s")
        assert kept.state.metadata.session_id == "s"
        ttl = 0.1 if kit.virtual_time else 0.03
        for later in (None, 600.0):  # a state that is set anew lives as long as it is told now
            await runtime.state.set("t", TestState(), ttl=ttl)
            await runtime.state.set("t", TestState(), later)
            await trio.sleep(1.5 * ttl)
            assert await runtime.state.exists("t"), "the time of an earlier state ended a later one"
        for wrong in (0, -1, float("nan")):
            with pytest.raises(ConfigurationError):
                await runtime.state.set("t", TestState(count=9), wrong)
        with pytest.raises(ConfigurationError):
            await runtime.state.set("t", TestState(count=9), expected_version=-1)
        assert (await committed(runtime, "t")).state.count == 0


def _add_one(state: TestState) -> TestState:
    return state.evolve(count=state.count + 1)


async def _is_gone(runtime: Runtime) -> bool:
    return not await runtime.state.exists("s")


@rule("STA-029")
async def test_update_writes_only_over_the_very_state_it_read(kit: Kit) -> None:
    async def while_another_is_set(state: TestState) -> TestState:
        if not seen:
            await runtime.state.delete("a")
            await runtime.state.set("a", TestState(count=10))
        seen.append(state.count)
        return _add_one(state)

    async def while_it_is_deleted(state: TestState) -> TestState:
        await runtime.state.delete("a")
        return _add_one(state)

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
