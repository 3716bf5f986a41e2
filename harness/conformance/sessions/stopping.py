"""What becomes of the work of a session that is stopped."""

from __future__ import annotations

import trio
import trio.testing

from am2z import Context, NetworkError, RetryPolicy, RuntimeConfig, SessionStoppedError
from harness.collector import TestEventCollector
from harness.conformance._processors import Gate, flaky, increment, make, within
from harness.conformance._watching import committed, events_of
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


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
    await _look_at_many(kit)
    await _look_at_calls(kit)


async def _look_at_many(kit: Kit) -> None:
    """However much work a session has, all of it ends: what waits, and what is delayed."""
    gate, runs = Gate(), list[int]()
    never = flaky("never", [], runs=runs)
    async with kit.runtime(gate.processor, never, config=RuntimeConfig(concurrency=1)) as runtime:
        handles = [await runtime.submit(gate.processor, TestState(), "many")]
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        for delay in (None, 3600.0) * 70:
            handles += [await runtime.submit(never, TestState(), "many", delay=delay)]
        with within(kit, f"the answers to {len(handles)} executions"):
            await runtime.stop_session("many")
            errors = {type((await handle.result()).error) for handle in handles}
        left = (await runtime.queue_stats())["never"]
    assert errors == {SessionStoppedError}
    assert runs == []
    assert (left.waiting, left.delayed, left.failed) == (0, 0, 140)


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
    assert len(many) == 2
    assert (kept.version, gone) == (1, None), "what is stopped is not forgotten, what is cleaned is"
    for one in (refused, submitted, *many):
        assert isinstance(one.error, SessionStoppedError), repr(one.error)
        assert not one.error.retryable, "a stop is for good"
        assert "'a'" in str(one.error), "which session was stopped is not said"
    assert refused.state.count == 5
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

    async with (
        kit.runtime(increment, make("stubborn", stubborn)) as runtime,
        trio.open_nursery() as nursery,
    ):
        await runtime.execute(increment, TestState(), "a")
        handle = await runtime.submit("stubborn", TestState(), "a")
        await begun.wait()
        await runtime.stop_session("a")
        nursery.start_soon(handle.cancel)  # too late: why it ends is said already
        await trio.testing.wait_all_tasks_blocked()
        may_end.set()
        result = await handle.result()
        await ended.wait()
        kept = await runtime.state.get("a", TestState)
    assert isinstance(result.error, SessionStoppedError), repr(result.error)
    assert kept is None or (kept.version, kept.state.count) == (1, 1)


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
