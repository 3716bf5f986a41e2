"""Others write garbage into every key while a runtime works: it goes on, and so does other work."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from am2z import Context, LockLostError, StateCorruptError, processor
from am2z.queue.keys import encode
from tests.distributed.protocol.protocol_driver import Driver
from tests.distributed.protocol.spoil import JUNK, spoil

from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio

SPARED = ("served:",)
"""Without it callers are told that nobody serves, until the workers say again that they do."""


@processor
async def one(state: Work, ctx: Context) -> Work:
    await ctx.emit("app:seen", {"count": state.count})
    return state.evolve(count=state.count + 1)


@processor(timeout=20)
async def nested(state: Work, ctx: Context) -> Work:
    result = await ctx.call("one", state)
    await trio.sleep(0.05)
    return result.state if result.success else state


@pytest.mark.parametrize("how", ["kind", "part", "more", "less"])
async def test_garbage_in_every_key_stops_neither_the_runtime_nor_other_work(
    make, eyes, namespace, how
):
    driver = Driver(eyes.redis, namespace, virtual=False)
    async with make(one, nested, lease=1.0) as runtime, make(role="client") as client:
        seen = []
        client.on("app:seen", seen.append)
        for number, junk in enumerate(JUNK[:6]):
            for n in range(4):
                await client.submit(nested, Work(count=n), f"s{number}-{n}")
                await client.submit(one, Work(count=n), delay=60)
            await client.submit("nested", Work(), f"s{number}")
            with suppress(LockLostError):  # the lock's keys are spoilt like all others
                async with client.lock(f"l{number}"):
                    for name in sorted(eyes.keys()):
                        if eyes.redis.exists(eyes.key(name)) and not name.startswith(SPARED):
                            spoil(driver, eyes.key(name).encode(), how, junk, number)
        seen.clear()
        with trio.fail_after(15):
            results = await client.execute_many([(one, Work(count=n)) for n in range(20)])
            sessions = [await client.execute(nested, Work(count=5), f"new{n}") for n in range(3)]
        assert [result.state.count for result in results] == list(range(1, 21))
        assert [result.state.count for result in sessions] == [6, 6, 6]
        assert all(result.success for result in (*results, *sessions))
        with trio.fail_after(5):
            await wait_until(lambda: len(seen) >= 23)
            await client.stats()
            await client.queue_stats()
            await client.active_sessions()
            await client.dead.list()
            await runtime.stop_session("new0")
        assert await runtime.state.get("new1") is not None


@pytest.mark.parametrize("field", ["n", "t"])
async def test_a_corrupted_execution_is_set_aside_for_its_caller_and_among_the_dead(
    make, eyes, field
):
    async with make(one, role="client") as client:
        broken = await client.submit(one, Work(count=1))
        sound = await client.submit(one, Work(count=2))
        eyes.redis.hset(eyes.key(f"j:{encode(broken.execution_id)}"), field, "junk")
        async with make(one, role="worker"):
            with trio.fail_after(5):
                assert (await sound.result()).state.count == 3
                result = await broken.result()
        assert isinstance(result.error, StateCorruptError)
        assert "damaged" in str(result.error)
        letter = await client.dead.get(broken.execution_id)
        assert letter is not None
        assert isinstance(letter.error, StateCorruptError)
        async with make(one, role="worker"):
            with trio.fail_after(5):
                new_id = await client.dead.retry(broken.execution_id)
                handle = await client.submit(one, Work(count=1), execution_id=new_id)
                assert (await handle.result()).state.count == 2
