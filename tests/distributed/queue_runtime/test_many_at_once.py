"""Many executions that are asked for at once go to Redis in few exchanges, each for itself."""

from __future__ import annotations

import pytest
import trio

from am2z import ConfigurationError, Context, ResourceLimits, RuntimeStoppedError, processor
from am2z.queue.sender import MOST_AT_ONCE

from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio


@processor
async def double(state: Work, ctx: Context) -> Work:
    return state.evolve(count=2 * state.count)


async def counted(protocol, monkeypatch):
    sizes = []
    really = protocol.enqueue_many

    async def count(submissions):
        sizes.append(len(submissions))
        return await really(submissions)

    monkeypatch.setattr(protocol, "enqueue_many", count)
    return sizes


async def test_handles_come_in_the_order_of_the_states(make):
    async with make(double, role="client") as client, make(double, role="worker"):
        handles = await client.submit_many(double, [Work(count=n) for n in range(300)], "s")
        results = [await handle.result() for handle in handles]
    assert [result.state.count for result in results] == [2 * n for n in range(300)]
    assert len({handle.execution_id for handle in handles}) == 300


async def test_many_at_once_are_a_few_exchanges(make, monkeypatch):
    async with make(double, role="client") as client:
        sizes = await counted(client._shards[0].node.protocol, monkeypatch)
        await client.submit_many(double, [Work(count=n) for n in range(300)])
        assert sizes == [MOST_AT_ONCE, MOST_AT_ONCE, 300 - 2 * MOST_AT_ONCE]


async def test_callers_of_one_moment_share_an_exchange(make, monkeypatch):
    async with make(double) as runtime:
        sizes = await counted(runtime._shards[0].node.protocol, monkeypatch)
        results = await runtime.execute_many(double, [Work(count=n) for n in range(100)])
        assert [result.state.count for result in results] == [2 * n for n in range(100)]
        assert sum(sizes) == 100
        assert len(sizes) < 50


async def test_limit_of_a_queue_holds_inside_one_exchange(make):
    limits = ResourceLimits(max_queue_size=3)
    async with make(double, role="client", limits=limits) as client:
        handles = await client.submit_many(double, [Work(count=n) for n in range(5)])
        refused = [(await handle.result()).error for handle in handles[3:]]
        assert [error.code for error in refused] == ["RESOURCE_LIMIT"] * 2
        assert (await client.queue_stats())["double"].waiting == 3


async def test_state_that_cannot_cross_refuses_all_of_them(make):
    async with make(double, role="client") as client:
        with pytest.raises(ConfigurationError):
            await client.submit_many("", [Work(), Work()])
        assert (await client.queue_stats())["double"].waiting == 0


async def test_none_of_a_cancelled_crowd_is_left_behind(make, monkeypatch):
    async with make(double, role="client") as client:
        protocol = client._shards[0].node.protocol
        really, begun = protocol.enqueue_many, trio.Event()

        async def slow(submissions):
            answers = await really(submissions)
            begun.set()
            await trio.sleep(0.01)
            return answers

        monkeypatch.setattr(protocol, "enqueue_many", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.submit_many, double, [Work()] * 300)
            await begun.wait()
            nursery.cancel_scope.cancel()
        assert client._shards[0].inbox.waiting == []
        # What was on its way when they were cancelled is withdrawn, and the rest never sent.
        await wait_until(lambda: not client._shards[0].sender._waiting)
        assert (await client.queue_stats())["double"].waiting == 0


async def test_who_is_still_in_line_when_the_runtime_ends_is_told(make, monkeypatch):
    results = []
    async with make(double, role="client", shutdown_grace=0.1) as client:
        protocol = client._shards[0].node.protocol

        async def never(submissions):
            await trio.sleep_forever()

        monkeypatch.setattr(protocol, "enqueue_many", never)

        async def call():
            results.append(await client.execute(double, Work()))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
            await wait_until(lambda: len(client._shards[0].inbox.waiting) == 3)
            await client.stop()
    assert [type(result.error) for result in results] == [RuntimeStoppedError] * 3
