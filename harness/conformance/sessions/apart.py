"""What one session sees and does, and what others must not notice of it."""

from __future__ import annotations

from am2z import BusinessError, Context, QueueOptions, QueueStats
from harness.collector import TestEventCollector
from harness.conformance._processors import Gate, Meeting, increment, make, within
from harness.conformance._watching import committed, count_events
from harness.conformance.sessions._shared import refuse
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

ALIKE = [
    "a",
    "A",
    "a:b",
    "a_b",
    "a b",
    "a*",
    "{a}",
    "a:state",
    "ä",
    "0",
    " a",
    "a ",
    " ",
    "a\u0308",
]
"""Session ids that a careless scheme of keys takes for one another."""


@rule("SES-001")
async def test_execution_runs_in_the_session_that_it_was_given(kit: Kit) -> None:
    seen: list[tuple[str, str, str]] = []

    async def look(state: TestState, ctx: Context) -> TestState:
        seen.append((ctx.session_id, ctx.metadata.session_id, state.metadata.session_id))
        return state.evolve(count=1)

    async with kit.runtime(make("look", look)) as runtime:
        result = await runtime.execute_in_session("look", TestState(), "customer-7")
    assert seen == [("customer-7",) * 3]
    assert result.metadata.session_id == "customer-7"
    assert result.state.metadata.session_id == "customer-7"


@rule("SES-002")
async def test_sessions_with_names_alike_never_share_a_state(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        for number, session_id in enumerate(ALIKE):
            await runtime.execute(increment, TestState(count=number), session_id)
        counts = [(await committed(runtime, session_id)).state.count for session_id in ALIKE]
        versions = [await runtime.state.version(session_id) for session_id in ALIKE]
    assert counts == [number + 1 for number in range(len(ALIKE))]
    assert versions == [1] * len(ALIKE)


@rule("SES-004")
async def test_several_processors_work_in_one_session(kit: Kit) -> None:
    async def double(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(count=state.count * 2)

    async with kit.runtime(increment, make("double", double)) as runtime:
        first = await runtime.execute(increment, TestState(count=1), "customer-7")
        second = await runtime.execute("double", first.state, "customer-7")
        stats = await runtime.session_stats("customer-7")
        kept = await committed(runtime, "customer-7")
        sessions = await runtime.active_sessions()
    assert second.state.count == kept.state.count == 4
    assert {name: one.completed for name, one in stats.items()} == {"increment": 1, "double": 1}
    assert sessions == ["customer-7"]


@rule("SES-005")
async def test_session_stats_count_the_work_of_that_session_only(kit: Kit) -> None:
    async with kit.runtime(increment, refuse) as runtime:
        await runtime.execute_many(increment, [TestState()] * 2, "a")
        await runtime.execute(refuse, TestState(), "a")
        await runtime.execute(increment, TestState(), "b")
        await runtime.execute(increment, TestState())
        a, b = await runtime.session_stats("a"), await runtime.session_stats("b")
        nobody = await runtime.session_stats("nobody")
    assert (a["increment"].completed, a["increment"].failed) == (2, 0)
    assert (a["refuse"].completed, a["refuse"].failed) == (0, 1)
    assert {name: one.completed for name, one in b.items()} == {"increment": 1}
    assert nobody == {}
    await _look_at_each_phase(kit)


async def _look_at_each_phase(kit: Kit) -> None:
    """What runs, is called, waits, is delayed and has ended: each is counted, and as what it is."""

    async def ask(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("gate", state)).unwrap()

    gate, asking = Gate(queue=QueueOptions(concurrency=1)), make("asking", ask)
    async with kit.runtime(gate.processor, asking, increment, refuse) as runtime:
        handles = [await runtime.submit(asking, TestState(), "phases")]
        with within(kit, "the start of a call"):
            await gate.started.wait()
        handles += [await runtime.submit(gate.processor, TestState(), "phases") for _ in range(2)]
        later = await runtime.submit(increment, TestState(), "phases", delay=3600.0)
        await runtime.execute(increment, TestState(), "phases")
        await runtime.execute(refuse, TestState(), "phases")
        during = await runtime.session_stats("phases")
        gate.open()
        await later.cancel()
        for handle in handles:
            assert (await handle.result()).success
        after = await runtime.session_stats("phases")
        await runtime.stop_session("phases")
        assert await runtime.session_stats("phases") == after, "of a session that was stopped"
        await runtime.clean_session("phases")
        assert await runtime.session_stats("phases") == {}, "of a session that was cleaned"
    assert during == {
        "asking": QueueStats(active=1),
        "gate": QueueStats(active=1, waiting=2),
        "increment": QueueStats(delayed=1, completed=1),
        "refuse": QueueStats(failed=1),
    }
    assert after == {
        "asking": QueueStats(completed=1),
        "gate": QueueStats(completed=3),
        "increment": QueueStats(completed=1, failed=1),
        "refuse": QueueStats(failed=1),
    }


@rule("SES-007")
async def test_executions_of_different_sessions_run_side_by_side(kit: Kit) -> None:
    meeting = Meeting(5, kit.timeout)

    async def meet(state: TestState, ctx: Context) -> TestState:
        await meeting.join()
        return state.evolve(message=ctx.session_id)

    names = [f"customer-{number}" for number in range(5)]
    async with kit.runtime(make("meet", meet)) as runtime:
        handles = [await runtime.submit("meet", TestState(), name) for name in names]
        results = [await handle.result() for handle in handles]
        kept = [(await committed(runtime, name)).state.message for name in names]
    assert [result.state.message for result in results] == names == kept


@rule("SES-008")
async def test_failure_in_a_session_leaves_it_and_all_others_usable(kit: Kit) -> None:
    async with kit.runtime(increment, refuse) as runtime:
        failed = await runtime.execute(refuse, TestState(), "a")
        same = await runtime.execute(increment, TestState(), "a")
        other = await runtime.execute(increment, TestState(), "b")
        sessions = await runtime.active_sessions()
    assert isinstance(failed.error, BusinessError)
    assert same.success
    assert other.success
    assert sessions == ["a", "b"]


@rule("SES-009")
async def test_nested_call_runs_in_the_session_of_its_caller(kit: Kit) -> None:
    seen: list[tuple[str, str]] = []

    async def inner(state: TestState, ctx: Context) -> TestState:
        seen.append((ctx.session_id, state.metadata.session_id))
        return state.evolve(count=state.count + 1)

    async def outer(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("inner", state)).unwrap()

    async with kit.runtime(make("inner", inner), make("outer", outer)) as runtime:
        for session_id in ("a", "b"):
            (await runtime.execute("outer", TestState(), session_id)).unwrap()
        sessions = await runtime.active_sessions()
    assert seen == [("a", "a"), ("b", "b")]
    assert sessions == ["a", "b"]


@rule("SES-015")
async def test_execution_without_a_session_leaves_no_trace_of_one(kit: Kit) -> None:
    async def ask(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call(gate.processor, state)).unwrap()

    gate, asking = Gate(), make("asking", ask)
    async with kit.runtime(gate.processor, asking) as runtime:
        with TestEventCollector(runtime) as events:
            handle = await runtime.submit(asking, TestState())
            with within(kit, "the start of what an execution without a session calls"):
                await gate.started.wait()
            during = await runtime.active_sessions()
            gate.open()
            result = await handle.result()
            session_events = await count_events(runtime, events, "session:*")
        session_id = result.metadata.session_id
        assert session_id == result.metadata.execution_id == handle.execution_id
        assert during == await runtime.active_sessions() == []
        assert not await runtime.state.exists(session_id)
        assert session_events == 0
