"""Lines that are slow, half open, or gone for a while: work flows again, and nothing is doubled.

A half-open connection is the worst kind of outage: nothing fails, and nobody is told.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import trio

from am2z import Context, QueueRuntime, RuntimeConfig, processor
from am2z.queue.client import ConnectionLostError, open_client, sync_client
from harness import RedisProxy
from tests.distributed.queue_runtime.conftest import wait_until, within
from tests.distributed.redis_client.conftest import RedisServer

from .crash_program import Program, Sum, add, script_names, twice

pytestmark = pytest.mark.trio

NOTICED = 3.0
"""Seconds after which a silent line is given up: what is unanswered for 2 s counts as lost."""
AGAIN = 3.0
"""Seconds within which work flows again once it can."""

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    one = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield one
    one.kill()


@pytest.fixture
def namespace() -> str:
    return f"lines{os.getpid()}-{next(_numbers)}"


@pytest.fixture(autouse=True)
def nothing_is_left(server, namespace):
    """When a test is over no execution is forgotten in Redis, waiting or leased."""
    yield
    with sync_client(server.url) as redis:
        prefix = f"{{am2z:{namespace}:0}}:"
        names = {key.decode().removeprefix(prefix) for key in redis.scan_iter(prefix + "*")}
    live = ("j:", "d:", "w:", "ready:", "leases", "delayed", "sj:", "sy:", "kd:", "lock:")
    assert {name for name in names if name.startswith(live)} == set()


def make_gated(runs: Counter[str]):
    begun, gate = trio.Event(), trio.Event()

    @processor
    async def gated(state: Sum, ctx: Context) -> Sum:
        runs[ctx.execution_id] += 1
        begun.set()
        await gate.wait()
        return state.evolve(count=state.count + 1)

    return gated, begun, gate


def make(url, namespace, *processors, role="both", lease=2.0):
    config = RuntimeConfig(lease=lease, shutdown_grace=3.0, max_deliveries=10)
    return QueueRuntime(url, namespace=namespace, role=role, config=config).register(*processors)


async def test_everything_works_where_each_reply_is_late(server, namespace):
    async with RedisProxy(server.url, scripts=script_names()) as proxy:
        proxy.latency = 0.02
        program = Program(server.url, namespace)
        await program.run(proxy)
    assert program.problems == program.refused == []


async def test_late_replies_cost_time_once_and_not_for_each_execution(server, namespace):
    async with RedisProxy(server.url) as proxy:
        async with make(proxy.url, namespace, add, twice) as runtime:
            await runtime.execute(add, Sum())  # scripts are known from here on
            proxy.latency = 0.02
            began = trio.current_time()
            results = await runtime.execute_many(twice, [Sum()] * 100)
            # One after the other they would wait for 100 * 8 replies, which is 16 s.
            assert trio.current_time() - began < 4
        assert [result.unwrap().count for result in results] == [2] * 100


@pytest.mark.parametrize("replies_only", [False, True])
async def test_short_silence_is_waited_out(server, namespace, replies_only):
    """Shorter than it takes to give a line up: nothing is sent twice, nothing fails."""
    runs: Counter[str] = Counter()
    gated, begun, gate = make_gated(runs)
    async with RedisProxy(server.url) as proxy:
        async with make(proxy.url, namespace, gated, add, lease=10.0) as runtime:
            async with trio.open_nursery() as nursery:
                handle = await runtime.submit(gated, Sum(), "s")
                await begun.wait()
                proxy.pause(commands=not replies_only)
                gate.set()
                nursery.start_soon(runtime.execute, add, Sum(), "t")
                with trio.move_on_after(0.5):
                    await handle.result()
                    raise AssertionError("no reply could come, but a result did")
                proxy.resume()
                with trio.fail_after(AGAIN):
                    result = await handle.result()
            assert result.unwrap().count == 1
            versions = [await runtime.state.version(name) for name in ("s", "t")]
        assert versions == [1, 1]
        assert list(runs.values()) == [1]


@pytest.mark.parametrize("replies_only", [False, True])
async def test_work_flows_again_over_new_lines_when_the_old_ones_fell_silent(
    server, namespace, replies_only
):
    """taskforcesh/bullmq#2964, #4585, celery/celery#8091: idle for ever on a half-open line."""
    gated, begun, gate = make_gated(Counter())
    async with RedisProxy(server.url) as proxy:
        async with make(proxy.url, namespace, gated, add, twice) as runtime:
            await runtime.execute(twice, Sum(), "before")
            handle = await runtime.submit(gated, Sum(), "running")
            await begun.wait()
            proxy.pause(commands=not replies_only, new=False)
            gate.set()
            with trio.fail_after(NOTICED + AGAIN):
                assert (await handle.result()).unwrap().count == 1
                assert (await runtime.execute(twice, Sum(), "after")).unwrap().count == 2
            # What was held up on the old lines arrives now, as stale as it is.
            proxy.resume()
            with trio.fail_after(AGAIN + 2.0):
                results = await runtime.execute_many(twice, [Sum()] * 20, "after")
            assert all(result.success for result in results)
            versions = [await runtime.state.version(s) for s in ("before", "running", "after")]
        assert versions == [1, 1, 21]


async def test_half_open_lines_are_noticed_and_work_flows_within_three_seconds(server, namespace):
    """Redis is back as soon as new connections work; the old ones never say that they are dead.

    Neither the caller's nor the worker's, which blocks on its line until its time is over.
    """

    async def once() -> float:
        async with (
            RedisProxy(server.url) as proxy,
            make(proxy.url, namespace, add, role="worker", lease=10.0) as worker,
            make(proxy.url, namespace, role="client") as client,
        ):
            await client.execute("add", Sum())
            await wait_until(lambda: worker._shards[0].worker._idle_scope is not None)
            proxy.pause(new=False)
            back = trio.current_time()
            with trio.fail_after(20):
                assert (await client.execute("add", Sum(count=4))).unwrap().count == 5
            return trio.current_time() - back

    await within(3.0, once)


@pytest.mark.parametrize("noticed_by", ["a blocking command", "the shared connection"])
async def test_idle_connections_are_not_used_once_another_fell_silent(
    server, monkeypatch, noticed_by
):
    """Each of them would cost its user the time that it takes to notice."""
    monkeypatch.setattr("am2z.queue.client.blocking.MARGIN", 0.3)

    async def block():
        return await client.block("BLPOP", "nothing", 0.1, timeout=0.1)

    async def use_a_silent_line():
        if noticed_by == "a blocking command":
            await block()
        else:
            await client.call("PING")

    async with RedisProxy(server.url) as proxy, open_client(proxy.url, patience=0.3) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(block)
        proxy.pause(new=False)
        with pytest.raises(ConnectionLostError, match="no reply within"):
            await use_a_silent_line()
        await client.call("PING", idempotent=True)
        assert await block() is None


async def test_caller_is_answered_by_another_worker_when_the_first_is_behind_a_silent_line(
    server, namespace
):
    gated, begun, gate = make_gated(Counter())
    async with (
        RedisProxy(server.url) as proxy,
        make(server.url, namespace, role="client") as client,
        make(proxy.url, namespace, gated, role="worker", lease=1.0),
    ):
        handle = await client.submit(gated, Sum(), "s")
        await begun.wait()
        proxy.pause()
        async with make(server.url, namespace, gated, role="worker", lease=1.0):
            gate.set()  # the first one is done now, and cannot say so
            with trio.fail_after(1.0 + AGAIN):
                assert (await handle.result()).unwrap().count == 1
            proxy.resume()  # its report comes now: too late
            await client.execute(gated, Sum(), "t")
        assert await client.state.version("s") == 1


async def test_lines_that_are_dropped_again_and_again_lose_nothing(server, namespace):
    async with RedisProxy(server.url) as proxy, make(proxy.url, namespace, add, twice) as runtime:
        results = []

        async def call():
            results.extend(await runtime.execute_many(twice, [Sum()] * 40, "s"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            for number in range(1, 6):
                await proxy.saw("EVALSHA", at=number * 30)
                proxy.drop()
        assert [result.unwrap().count for result in results] == [2] * 40
        assert await runtime.state.version("s") == 40


async def test_server_that_refuses_for_a_while_is_found_again(server, namespace):
    async with RedisProxy(server.url) as proxy, make(proxy.url, namespace, add) as runtime:
        await runtime.execute(add, Sum())
        results = []
        done = trio.Event()

        async def call():
            results.append(await runtime.execute(add, Sum(), "s"))
            done.set()

        async with trio.open_nursery() as nursery:
            with proxy.refusing():
                proxy.drop()
                nursery.start_soon(call)
                with trio.move_on_after(1.0):
                    await done.wait()
                assert not results
            with trio.fail_after(AGAIN):
                await done.wait()
        assert results[0].unwrap().count == 1
        assert await runtime.state.version("s") == 1


@pytest.mark.parametrize("is_refused", [False, True])
async def test_lock_whose_block_ended_in_time_was_not_lost_though_giving_it_back_took_too_long(
    server, namespace, is_refused
):
    """It was held for as long as the block ran; that it expires afterwards harms nobody."""
    has_expired = trio.Event()
    key = f"{{am2z:{namespace}:0}}:lock:ledger"

    async def cut_off_until_it_has_expired(proxy, task_status):
        with sync_client(server.url) as redis, proxy.refusing() if is_refused else nullcontext():
            if is_refused:
                proxy.drop()
            else:
                proxy.pause()
            task_status.started()
            while redis.exists(key):  # noqa: ASYNC110
                await trio.sleep(0.01)
        proxy.resume()
        has_expired.set()

    async with (
        RedisProxy(server.url) as proxy,
        make(proxy.url, namespace) as runtime,
        trio.open_nursery() as nursery,
    ):
        async with runtime.lock("ledger", ttl=0.4):
            await nursery.start(cut_off_until_it_has_expired, proxy)
        await has_expired.wait()
        async with runtime.lock("ledger"):
            pass
