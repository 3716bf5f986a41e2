"""Callers that wait: however many, however long the result, and whatever gets lost."""

from __future__ import annotations

import pytest
import trio

from am2z import Context, ExecutionCancelledError, NetworkError, QueueRuntime, processor
from am2z.queue import inbox, worker
from am2z.queue.inbox import Pending
from am2z.queue.worker import Worker

from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@processor
async def large(state: Work, ctx: Context) -> Work:
    return state.evolve(note="x" * state.count)


def make_gated():
    begun, gate = trio.Event(), trio.Event()

    @processor
    async def gated(state: Work, ctx: Context) -> Work:
        ctx.update_progress(25)
        begun.set()
        await gate.wait()
        return state.evolve(count=state.count + 1)

    return gated, begun, gate


def connections(eyes, namespace):
    return [c for c in eyes.redis.client_list() if c["name"] == f"am2z-{namespace}"]


async def test_thousand_callers_wait_over_a_constant_number_of_connections(make, eyes, namespace):
    """taskforcesh/bullmq#383, and 100 callers that use up a pool."""
    gated, _, gate = make_gated()
    async with make(gated, role="worker", concurrency=1000), make(gated, role="client") as client:
        results = []

        async def call(number):
            results.append((number, await client.execute(gated, Work(count=number))))

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(call, number)
            with trio.fail_after(10):
                while (await client.queue_stats())["gated"].active < 1000:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            # for each runtime the shared one, and one for each of the few loops that block
            assert len(connections(eyes, namespace)) <= 6
            gate.set()
    assert len(results) == 1000
    assert all(result.state.count == number + 1 for number, result in results)


@pytest.mark.parametrize("size", [65_000, 66_000, 1_000_000])
@pytest.mark.parametrize("kind", ["real", "fake"])
async def test_long_results_arrive_whole(make, size, kind, namespace, url):
    at = url if kind == "real" else f"fake://{namespace}"
    async with make(large, at=at, role="worker"), make(large, at=at, role="client") as client:
        with trio.fail_after(2):
            result = await client.execute(large, Work(count=size))
    assert len(result.state.note) == size


async def test_cancelled_caller_cancels_its_execution(make):
    gated, begun, _ = make_gated()
    async with (
        make(gated, one, role="worker", concurrency=1) as worker,
        make(role="client") as client,
    ):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.execute, "gated", Work(), "s")
                await begun.wait()
                scope.cancel()
        with trio.fail_after(10):
            assert (await client.execute("one", Work())).success  # the slot is free
        assert (await client.session_stats("s"))["gated"].failed == 1
        # Its caller can know the end before its worker knows that it was reported.
        await wait_until(lambda: worker._shards[0].worker.running == 0)
        assert client._shards[0].inbox.waiting == []


async def test_handle_tells_progress_and_cancels(make):
    gated, begun, gate = make_gated()
    async with make(gated, role="worker"), make(gated, role="client") as client:
        handle = await client.submit(gated, Work())
        await begun.wait()
        with trio.fail_after(2):
            while await handle.progress() != 25:  # noqa: ASYNC110
                await trio.sleep(0.003)
            await handle.cancel()
            await handle.cancel()
            first, second = await handle.result(), await handle.result()
        assert first is second
        assert isinstance(first.error, ExecutionCancelledError)

        done = await client.submit(gated, Work())
        gate.set()
        assert (await done.result()).success
        await done.cancel()
        assert (await done.result()).success
        assert await done.progress() == 25


async def test_progress_is_known_when_the_result_is_too_long_for_a_message(make):
    @processor
    async def long(state: Work, ctx: Context) -> Work:
        await ctx.update_progress(75)
        return state.evolve(note="x" * 100_000)

    async with make(long) as runtime:
        handle = await runtime.submit(long, Work())
        assert (await handle.result()).success
        assert await handle.progress() == 75


async def test_progress_is_known_of_what_was_cancelled(make):
    gated, begun, _ = make_gated()
    async with make(gated) as runtime:
        handle = await runtime.submit(gated, Work())
        await begun.wait()
        with trio.fail_after(5):
            while await handle.progress() != 25:  # noqa: ASYNC110
                await trio.sleep(0.003)
        await handle.cancel()
        again = await runtime.submit(gated, Work(), execution_id=handle.execution_id)
        assert await handle.progress() == await again.progress() == 25


async def test_lost_message_does_not_hang_its_waiter(make, eyes, monkeypatch):
    monkeypatch.setattr(inbox, "SWEEP", 0.1)
    gated, begun, gate = make_gated()
    async with make(gated, role="worker"), make(gated, role="client") as client:
        key = eyes.key(f"in:{client._shards[0].node.runtime_id}")
        handle = await client.submit(gated, Work())
        await begun.wait()
        # whoever is told of the result, it is not this client
        eyes.redis.hdel(eyes.key(f"j:{handle.execution_id}"), "o")
        gate.set()
        with trio.fail_after(2):
            assert (await handle.result()).success
        assert not eyes.redis.exists(key)


async def test_who_waits_for_long_is_looked_up_ever_more_seldom(autojump_clock):
    pending = Pending("x", "one", is_transient=False, is_child=False)
    looks = []
    for _ in range(400):
        await trio.sleep(1)
        if pending.is_overdue(trio.current_time()):
            pending.looked_at = trio.current_time()
            looks.append(trio.current_time() - pending.since)
    assert looks == [2, 4, 8, 16, 32, 64, 124, 184, 244, 304, 364]


async def test_whom_a_message_may_have_missed_is_looked_up_at_once(autojump_clock):
    pending = Pending("x", "one", is_transient=False, is_child=False)
    pending.look_soon()
    assert pending.is_overdue(trio.current_time())


async def test_result_that_redis_forgot_is_a_clear_error(make, eyes, monkeypatch):
    monkeypatch.setattr(inbox, "SWEEP", 0.1)
    async with make(one, role="client") as client:
        handle = await client.submit(one, Work())
        eyes.redis.delete(eyes.key(f"j:{handle.execution_id}"))
        with trio.fail_after(2):
            result = await handle.result()
        assert isinstance(result.error, NetworkError)
        assert "no longer knows" in result.error.message


async def test_request_that_is_still_on_its_way_is_not_taken_for_lost(make, eyes, monkeypatch):
    """A reconnection looks everybody up; who is not in Redis yet must be left alone."""
    async with make(one) as runtime:
        parts = runtime._shards[0]
        enqueue = parts.node.protocol.enqueue_many

        async def slow(*args, **options):
            await parts.inbox.look_up([p.execution_id for p in parts.inbox.waiting])
            return await enqueue(*args, **options)

        monkeypatch.setattr(parts.node.protocol, "enqueue_many", slow)
        with trio.fail_after(2):
            assert (await runtime.execute(one, Work())).success


async def test_messages_that_nobody_can_read_are_skipped(make, eyes, caplog):
    async with make(one) as runtime:
        key = eyes.key(f"in:{runtime._shards[0].node.runtime_id}")
        for message in (b"", b"junk", b"a b c d e f", b"id X - 0 1-1 =", b"\xff !x", b"id !7"):
            eyes.redis.rpush(key, message)
        with trio.fail_after(2):
            assert (await runtime.execute(one, Work())).success
            await wait_until(lambda: not eyes.redis.exists(key))
    assert "cannot be read" in caplog.text


async def test_same_execution_may_have_several_waiters(make):
    gated, begun, gate = make_gated()
    async with make(gated) as runtime:
        handle = await runtime.submit(gated, Work())
        results = []

        async def wait():
            results.append(await handle.result())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await begun.wait()
            gate.set()
        assert len(results) == 3
        assert results[0] is results[1] is results[2]


async def test_caller_in_one_process_over_the_in_process_server():
    async with QueueRuntime("fake://waiting") as runtime:
        runtime.register(one)
        results = await runtime.execute_many(one, [Work(count=n) for n in range(100)], "s")
        assert [r.state.count for r in results] == list(range(1, 101))
        assert await runtime.state.version("s") == 100


async def test_news_of_work_that_comes_while_a_claim_is_answered_is_heard(
    make, eyes, namespace, monkeypatch
):
    """The claim found nothing, and the news is taken before the worker knows that."""
    claim, asked, go, held = Worker._exchange, trio.Event(), trio.Event(), []
    monkeypatch.setattr(worker, "IDLE", 3600.0)

    async def answer_late(self, ended, wants, room):
        claims = await claim(self, ended, wants, room)
        if wants and not claims.items and not held:
            held.append(self)
            asked.set()
            await go.wait()
        return claims

    monkeypatch.setattr(Worker, "_exchange", answer_late)
    async with make(one, role="worker"), make(one, role="client") as client:
        await asked.wait()
        handle = await client.submit(one, Work(count=1))
        await wait_until(lambda: eyes.redis.delete(eyes.key("wake:one")))
        held[0].look_again()
        go.set()
        with trio.fail_after(10):
            assert (await handle.result()).unwrap().count == 2


async def test_claim_of_an_idle_worker_is_on_the_server_before_the_work(make, eyes, namespace):
    def claims_that_wait():
        blocked = [c for c in connections(eyes, namespace) if c["cmd"] == "blpop"]
        return [c for c in blocked if int(c["qbuf"]) > 0]  # a command that comes after the wait

    async with make(one, role="worker") as worker, make(role="client") as client:
        for _ in range(3):
            await wait_until(lambda: len(claims_that_wait()) == 1)
            assert (await client.execute("one", Work(count=1))).unwrap().count == 2
        worker.unregister("one")  # who has nothing to do claims nothing
        await wait_until(lambda: not claims_that_wait())
