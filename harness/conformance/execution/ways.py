"""Every way to ask for work: what it answers, and what it refuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from am2z import (
    ConfigurationError,
    Context,
    Processor,
    ProcessorNotFoundError,
    ProcessorResult,
    Runtime,
    RuntimeMixin,
    batch,
    chain,
    parallel,
    processor,
    route,
)
from harness.conformance._processors import make, within
from harness.conformance._watching import committed
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

Ask = Callable[[Any, Sequence[TestState]], Awaitable[list[ProcessorResult[Any]]]]


def ways_to_ask(runtime: Runtime, session_id: str | None) -> dict[str, Ask]:
    """Everything that runs a processor on some states, by what it is called."""

    async def execute(ref: Any, states: Sequence[TestState]) -> list[ProcessorResult[Any]]:
        return [await runtime.execute(ref, state, session_id) for state in states]

    async def in_session(ref: Any, states: Sequence[TestState]) -> list[ProcessorResult[Any]]:
        assert session_id is not None
        return [await runtime.execute_in_session(ref, state, session_id) for state in states]

    async def submit(ref: Any, states: Sequence[TestState]) -> list[ProcessorResult[Any]]:
        handles = [await runtime.submit(ref, state, session_id) for state in states]
        return [await handle.result() for handle in handles]

    async def submit_later(ref: Any, states: Sequence[TestState]) -> list[ProcessorResult[Any]]:
        handles = [await runtime.submit(ref, state, session_id, delay=0.001) for state in states]
        return [await handle.result() for handle in handles]

    async def submit_many(ref: Any, states: Sequence[TestState]) -> list[ProcessorResult[Any]]:
        mixin: RuntimeMixin = runtime  # type: ignore[assignment]  # it is asked for one below
        handles = await mixin.submit_many(ref, iter(states), session_id)
        return [await handle.result() for handle in handles]

    async def many(ref: Any, states: Sequence[TestState]) -> list[ProcessorResult[Any]]:
        return await runtime.execute_many(ref, iter(states), session_id)

    async def pairs(ref: Any, states: Sequence[TestState]) -> list[ProcessorResult[Any]]:
        given = ((ref, state) for state in states)
        return await runtime.execute_many(given, None, session_id)

    ways: dict[str, Ask] = {
        "execute": execute,
        "submit": submit,
        "submit, for later": submit_later,
        "execute_many": many,
        "execute_many, of pairs": pairs,
    }
    if session_id is not None:
        ways["execute_in_session"] = in_session
    if hasattr(runtime, "submit_many"):  # of whoever inherits RuntimeMixin
        ways["submit_many"] = submit_many
    return ways


@rule("EXE-053")
async def test_work_is_the_same_however_it_is_asked_for(kit: Kit) -> None:
    contexts: list[Context] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        contexts.append(ctx)
        return state.evolve(count=state.count * 10, items=[*state.items, ctx.session_id])

    noting = make("noting", note)
    async with kit.runtime(noting) as runtime:
        for session_id in (None, "s"):
            commits = 0
            for way, ask in kit.some(list(ways_to_ask(runtime, session_id).items())):
                for ref in (noting, "noting"):
                    contexts.clear()
                    results = await ask(ref, [TestState(count=n, message=way) for n in (3, 1, 2)])
                    where = f"{way} of {ref!r:.9} in {session_id}"
                    assert [one.success for one in results] == [True] * 3, where
                    assert [one.state.count for one in results] == [30, 10, 20], where
                    assert {one.state.message for one in results} == {way}, where
                    metas = [one.metadata for one in results]
                    ids = [meta.execution_id for meta in metas]
                    assert sorted(ids) == sorted(ctx.execution_id for ctx in contexts), where
                    assert len(set(ids)) == 3, where
                    sessions = ids if session_id is None else [session_id] * 3
                    assert [meta.session_id for meta in metas] == sessions, where
                    assert [one.state.items for one in results] == [[one] for one in sessions]
                    told = {(m.processor_name, m.attempt, m.completed_steps) for m in metas}
                    assert told == {("noting", 1, 0)}, where
                    seen = {(ctx.call_depth, ctx.metadata.attempt) for ctx in contexts}
                    assert seen == {(0, 1)}, where
                    commits += 3
                    if session_id is not None:
                        kept = await committed(runtime, session_id)
                        assert kept.version == commits, where
                        assert kept.state.metadata in [one.state.metadata for one in results]
                assert await ask(noting, []) == [], f"{way} of no states at all"
    await _look_at_many_at_once(kit)


async def _look_at_many_at_once(kit: Kit) -> None:
    """Two hundred that are handed over together are two hundred, each in its place."""

    async def square(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(total=float(state.count**2))

    squaring = make("squaring", square)
    async with kit.runtime(squaring) as runtime:
        for session_id in (None, "s"):
            ways = ways_to_ask(runtime, session_id)
            for way in ("execute_many", "submit_many"):
                if way in ways:
                    states = [TestState(count=n) for n in range(kit.share(200))]
                    results = await ways[way](squaring, states)
                    squares = [one.unwrap().total for one in results]
                    expected = [float(one.count**2) for one in states]
                    assert squares == expected, f"{way} in {session_id}"


@rule("EXE-002")
async def test_an_unknown_processor_is_a_failed_result(kit: Kit) -> None:
    answers: list[ProcessorResult[TestState]] = []
    stranger = make("nobody", _never)

    async def ask(state: TestState, ctx: Context) -> TestState:
        answers.extend([await ctx.call(ref, state) for ref in ("nobody", stranger)])
        return state

    @processor
    def ask_in_thread(state: TestState, ctx: Any) -> TestState:
        answers.extend(ctx.call(ref, state) for ref in ("nobody", stranger))
        return state

    asking = make("asking", ask)
    made_of_it: list[Processor[Any]] = [
        chain("line", ["nobody"]),
        parallel("wide", ["nobody"]),
        route("way", lambda _: 1, {1: "nobody"}),
        route("other_way", lambda _: 1, {}, fallback="nobody"),
        batch("each", "nobody", split=lambda s: [s, s], join=lambda s, _: s),
    ]
    async with kit.runtime(asking, ask_in_thread, *made_of_it) as runtime:
        with within(kit, "an answer for work that nobody serves"):
            for session_id in (None, "s"):
                for way, run in ways_to_ask(runtime, session_id).items():
                    for ref in ("nobody", stranger):
                        given = TestState(count=1, items=["given"])
                        [answer] = await run(ref, [given])
                        assert answer.metadata.processor_name == "nobody", way
                        answers.append(answer)
            assert await runtime.active_sessions() == [], "refused work opened a session"
            for name in ("asking", "ask_in_thread"):
                given = TestState(count=1, items=["given"])
                assert (await runtime.execute(name, given)).success
            for one in made_of_it:
                failed = await runtime.execute(one, TestState(count=1, items=["given"]))
                assert failed.metadata.processor_name == one.name
                answers.append(failed)
        assert runtime.list_processors() == sorted(
            ["asking", "ask_in_thread", *(one.name for one in made_of_it)]
        ), "who is asked by an object has registered it"
    for answer in answers:
        assert isinstance(answer.error, ProcessorNotFoundError), repr(answer.error)
        assert answer.error.processor_name == "nobody"
        assert "nobody" in str(answer.error)
        assert (answer.success, answer.state.count, answer.state.items) == (False, 1, ["given"])
        answer.state.items.append("what one does to its answer")  # is seen in no other one
    await _look_at_illegal_names(kit)


async def _never(_state: TestState, _ctx: Context) -> TestState:
    raise AssertionError("what nobody registered has run")


async def _look_at_illegal_names(kit: Kit) -> None:
    """A name that can be nobody's is its caller's mistake, and is raised."""
    names = ("", "a\nb", "x" * 257)
    raised: list[str] = []

    async def ask(state: TestState, ctx: Context) -> TestState:
        for name in names:
            try:
                await ctx.call(name, state)
            except ConfigurationError:
                raised.append(name)
        return state

    async with kit.runtime(make("asking", ask)) as runtime:
        (await runtime.execute("asking", TestState())).unwrap()
        assert raised == list(names), "what ctx.call() refuses, and shall"
        for way, run in ways_to_ask(runtime, None).items():
            raised.clear()
            for name in names:
                try:
                    await run(name, [TestState()])
                except ConfigurationError:
                    raised.append(name)
            assert raised == list(names), f"what {way} refuses, and shall"
