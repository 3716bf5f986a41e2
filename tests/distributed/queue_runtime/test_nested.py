"""Executions that call others: nobody waits holding a slot, and nothing is run twice."""

from __future__ import annotations

import threading

import pytest
import trio

from am2z import (
    CallDepthExceededError,
    ConfigurationError,
    Context,
    ExecutionTimeoutError,
    ProcessorNotFoundError,
    QueueOptions,
    RetryPolicy,
    parallel,
    processor,
)

from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@processor
async def deep(state: Work, ctx: Context) -> Work:
    if state.count >= 5:
        return state.evolve(note=str(ctx.call_depth))
    return (await ctx.call("deep", state.evolve(count=state.count + 1))).unwrap()


async def test_calls_five_deep_need_one_slot_only(make):
    """coleifer/huey#618, celery#3498: a parent waits for its child in the only slot."""
    async with make(deep, concurrency=1) as runtime:
        with trio.fail_after(3):
            result = await runtime.execute(deep, Work())
    assert (result.state.count, result.state.note) == (5, "5")


async def test_calls_deeper_than_allowed_fail_with_a_clear_error(make):
    async with make(deep, max_call_depth=3) as runtime:
        with trio.fail_after(3):
            result = await runtime.execute(deep, Work())
    assert isinstance(result.error, CallDepthExceededError)


async def test_calls_at_once_need_one_slot_only(make):
    both = parallel("both", ["one", "one"], merge=lambda s, rs: s.evolve(count=len(rs)))
    async with make(one, both, concurrency=1) as runtime:
        with trio.fail_after(3):
            assert (await runtime.execute("both", Work())).state.count == 2


async def test_call_of_oneself_with_a_limit_of_one_is_served_at_once(make):
    @processor(queue=QueueOptions(concurrency=1))
    async def limited(state: Work, ctx: Context) -> Work:
        if state.count >= 3:
            return state
        return (await ctx.call("limited", state.evolve(count=state.count + 1))).unwrap()

    async with make(limited, one, concurrency=4) as runtime:
        await runtime.execute(one, Work())  # the worker has been idle once
        with trio.fail_after(1):
            assert (await runtime.execute(limited, Work())).state.count == 3


async def test_threads_that_call_threads_do_not_run_out(make):
    """Sixty parents in threads wait for sixty children in threads."""
    gate = threading.Barrier(60)

    @processor
    def child(state: Work, ctx: Context) -> Work:
        return state.evolve(count=1)

    @processor
    def threaded(state: Work, ctx: Context) -> Work:
        gate.wait(10)
        return ctx.call("child", state).unwrap()

    async with make(child, threaded) as runtime:
        with trio.fail_after(10):
            results = await runtime.execute_many(threaded, [Work()] * 60)
    assert [r.state.count for r in results] == [1] * 60


async def test_nested_calls_commit_nothing_themselves(make, eyes):
    async with make(deep) as runtime:
        await runtime.execute(deep, Work(), "s")
        assert eyes.commits("s") == 1
        assert (await runtime.session_stats("s"))["deep"].completed == 6


async def test_cancelled_parent_cancels_its_children(make):
    ended = []
    started = trio.Event()

    @processor
    async def child(state: Work, ctx: Context) -> Work:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.append(ctx.execution_id)

    @processor
    async def caller(state: Work, ctx: Context) -> Work:
        return (await ctx.call("child", state)).unwrap()

    async with make(child, caller, role="worker"), make(role="client") as client:
        handle = await client.submit("caller", Work())
        await started.wait()
        await handle.cancel()
        with trio.fail_after(1):
            await wait_until(lambda: ended)
        assert ended == [f"{handle.execution_id}/1-1"]
        stats = await client.queue_stats()
        assert (stats["child"].failed, stats["child"].active) == (1, 0)


async def test_call_that_its_caller_gives_up_is_cancelled(make):
    ended = trio.Event()

    @processor
    async def child(state: Work, ctx: Context) -> Work:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    @processor
    async def impatient(state: Work, ctx: Context) -> Work:
        with trio.move_on_after(0.05):
            await ctx.call("child", state)
        await ended.wait()  # not only when this one ends
        return state.evolve(note="gave up")

    async with make(child, impatient, concurrency=1) as runtime:
        with trio.fail_after(2):
            assert (await runtime.execute("impatient", Work())).state.note == "gave up"


async def test_child_has_only_the_time_that_its_parent_has_left(make):
    @processor
    async def child(state: Work, ctx: Context) -> Work:
        await trio.sleep_forever()

    @processor(timeout=0.2)
    async def caller(state: Work, ctx: Context) -> Work:
        return (await ctx.call("child", state)).unwrap()

    async with make(child, caller) as runtime:
        with trio.fail_after(2):
            result = await runtime.execute("caller", Work())
            assert isinstance(result.error, ExecutionTimeoutError)
            await _settled(runtime, "child")


async def _settled(runtime, name):
    while (await runtime.queue_stats())[name].active:  # noqa: ASYNC110
        await trio.sleep(0.005)


async def test_unknown_child_is_a_failed_result_for_its_caller(make):
    @processor
    async def caller(state: Work, ctx: Context) -> Work:
        result = await ctx.call("nobody", state)
        return state.evolve(note=type(result.error).__name__)

    async with make(caller) as runtime:
        result = await runtime.execute("caller", Work())
    assert result.state.note == ProcessorNotFoundError.__name__


async def test_parent_that_calls_differently_when_it_runs_again_is_told_so(make, eyes):
    runs = []

    @processor
    async def fickle(state: Work, ctx: Context) -> Work:
        runs.append(ctx.fence)
        result = await ctx.call("one", state.evolve(count=10 * len(runs)))
        if len(runs) == 1:
            eyes.take_back(ctx.execution_id)
            await trio.sleep_forever()
        return result.unwrap()

    async with make(one, fickle, lease=0.3) as runtime:
        with trio.fail_after(5):
            result = await runtime.execute(fickle, Work())
    assert isinstance(result.error, ConfigurationError)
    assert "the same calls in the same order" in result.error.message


async def test_retried_parent_calls_its_children_afresh(make):
    ran = []

    @processor
    async def child(state: Work, ctx: Context) -> Work:
        ran.append(ctx.execution_id)
        return state

    @processor(retry=RetryPolicy(max_attempts=2, backoff=0.01))
    async def caller(state: Work, ctx: Context) -> Work:
        await ctx.call("child", state)
        if ctx.metadata.attempt == 1:
            raise RuntimeError("once")
        return state

    async with make(child, caller) as runtime:
        result = await runtime.execute("caller", Work())
    assert result.success
    top = result.metadata.execution_id
    assert ran == [f"{top}/1-1", f"{top}/2-1"]


async def test_large_result_of_a_finished_child_is_found_again(make, eyes):
    """The child's end is told in the answer to the second call, without its long body."""
    runs = []

    @processor
    async def large(state: Work, ctx: Context) -> Work:
        runs.append("large")
        return state.evolve(note="x" * 100_000)

    @processor
    async def caller(state: Work, ctx: Context) -> Work:
        result = await ctx.call("large", state)
        runs.append(len(result.state.note))
        if runs.count(100_000) == 1:
            eyes.take_back(ctx.execution_id)
            await trio.sleep_forever()
        return state.evolve(count=len(result.state.note))

    async with make(large, caller, lease=0.3) as runtime:
        with trio.fail_after(5):
            result = await runtime.execute("caller", Work())
    assert result.state.count == 100_000
    assert runs == ["large", 100_000, 100_000]
