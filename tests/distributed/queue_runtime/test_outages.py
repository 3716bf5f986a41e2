"""Redis goes away and comes back: work flows again, and nothing is lost."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio

from am2z import AM2ZError, Context, NetworkError, processor
from am2z.queue import node, worker
from am2z.queue.client import parse_url, sync_client
from am2z.queue.client.transport import WIRE_ERRORS, open_wire
from harness import RedisProxy

from .apps import Work
from .conftest import Eyes, wait_until

pytestmark = pytest.mark.trio


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@processor
async def twice(state: Work, ctx: Context) -> Work:
    first = (await ctx.call("one", state)).unwrap()
    await trio.lowlevel.checkpoint()
    return (await ctx.call("one", first)).unwrap()


def make_gated():
    begun, gate = trio.Event(), trio.Event()

    @processor
    async def gated(state: Work, ctx: Context) -> Work:
        begun.set()
        await gate.wait()
        ctx.update_progress(50)
        return state.evolve(count=state.count + 1)

    return gated, begun, gate


async def test_redis_that_comes_back_loses_nothing(make, own_server, namespace):
    """taskforcesh/bullmq#2964, #4585, celery/celery#8091: idle after Redis came back."""
    gated, begun, gate = make_gated()
    at = own_server.url
    results = {}

    async def call(client, name, *args):
        results[name] = await client.execute(*args)

    async with (
        make(gated, one, at=at, role="worker", lease=5.0) as worker,
        make(gated, one, at=at, role="client") as client,
        trio.open_nursery() as nursery,
    ):
        client.on("*", lambda event: None)
        await client.execute(one, Work(), "before")
        nursery.start_soon(call, client, "running", gated, Work(), "s")  # a caller that waits
        await begun.wait()  # and the worker blocks in its pop, because there is no more work
        own_server.kill()
        nursery.start_soon(call, client, "asked meanwhile", one, Work(), "t")
        gate.set()  # its result cannot be reported yet
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert results == {}
        await trio.to_thread.run_sync(own_server.start)
        back = trio.current_time()
        with trio.fail_after(3):
            await wait_until(lambda: len(results) == 2, 3)
            assert (await client.execute(one, Work())).success
        assert trio.current_time() - back < 3
        assert worker.is_started
        assert all(result.success for result in results.values())
        versions = [await client.state.version(name) for name in ("before", "s", "t")]
        assert versions == [1, 1, 1]
        eyes = Eyes(at, namespace)
        assert eyes.keys("j:*") == eyes.keys("leases") == set()
        eyes.redis.close()


async def test_redis_that_came_back_empty_is_told_to_those_who_wait(make, own_server):
    gated, begun, _ = make_gated()
    async with make(gated, one, at=own_server.url, lease=0.3) as runtime:
        async with trio.open_nursery() as nursery:
            results = []

            async def call():
                results.append(await runtime.execute(gated, Work()))

            nursery.start_soon(call)
            await begun.wait()
            with sync_client(own_server.url) as admin:
                admin.flushall()
                admin.client_kill_filter(_type="normal", skipme=True)
            with trio.fail_after(3):
                await wait_until(lambda: results, 3)
        assert isinstance(results[0].error, NetworkError)
        with trio.fail_after(3):
            await wait_until(lambda: runtime._shards[0].worker.running == 0)  # nobody wants it now
            assert (await runtime.execute(one, Work())).success


async def test_forgotten_scripts_are_sent_again(make, own_server):
    """Openpanel-dev/groupmq#16: NOSCRIPT for ever."""
    done = trio.Event()

    async def flush():
        with sync_client(own_server.url) as admin:
            while not done.is_set():
                admin.script_flush()
                await trio.lowlevel.checkpoint()

    async with make(one, twice, at=own_server.url) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(flush)
        with trio.fail_after(10):
            results = await runtime.execute_many(twice, [Work()] * 30, "s")
        done.set()
        assert [r.state.count for r in results] == [2] * 30
        assert await runtime.state.version("s") == 30


@pytest.mark.parametrize("seed", [1, 2])
async def test_connections_that_are_killed_at_random_lose_nothing(
    make, own_server, seed, namespace
):
    rng = random.Random(seed)
    done = trio.Event()
    kills = 0
    ran = []

    @processor
    async def counted(state: Work, ctx: Context) -> Work:
        ran.append(state.count)
        return (await ctx.call("one", state)).unwrap()

    async def kill():
        nonlocal kills
        with sync_client(own_server.url) as admin:
            while not done.is_set() and kills < 40:
                mine = admin.client_id()
                others = [c["id"] for c in admin.client_list() if int(c["id"]) != mine]
                for victim in rng.sample(others, min(2, len(others))):
                    admin.client_kill_filter(_id=victim)
                    kills += 1
                with trio.move_on_after(rng.uniform(0.01, 0.05)):
                    await done.wait()

    settings = {"at": own_server.url, "lease": 0.4, "max_deliveries": 50}
    async with (
        make(one, counted, role="worker", concurrency=10, **settings),
        make(one, counted, role="worker", concurrency=10, **settings),
        make(one, counted, role="client", **settings) as client,
        trio.open_nursery() as nursery,
    ):
        results = []

        async def call(number):
            results.append(await client.execute(counted, Work(count=number), f"s{number}"))

        nursery.start_soon(kill)
        with trio.fail_after(40):
            async with trio.open_nursery() as callers:
                for number in range(200):
                    callers.start_soon(call, number)
        done.set()
        assert [r.error for r in results if not r.success] == []
        assert sorted(r.state.count for r in results) == list(range(1, 201))
        assert kills > 5
        versions = [await client.state.version(f"s{number}") for number in range(200)]
        assert versions == [1] * 200
        eyes = Eyes(own_server.url, namespace)
        with trio.fail_after(2):
            await wait_until(lambda: eyes.keys("j:*") | eyes.keys("leases") == set())
        eyes.redis.close()


async def test_calls_while_redis_is_away_are_clear_errors(make, own_server, monkeypatch):
    async with make(one, at=own_server.url, shutdown_grace=0.1) as runtime:
        handle = await runtime.submit(one, Work())
        await handle.result()
        own_server.kill()
        monkeypatch.setattr(runtime._shards[0].node.client._link, "_patience", 0.1)
        with trio.fail_after(5):
            assert isinstance((await runtime.execute(one, Work())).error, NetworkError)
            for call in (
                runtime.queue_stats,
                runtime.active_sessions,
                runtime.sync_processors,
                lambda: runtime.stop_session("s"),
                lambda: runtime.state.set("s", Work()),
                lambda: runtime.state.get("s"),
                lambda: runtime.state.delete("s"),
                handle.progress,
            ):
                with pytest.raises(NetworkError, match=r"redis\.sock"):
                    await call()
            await handle.cancel()


@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.parametrize("role", ["both", "client"])
async def test_runtime_that_stops_without_redis_takes_one_farewell_in_all(
    make, own_server, monkeypatch, is_silent, role
):
    """Whatever it has to tell: callers, executions, locks and its presence share that time."""
    monkeypatch.setattr(node, "FAREWELL", 0.4)
    monkeypatch.setattr(node, "LAST_WORD", 0.05)
    gated, begun, _ = make_gated()
    locked = trio.Event()
    results = []

    async def lock():
        with suppress(AM2ZError):
            async with runtime.lock("ledger", ttl=30):
                locked.set()
                await trio.sleep_forever()

    async def call():
        results.append(await runtime.execute(gated, Work()))

    async with RedisProxy(own_server.url) as proxy, trio.open_nursery() as nursery:
        async with make(gated, at=proxy.url, role=role, shutdown_grace=0.1, lease=1.0) as runtime:
            handle = await runtime.submit(gated, Work())
            nursery.start_soon(call)
            nursery.start_soon(lock)
            await locked.wait()
            if role == "both":
                await begun.wait()
            await wait_until(lambda: len(runtime._shards[0].inbox.waiting) == 2)
            if is_silent:
                proxy.pause()
            else:
                own_server.kill()
            began = trio.current_time()
        # One after the other they took 6 to 9 s.
        assert trio.current_time() - began < 3
        results.append(await handle.result())
    assert len(results) == 2
    assert all(isinstance(result.error, AM2ZError) for result in results)


async def test_worker_that_stops_and_cannot_report_ends_in_order(make, own_server, monkeypatch):
    """Its last turn is over before it is cancelled: that is no error of its own."""
    monkeypatch.setattr(node, "FAREWELL", 1.0)
    monkeypatch.setattr(worker, "LAST_TURN", 0.1)
    begun, gate, runs = trio.Event(), trio.Event(), []

    @processor
    async def stubborn(state: Work, ctx: Context) -> Work:
        runs.append(ctx.fence)
        if len(runs) == 1:
            with trio.CancelScope(shield=True):  # what it does it does to the end
                begun.set()
                await gate.wait()
        return state.evolve(count=1)

    settings = {"role": "worker", "shutdown_grace": 0.05, "lease": 1.0}
    async with make(stubborn, at=own_server.url, role="client") as client:
        handle = await client.submit(stubborn, Work(), "s")
        async with (
            RedisProxy(own_server.url) as proxy,
            make(stubborn, at=proxy.url, **settings) as r,
        ):
            working = r._shards[0].worker
            await begun.wait()
            async with trio.open_nursery() as nursery:
                proxy.pause()
                nursery.start_soon(r.stop)
                await wait_until(lambda: working._is_leaving)
                gate.set()
        async with make(stubborn, at=own_server.url, **settings):
            with trio.fail_after(20):
                assert (await handle.result()).success
        assert await client.state.version("s") == 1


async def test_housekeeping_survives_an_error(make, monkeypatch, caplog):
    async with make(one, metrics_interval=0.02) as runtime:
        failed = trio.Event()
        queue_stats = runtime.queue_stats

        async def failing():
            if not failed.is_set():
                failed.set()
                raise NetworkError("away for a moment")
            return await queue_stats()

        monkeypatch.setattr(runtime, "queue_stats", failing)
        async with runtime.subscribe("metrics:collected") as events:
            with trio.fail_after(2):
                await failed.wait()
                await anext(events)
    assert "metrics could not be collected: away for a moment" in caplog.text


async def test_closed_wire_says_so(url):
    """A connection may be dropped between two reads; trio must not be asked about socket -1."""
    wire = await open_wire(parse_url(url))
    wire.close()
    with pytest.raises(trio.ClosedResourceError):
        await wire.receive()
    with pytest.raises(WIRE_ERRORS):
        await wire.send(b"PING\r\n")
