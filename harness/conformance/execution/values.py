"""A state crosses every boundary by value."""

from __future__ import annotations

import time

from am2z import (
    Context,
    Processor,
    ProcessorExecutionError,
    RetryPolicy,
    StateMetadata,
    Success,
    chain,
    parallel,
)
from harness.conformance._processors import (
    increment,
    make,
)
from harness.conformance.execution._shared import spoil
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("EXE-016")
async def test_what_a_processor_does_to_its_state_stays_there(kit: Kit) -> None:
    returned: list[TestState] = []

    async def keep(state: TestState, _ctx: Context) -> TestState:
        state.items.append("inside")
        returned.append(state)
        return state

    keeping = make("keeping", keep)
    given = TestState(items=["given"])
    async with kit.runtime(keeping) as runtime:
        handle = await runtime.submit(keeping, given)
        given.items.append("after the submission")
        result = await handle.result()
        returned[0].items.append("after the return")
    assert given.items == ["given", "after the submission"]
    assert result.state.items == ["given", "inside"]


@rule("EXE-017")
async def test_every_attempt_gets_the_state_as_it_was_submitted(kit: Kit) -> None:
    async def spoil_and_fail(state: TestState, ctx: Context) -> TestState:
        state.items.append(f"attempt {ctx.metadata.attempt}")
        if ctx.metadata.attempt < 3:
            raise ProcessorExecutionError("not yet")
        return state

    spoiling = make("spoiling", spoil_and_fail, retry=RetryPolicy(max_attempts=3, backoff=0))
    step: Processor[TestState] = chain("step", [spoiling])
    async with kit.runtime(spoiling, step) as runtime:
        for one in (spoiling, step):
            result = await runtime.execute(one, TestState(items=["given"]))
            assert result.unwrap().items == ["given", "attempt 3"], one.name


@rule("EXE-018")
async def test_branches_do_not_see_each_others_changes(kit: Kit) -> None:
    def merge(state: TestState, results: list[TestState]) -> TestState:
        return state.evolve(message=str([state.items, *(r.items for r in results)]))

    both = parallel("both", [spoil, "spoil", spoil], merge=merge)
    async with kit.runtime(both) as runtime:
        result = await runtime.execute(both, TestState(items=["x"]))
    spoiled = ["x", "spoiled"]
    assert result.unwrap().message == str([["x"], spoiled, spoiled, spoiled])


@rule("EXE-019")
async def test_a_child_does_not_change_its_parents_state(kit: Kit) -> None:
    async def ask(state: TestState, ctx: Context) -> TestState:
        answer = (await ctx.call("spoil", state)).unwrap()
        return state.evolve(message=str([state.items, answer.items]))

    parent = make("parent", ask)
    async with kit.runtime(parent, spoil) as runtime:
        result = await runtime.execute(parent, TestState(items=["x"]))
    assert result.unwrap().message == str([["x"], ["x", "spoiled"]])


@rule("EXE-020")
async def test_versions_only_grow(kit: Kit) -> None:
    async def give_back(state: TestState, _ctx: Context) -> TestState:
        return state

    async def build_anew(_state: TestState, _ctx: Context) -> TestState:
        return TestState(message="from nothing")

    async def change_anew(state: TestState, _ctx: Context) -> TestState:
        return older_than(state, TestState())

    async def take_anothers(state: TestState, _ctx: Context) -> Success[TestState]:
        return Success(older_than(state, anothers))

    def older_than(state: TestState, other: TestState) -> TestState:
        while other.metadata.version <= state.metadata.version:
            other = other.evolve(count=other.count + 1)
        return other

    known = StateMetadata(created_at=time.time() - 2.0, last_updated=time.time() - 1.0)
    state = older_than(TestState(), TestState())
    named = (give_back, build_anew, change_anew, take_anothers)
    processors = (increment, *(make(one.__name__, one) for one in named))
    in_place = tuple(chain(f"{one.name}_in_place", [one]) for one in processors)
    async with kit.runtime(*processors, *in_place) as runtime:
        anothers = (await runtime.execute(increment, state, "another's")).unwrap()
        for each in (*processors, *in_place):
            result = await runtime.execute(each, state, "session")
            was, now = state.metadata.version, result.unwrap().metadata.version
            assert now > was, f"{each.name} took version {was} to {now}"
            state = result.state
            kept = await runtime.state.get("session", TestState)
            assert kept is not None
            for one in (state, kept.state):
                belongs_to = one.metadata.session_id
                assert belongs_to == "session", f"what {each.name} made belongs to {belongs_to!r}"
        of_no_session = await runtime.execute("take_anothers", TestState())
        aged = await runtime.execute(increment, TestState(metadata=known))
    own = of_no_session.metadata.session_id
    assert of_no_session.unwrap().metadata.session_id == own != "another's"
    assert aged.unwrap().metadata.created_at == known.created_at, (
        "when a state was made is forgotten"
    )
    assert aged.state.metadata.last_updated > known.last_updated, (
        "when a state was changed is not known"
    )
