"""SES: sessions come to be, keep apart, are stopped and begin anew."""

from __future__ import annotations

import pytest
import trio

from am2z import (
    BusinessError,
    ConfigurationError,
    Context,
    NetworkError,
    RetryPolicy,
    RuntimeConfig,
    SessionStoppedError,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import Gate, Meeting, flaky, increment, make, within
from harness.conformance._watching import committed, count_events, events_of
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

ALIKE = ["a", "A", "a:b", "a_b", "a b", "a*", "{a}", "a:state", "ä", "0"]
"""Session ids that a careless scheme of keys takes for one another."""


async def _refuse(_state: TestState, _ctx: Context) -> TestState:
    raise BusinessError("refused")


refuse = make("refuse", _refuse)


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


@rule("SES-003")
async def test_session_comes_to_be_with_its_first_execution(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor) as runtime:
        await runtime.state.set("customer-7", TestState())
        await runtime.state.update("customer-7", lambda state: state.evolve(count=1))
        before = await runtime.active_sessions()
        handle = await runtime.submit(gate.processor, TestState(), "customer-7")
        with within(kit, "the start of the first execution"):
            await gate.started.wait()
        during = await runtime.active_sessions()
        gate.open()
        await handle.result()
        after = await runtime.active_sessions()
    assert (before, during, after) == ([], ["customer-7"], ["customer-7"])


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


@rule("SES-006")
async def test_cleaned_session_is_forgotten_with_its_state(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        for session_id in ("a", "b"):
            await runtime.execute(increment, TestState(), session_id)
        await runtime.execute(increment, TestState(), "a")
        await runtime.clean_session("a")
        assert await runtime.active_sessions() == ["b"]
        assert await runtime.state.get("a") is None
        assert (await committed(runtime, "b")).version == 1
        assert (await runtime.execute(increment, TestState(), "a")).success
        assert await runtime.state.version("a") == 1


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


@rule("SES-010")
async def test_session_lives_is_stopped_and_lives_again(kit: Kit) -> None:
    async def outcome() -> tuple[bool, list[str]]:
        result = await runtime.execute(increment, TestState(), "a")
        return result.success, await runtime.active_sessions()

    async with kit.runtime(increment) as runtime:
        assert await outcome() == (True, ["a"])
        await runtime.stop_session("a")
        assert await outcome() == (False, [])
        await runtime.clean_session("a")
        assert await runtime.active_sessions() == []
        assert await outcome() == (True, ["a"])


@rule("SES-011")
async def test_stopping_a_session_answers_everybody_who_waits_for_its_work(kit: Kit) -> None:
    gate = Gate()
    answers: list[object] = []
    async with kit.runtime(gate.processor, config=RuntimeConfig(concurrency=1)) as runtime:
        handles = [await runtime.submit(gate.processor, TestState(), "a") for _ in range(4)]
        await gate.started.wait()

        async def wait(number: int, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            answers.append((await handles[number].result()).error)

        with within(kit, "an answer for each of two waiters of four executions"):
            async with trio.open_nursery() as nursery:
                for number in (0, 1, 2, 3) * 2:
                    await nursery.start(wait, number)
                await runtime.stop_session("a")
        gate.open()
    assert [type(answer) for answer in answers] == [SessionStoppedError] * 8
    assert len(gate.runs) == 1, "waiting work of a stopped session has run"
    await _look_at_calls(kit)


async def _look_at_calls(kit: Kit) -> None:
    """What the work of a stopped session has called ends with it, however long its lease."""

    async def ask(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("child", state)).unwrap()

    child, parent = Gate("child"), make("parent", ask)
    async with kit.runtime(child.processor, parent, config=RuntimeConfig(lease=600.0)) as runtime:
        handle = await runtime.submit(parent, TestState(), "b")
        with within(kit, "the start of a call"):
            await child.started.wait()
        await runtime.stop_session("b")
        with within(kit, "the end of what the work of a stopped session had called"):
            await child.ended.wait()
            result = await handle.result()
    assert isinstance(result.error, SessionStoppedError), repr(result.error)
    assert child.was_cancelled


@rule("SES-012")
async def test_stopped_session_refuses_work_until_it_is_cleaned(kit: Kit) -> None:
    runs: list[int] = []
    counted = flaky("counted", [], runs=runs)
    async with kit.runtime(counted) as runtime:
        await runtime.stop_session("a")
        refused = await runtime.execute(counted, TestState(count=5), "a")
        submitted = await (await runtime.submit(counted, TestState(), "a")).result()
        other = await runtime.execute(counted, TestState(), "b")
        await runtime.clean_session("a")
        again = await runtime.execute(counted, TestState(), "a")
        await runtime.stop_session("a")
        kept = await committed(runtime, "a")
        many = await runtime.execute_many(counted, [TestState()] * 2, "a")
        await runtime.clean_session("a")
        gone = await runtime.state.get("a")
    assert [type(one.error) for one in many] == [SessionStoppedError] * 2
    assert (kept.version, gone) == (1, None), "what is stopped is not forgotten, what is cleaned is"
    assert isinstance(refused.error, SessionStoppedError)
    assert refused.state.count == 5
    assert isinstance(submitted.error, SessionStoppedError)
    assert other.success
    assert again.success
    assert len(runs) == 2, "work of a stopped session has run"


@rule("SES-013")
async def test_stopping_a_session_leaves_the_work_of_others_alone(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor) as runtime:
        handles = [await runtime.submit(gate.processor, TestState(), name) for name in ("a", "b")]
        alone = await runtime.submit(gate.processor, TestState())
        await wait_for_condition(lambda: len(gate.runs) == 3, message="three executions to begin")
        await runtime.stop_session("a")
        gate.open()
        stopped, other = [await handle.result() for handle in handles]
        assert isinstance(stopped.error, SessionStoppedError)
        assert other.success
        assert (await alone.result()).success


@rule("SES-014")
async def test_what_still_runs_in_a_stopped_session_commits_nothing(kit: Kit) -> None:
    begun, ended, may_end = trio.Event(), trio.Event(), trio.Event()

    async def stubborn(state: TestState, _ctx: Context) -> TestState:
        begun.set()
        with trio.CancelScope(shield=True):
            await may_end.wait()
        ended.set()
        return state.evolve(count=99)

    async with kit.runtime(increment, make("stubborn", stubborn)) as runtime:
        await runtime.execute(increment, TestState(), "a")
        handle = await runtime.submit("stubborn", TestState(), "a")
        await begun.wait()
        await runtime.stop_session("a")
        may_end.set()
        result = await handle.result()
        await ended.wait()
        kept = await runtime.state.get("a", TestState)
    assert isinstance(result.error, SessionStoppedError)
    assert kept is None or (kept.version, kept.state.count) == (1, 1)


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


@rule("SES-016")
async def test_active_sessions_are_sorted(kit: Kit) -> None:
    names = ["b", "10", "a", "9", "B", "ä"]
    async with kit.runtime(increment) as runtime:
        for name in names:
            await runtime.execute(increment, TestState(), name)
        assert await runtime.active_sessions() == sorted(names)


@rule("SES-017")
async def test_cleaning_all_sessions_leaves_none(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        for name in ("a", "b", "c"):
            await runtime.execute(increment, TestState(), name)
        await runtime.clean_all_sessions()
        assert await runtime.active_sessions() == []
        assert not any([await runtime.state.exists(name) for name in ("a", "b", "c")])
        assert (await runtime.execute(increment, TestState(), "a")).success


@rule("SES-018")
async def test_execution_that_waits_for_its_next_attempt_ends_with_its_session(kit: Kit) -> None:
    runs: list[int] = []
    policy = RetryPolicy(max_attempts=2, backoff=3600.0, max_backoff=3600.0)
    down = flaky("down", [NetworkError("down")], retry=policy, runs=runs)
    async with kit.runtime(down) as runtime:
        with TestEventCollector(runtime) as events:
            handle = await runtime.submit(down, TestState(), "a")
            await events.wait_for_event("processor:retrying")
            await runtime.stop_session("a")
            with within(kit, "the answer to an execution in its back-off"):
                result = await handle.result()
            story = events_of(events, handle.execution_id)
    assert isinstance(result.error, SessionStoppedError)
    assert runs == [1]
    assert story[-3:] == ["processor:retrying", "processor:failed", "queue:failed"]


@rule("SES-019")
async def test_illegal_session_id_is_refused_at_once(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        for session_id in ("", "a\nb", "a\x00b", "x" * 257):
            for ask in (
                lambda name: runtime.execute(increment, TestState(), name),
                lambda name: runtime.submit(increment, TestState(), name),
                lambda name: runtime.state.set(name, TestState()),
            ):
                with pytest.raises(ConfigurationError):
                    await ask(session_id)
        assert await runtime.active_sessions() == []
        longest = "x" * 256
        assert (await runtime.execute(increment, TestState(), longest)).success
        assert await runtime.active_sessions() == [longest]
