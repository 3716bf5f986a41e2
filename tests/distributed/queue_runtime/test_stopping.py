"""How a runtime ends: everybody is answered, work goes back, and nothing is left behind."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from am2z import (
    Context,
    LocalRuntime,
    NetworkError,
    ResourceLimits,
    RuntimeNotStartedError,
    RuntimeStoppedError,
    processor,
)
from am2z.queue.worker import Worker
from harness.leaks import ProcessSnapshot, running_tasks

from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


def make_gated():
    """A processor that waits for an event, and the two events."""
    begun, gate = trio.Event(), trio.Event()

    @processor
    async def gated(state: Work, ctx: Context) -> Work:
        begun.set()
        await gate.wait()
        return state.evolve(count=state.count + 1)

    return gated, begun, gate


async def _in_background(nursery, results, fn, *args):
    async def run():
        results.append(await fn(*args))

    nursery.start_soon(run)


async def test_stop_waits_for_what_runs_and_for_what_its_callers_wait_for(make):
    gated, begun, gate = make_gated()
    results = []
    async with trio.open_nursery() as nursery, make(gated, concurrency=1) as runtime:
        await _in_background(nursery, results, runtime.execute, gated, Work(count=1))
        await begun.wait()
        await _in_background(nursery, results, runtime.execute, gated, Work(count=5))
        await wait_until_waiting(runtime, "gated")
        nursery.start_soon(runtime.stop)
        await wait_until(lambda: not runtime.is_started)
        gate.set()
        with trio.fail_after(2):
            await wait_until(lambda: len(results) == 2)
        assert sorted(result.state.count for result in results) == [2, 6]


async def test_answer_of_a_stopping_runtime_is_the_same_whoever_is_faster(make, monkeypatch):
    gated, begun, _ = make_gated()
    results = []
    async with (
        trio.open_nursery() as nursery,
        make(gated, concurrency=1, shutdown_grace=0.01) as runtime,
    ):
        await _in_background(nursery, results, runtime.execute, gated, Work(count=1))
        await begun.wait()
        cancel = runtime._shards[0].node.protocol.cancel

        async def slow(execution_id):
            answer = await cancel(execution_id)
            await wait_until(lambda: results)  # the inbox is faster
            return answer

        monkeypatch.setattr(runtime._shards[0].node.protocol, "cancel", slow)
        with trio.fail_after(3):
            await runtime.stop()
        assert isinstance(results[0].error, RuntimeStoppedError)


async def wait_until_waiting(runtime, name, count=1):
    with trio.fail_after(3):
        while (await runtime.queue_stats())[name].waiting < count:  # noqa: ASYNC110
            await trio.sleep(0.003)


async def test_stop_lets_what_runs_begin_calls_and_finish_them(make):
    gated, begun, gate = make_gated()

    @processor
    async def caller(state: Work, ctx: Context) -> Work:
        await gated.fn(state, ctx)
        return (await ctx.call("one", state)).unwrap()

    async with trio.open_nursery() as nursery, make(one, caller) as runtime:
        results = []
        await _in_background(nursery, results, runtime.execute, "caller", Work())
        await begun.wait()
        nursery.start_soon(runtime.stop)
        await wait_until(lambda: not runtime.is_started)
        await trio.testing.wait_all_tasks_blocked(0.02)
        gate.set()
        with trio.fail_after(1):
            await wait_until(lambda: results)
        assert results[0].state.count == 1


@pytest.mark.parametrize("kind", ["queue", "local"])
async def test_what_runs_on_in_a_stop_may_still_emit(make, kind):
    begun, gate = trio.Event(), trio.Event()
    told = []

    @processor
    async def last_words(state: Work, ctx: Context) -> Work:
        begun.set()
        try:
            await gate.wait()
            await ctx.runtime.emit("app:last", {"n": 1})
        finally:
            ctx.runtime.emit("app:last", {"n": 2})
        return state

    queue = make(last_words)
    runtime = queue if kind == "queue" else LocalRuntime().register(last_words)
    runtime.on("app:last", lambda event: told.append(event.data["n"]))
    async with trio.open_nursery() as nursery, runtime:
        results = []
        await _in_background(nursery, results, runtime.execute, last_words, Work())
        await begun.wait()
        nursery.start_soon(runtime.stop)
        await wait_until(lambda: not runtime.is_started)
        with pytest.raises(RuntimeNotStartedError):
            await runtime.execute(last_words, Work())
        gate.set()
        await wait_until(lambda: results)
        assert results[0].success
        assert told == [1, 2]


async def test_stop_answers_callers_of_what_does_not_end_in_time(make, eyes):
    gated, begun, _ = make_gated()
    results = []
    async with trio.open_nursery() as nursery:
        async with make(gated, shutdown_grace=0.05) as runtime:
            await _in_background(nursery, results, runtime.execute, gated, Work())
            handle = await runtime.submit(gated, Work(), "s")
            await begun.wait()
            with trio.fail_after(2):
                await runtime.stop()
        answer = await handle.result()
    assert isinstance(results[0].error, RuntimeStoppedError)
    assert isinstance(answer.error, RuntimeStoppedError)
    # What was submitted waits for another worker, uncounted; what was executed is cancelled.
    assert eyes.redis.hget(eyes.key(f"j:{handle.execution_id}"), "t") == b"w"
    assert eyes.redis.hget(eyes.key(f"j:{handle.execution_id}"), "n") == b"0"
    assert len(eyes.keys("j:*")) == 1
    assert eyes.keys("leases") == set()


@pytest.mark.parametrize("held_back", ["enqueue", "ready"])
async def test_stop_answers_a_caller_who_is_still_asking(make, eyes, monkeypatch, held_back):
    """Its request reaches Redis after it was answered: it must not run for nobody."""
    answered, asked, done = trio.Event(), trio.Event(), trio.Event()
    async with (
        trio.open_nursery() as nursery,
        make(one, role="client", shutdown_grace=0.05) as runtime,
    ):
        parts, results = runtime._shards[0], []
        owner = parts.sender if held_back == "enqueue" else parts.events
        really, leave = getattr(owner, held_back), parts.maintenance.leave

        async def late(*args, **options):
            asked.set()
            await answered.wait()
            return await really(*args, **options)

        async def leave_later():
            answered.set()
            await done.wait()
            await leave()

        async def call():
            results.append(await runtime.execute(one, Work()))
            done.set()

        monkeypatch.setattr(owner, held_back, late)
        monkeypatch.setattr(parts.maintenance, "leave", leave_later)
        nursery.start_soon(call)
        await asked.wait()
        with trio.fail_after(2):
            await runtime.stop()
    assert isinstance(results[0].error, RuntimeStoppedError)
    assert eyes.keys("j:*") == set()


async def test_submitted_work_outlives_its_runtime(make):
    gated, _, gate = make_gated()
    async with make(gated, role="client") as client:
        handle = await client.submit(gated, Work(), "s")
        await client.stop()
        assert isinstance((await handle.result()).error, RuntimeStoppedError)
    gate.set()
    async with make(gated) as runtime:
        with trio.fail_after(2):
            while await runtime.state.version("s") == 0:  # noqa: ASYNC110
                await trio.sleep(0.003)


@pytest.mark.parametrize("in_nursery", [False, True])
async def test_leaving_by_an_exception_gives_work_back(make, eyes, in_nursery):
    begun = trio.Event()

    @processor
    async def stuck(state: Work, ctx: Context) -> Work:
        begun.set()
        if not in_nursery:
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    with pytest.raises(KeyError):  # noqa: PT012
        async with make(stuck, lease=60.0) as runtime:
            handle = await runtime.submit(stuck, Work())
            await begun.wait()
            raise KeyError
    job = eyes.redis.hgetall(eyes.key(f"j:{handle.execution_id}"))
    assert (job[b"t"], job[b"n"]) == (b"w", b"0")
    assert eyes.keys("leases") == set()
    assert isinstance((await handle.result()).error, RuntimeStoppedError)


@pytest.mark.parametrize("how", ["exception", "stop"])
async def test_work_that_is_just_being_claimed_goes_back_or_is_done(make, eyes, monkeypatch, how):
    """sidekiq#1831: the answer to a claim must not get lost with the worker that asked."""
    monkeypatch.setattr(
        Worker, "_has_room_for_long", lambda _: False
    )  # it claims when it has the news
    claimed = trio.Event()
    async with make(one, role="client") as client:
        with suppress(KeyError):
            async with make(one, role="worker", lease=60.0) as worker:
                await wait_until(lambda: worker._shards[0].worker._idle_scope)
                protocol = worker._shards[0].node.protocol
                claim = protocol.claim

                async def slow(*args, **options):
                    claims = await claim(*args, **options)
                    if claims.items:
                        claimed.set()
                        await trio.sleep(0.05)  # the reply is on its way
                    return claims

                monkeypatch.setattr(protocol, "claim", slow)
                handle = await client.submit(one, Work())
                await claimed.wait()
                if how == "exception":
                    raise KeyError
        job = eyes.redis.hmget(eyes.key(f"j:{handle.execution_id}"), "t", "n")
        if how == "exception":
            assert job == [b"w", b"0"]
        else:
            with trio.fail_after(1):
                assert (await handle.result()).success


async def test_work_that_was_claimed_while_its_worker_left_does_not_begin(make, monkeypatch):
    monkeypatch.setattr(
        Worker, "_has_room_for_long", lambda _: False
    )  # it claims when it has the news
    begun, claimed = [], trio.Event()

    @processor
    async def eager(state: Work, ctx: Context) -> Work:
        begun.append(ctx.execution_id)  # before anything that could be cancelled
        return state

    async with make(eager, role="client") as client:
        with pytest.raises(KeyError):  # noqa: PT012
            async with make(eager, role="worker") as worker:
                await wait_until(lambda: worker._shards[0].worker._idle_scope)
                protocol = worker._shards[0].node.protocol
                claim = protocol.claim

                async def slow(*args, **options):
                    claims = await claim(*args, **options)
                    if claims.items:
                        claimed.set()
                        await trio.sleep(0.05)
                    return claims

                monkeypatch.setattr(protocol, "claim", slow)
                handle = await client.submit(eager, Work())
                await claimed.wait()
                raise KeyError
        assert begun == []
        await handle.cancel()


@pytest.mark.parametrize("how", ["exception", "stop"])
@pytest.mark.parametrize("steps", range(0, 40, 2))
async def test_work_that_comes_while_its_worker_leaves_goes_back_or_is_done(make, eyes, steps, how):
    """The claim waits on the server, and may get the work at any moment of the farewell."""
    handles = []

    async def submit():
        handles.append(await client.submit(one, Work()))

    async with make(one, role="client") as client:
        async with trio.open_nursery() as nursery:
            with suppress(KeyError):
                async with make(one, role="worker", lease=60.0) as worker:
                    await wait_until(lambda: worker._shards[0].worker._claims_when_woken)
                    nursery.start_soon(submit)
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    if how == "exception":
                        raise KeyError
        [handle] = handles
        status, deliveries = eyes.redis.hmget(eyes.key(f"j:{handle.execution_id}"), "t", "n")
        if status is not None:
            assert (status, deliveries or b"0") == (b"w", b"0")
            await handle.cancel()
        else:
            assert (await handle.result()).success


async def test_given_back_parent_finds_its_running_child(make, eyes):
    """The child of work that goes back is not cancelled: who runs the parent next waits for it."""
    gated, begun, gate = make_gated()

    @processor
    async def caller(state: Work, ctx: Context) -> Work:
        return (await ctx.call("gated", state)).unwrap()

    async with make(gated, role="worker"), make(caller, gated, role="client") as client:
        with pytest.raises(KeyError):  # noqa: PT012
            async with make(caller, role="worker"):
                handle = await client.submit(caller, Work())
                await begun.wait()
                raise KeyError
        assert eyes.redis.hget(eyes.key(f"j:{handle.execution_id}"), "t") == b"w"
        async with make(caller, role="worker"):
            gate.set()
            with trio.fail_after(2):
                result = await handle.result()
    assert (result.success, result.state.count) == (True, 1)


async def test_processor_that_fails_while_it_is_cancelled_hurts_nobody(make):
    begun = trio.Event()

    async def spoil():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the middle of a cancellation")

    @processor
    async def spoiler(state: Work, ctx: Context) -> Work:
        begun.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spoil)
            nursery.start_soon(trio.sleep_forever)

    async with make(spoiler, one) as runtime:
        handle = await runtime.submit(spoiler, Work())
        await begun.wait()
        await handle.cancel()
        with trio.fail_after(1):
            assert (await runtime.execute(one, Work())).success


async def test_runtime_starts_again_with_a_clean_slate(make):
    async with make(one) as runtime:
        first = await runtime.execute(one, Work(), "s")
        await runtime.stop()
        await runtime.stop()
        assert not runtime.is_started
        with pytest.raises(RuntimeNotStartedError):
            await runtime.execute(one, Work())
        with pytest.raises(NetworkError):
            await runtime.state.get("s")
        await runtime.start()
        await runtime.start()
        second = await runtime.execute(one, first.state, "s")
        assert second.state.count == 2
        assert await runtime.state.version("s") == 2
        assert runtime.resources.resource_stats().connections.active > 0
    assert runtime.resources.resource_stats().connections.active == 0


async def test_nothing_is_left_behind(make, eyes, url):
    gated, begun, gate = make_gated()
    async with make(one):
        pass
    clients = eyes.redis.client_list()
    tasks, before = running_tasks(), ProcessSnapshot()
    async with make(one, gated, result_ttl=1.0) as runtime:
        runtime.on("*", lambda event: None)
        async with runtime.subscribe("processor:*"):
            await runtime.execute_many(one, [Work()] * 20, "s")
            await runtime.execute_many(one, [Work()] * 20)
            handle = await runtime.submit(gated, Work())
            await begun.wait()
            await handle.cancel()
            gate.set()
            await runtime.stop_session("s")
    assert running_tasks() == tasks
    assert before.leaks(patience=1.0) == []
    assert len(eyes.redis.client_list()) == len(clients)
    assert eyes.immortal() == set()
    # what remains is bounded: results and registries, each with a time to live
    kinds = {key.partition(":")[0] for key in eyes.keys()}  # noqa: SIM118
    assert kinds <= {"r", "q", "procs", "events", "fence", "shards", "served", "s", "st"}


async def test_cleaned_sessions_leave_no_key(make, eyes):
    async with make(one) as runtime:
        await runtime.execute(one, Work(), "s")
        await runtime.execute(one, Work(), "t")
        await runtime.stop_session("t")
        assert eyes.keys("s[:te]*") - {"served:one"} == {"s:s", "st:s", "s:t", "st:t", "sessions"}
        assert all(eyes.redis.ttl(eyes.key(key)) > 0 for key in ("s:t", "st:t"))
        await runtime.clean_all_sessions()
        await runtime.clean_session("t")
        assert eyes.keys("s[:t]*") == set()
        assert await runtime.active_sessions() == []
        assert (await runtime.execute(one, Work(), "t")).success


async def test_sessions_that_nobody_uses_are_stopped(make, eyes):
    async with make(one, limits=ResourceLimits(session_ttl=0.2)) as runtime:
        stopped = trio.Event()
        runtime.on("session:stopped", lambda event: stopped.set())
        await runtime.execute(one, Work(), "s")
        assert await runtime.active_sessions() == ["s"]
        with trio.fail_after(2):
            await stopped.wait()
        assert await runtime.active_sessions() == []


async def test_namespaces_never_see_each_other(make, eyes):
    seen = []
    async with make(one) as here, make(one, name=f"{eyes.prefix[6:-4]}-b") as there:
        there.on("*", seen.append)
        await there.execute(one, Work())
        seen.clear()
        await here.execute(one, Work(), "s")
        assert await there.active_sessions() == []
        assert await there.state.get("s") is None
        assert (await there.queue_stats())["one"].completed == 1
        await there.execute(one, Work())
        assert {event.session_id for event in seen if event.session_id} & {"s"} == set()
        assert len({event.execution_id for event in seen}) == 1
