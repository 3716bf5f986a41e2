"""redis/redis-py#2624, #2665: a cancelled read shifts every later reply by one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable

import pytest
import trio

from am2z.queue.client import RedisClient, Script, open_client

pytestmark = pytest.mark.trio

BUMP = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


async def _pipeline(client: RedisClient, *, transaction: bool) -> object:
    pipe = client.pipeline(transaction=transaction)
    return await pipe.call("ECHO", "a").run_script(BUMP, ["n"], [1]).call("ECHO", "b").execute()


async def _forgotten_script(client: RedisClient) -> object:
    await client.script_flush()
    return await client.run_script(BUMP, ["n"], [1])


OPERATIONS: dict[str, Callable[[RedisClient], Awaitable[object]]] = {
    "call": lambda client: client.call("ECHO", "x"),
    "redis-py method": lambda client: client.hgetall("h"),
    "forgotten script": _forgotten_script,
    "pipeline": lambda client: _pipeline(client, transaction=False),
    "transaction": lambda client: _pipeline(client, transaction=True),
    "first blocking pop": lambda client: client.block("BLPOP", "none", 0.005, timeout=0.005),
    "blocking move": lambda client: client.block(
        "BLMOVE", "full", "other", "LEFT", "RIGHT", 1, timeout=1
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_next_reply_is_the_right_one_wherever_a_command_is_cancelled(
    url: str, operation: str
) -> None:
    async with open_client(url) as client:
        await client.rpush("full", *range(3000))
        for steps in itertools.count():
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel_after_steps(
                        scope: trio.CancelScope = scope, steps: int = steps
                    ) -> None:
                        for _ in range(steps):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    nursery.start_soon(cancel_after_steps)
                    await OPERATIONS[operation](client)
                    finished = not scope.cancel_called
                    nursery.cancel_scope.cancel()
            token = b"%d" % steps
            assert await client.call("ECHO", token) == token
            assert await client.block("BLPOP", "full", 1, timeout=1) is not None
            if (not scope.cancelled_caught and finished) or steps > 400:
                break
        assert steps > 0


async def test_a_command_cancelled_before_it_starts_is_not_sent(url: str) -> None:
    async with open_client(url) as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.call("INCR", "n")
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.block("BLPOP", "l", 1, timeout=1)
        assert await client.call("GET", "n") is None


async def test_blocking_pops_lose_nothing_under_a_thousand_cancellations(url: str) -> None:
    """sidekiq/sidekiq#1831: lost between the pop and its owner."""
    rng = random.Random(7)
    cancellations = 0
    received: list[bytes] = []
    pushed = 0

    async with open_client(url) as client, open_client(url) as producer:

        async def produce() -> None:
            nonlocal pushed
            while True:  # to the end: every cancellation has an element that it could lose
                await producer.call("RPUSH", "l", pushed)
                pushed += 1
                for _ in range(rng.randrange(40)):
                    await trio.lowlevel.checkpoint()

        async def consume() -> None:
            nonlocal cancellations
            while cancellations < 1000:
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(cancel_soon, scope)
                        popped = await client.block("BLPOP", "l", 5, timeout=5)
                        assert popped is not None
                        received.append(popped[1])
                        nursery.cancel_scope.cancel()
                cancellations += scope.cancelled_caught

        async def cancel_soon(scope: trio.CancelScope) -> None:
            for _ in range(rng.randrange(25)):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            await consume()
            nursery.cancel_scope.cancel()
        # The last push was cancelled and may have been made all the same.
        left = await client.call("LRANGE", "l", 0, -1)
    found = sorted(map(int, [*received, *left]))
    assert found in (list(range(pushed)), list(range(pushed + 1)))
    assert cancellations >= 1000
    assert len(received) > 100


async def test_element_that_was_popped_already_is_returned_and_the_cancellation_follows(
    url: str,
) -> None:
    async with open_client(url) as client:
        popped, went_on = None, False
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def push_and_cancel() -> None:
                    # Both in one step: the reply and the cancellation race, and the reply wins.
                    await client.call("RPUSH", "l", "element")
                    scope.cancel()

                nursery.start_soon(push_and_cancel)
                popped = await client.block("BLPOP", "l", 5, timeout=5)
                await trio.lowlevel.checkpoint()
                went_on = True
        left = await client.call("LRANGE", "l", 0, -1)
        assert ([popped[1]] if popped else []) + left == [b"element"]
        assert not went_on or not scope.cancelled_caught


async def test_cancelled_blocking_command_frees_its_connection_for_the_next(url: str) -> None:
    opened = 0

    def count(change: int) -> None:
        nonlocal opened
        opened += max(change, 0)

    async with open_client(url, on_connection=count) as client:
        # A cancellation that comes while the first one is dialled would count one more.
        assert await client.block("BLPOP", "l", 0.01, timeout=0.01) is None
        for _ in range(50):
            with trio.move_on_after(0.001) as scope:
                await client.block("BLPOP", "l", 5, timeout=5)
            assert scope.cancelled_caught
            await client.call("RPUSH", "l", 0)
            assert await client.block("BLPOP", "l", 5, timeout=5) == [b"l", b"0"]
        await client.call("RPUSH", "l", 1)
        assert await client.block("BLPOP", "l", 5, timeout=5) == [b"l", b"1"]
    assert opened == 2


async def test_blocked_are_served_in_the_order_in_which_they_came(url: str, wait_until) -> None:
    served: list[tuple[int, bytes]] = []
    async with open_client(url) as client, trio.open_nursery() as nursery:

        async def pop(number: int) -> None:
            popped = await client.block("BLPOP", "l", 5, timeout=5)
            served.append((number, popped[1]))

        for number in range(4):
            nursery.start_soon(pop, number)
            await wait_until(lambda n=number: len(client._link._others) == n + 1)
            for _ in range(20):
                await client.call("PING")
        await client.call("RPUSH", "l", "a", "b", "c", "d")
    assert sorted(served) == [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")]


@pytest.mark.parametrize(
    ("command", "push", "expected"),
    [
        (("BRPOP", "x", "l", 5), ("RPUSH", "l", "", "e"), [b"l", b"e"]),
        (("BLPOP", "l", 5), ("RPUSH", "l", ""), [b"l", b""]),
        (("BLMOVE", "l", "m", "LEFT", "RIGHT", 5), ("RPUSH", "l", "e"), b"e"),
        (("BRPOPLPUSH", "l", "m", 5), ("RPUSH", "l", "e"), b"e"),
        pytest.param(
            ("BLMPOP", 5, 1, "l", "LEFT", "COUNT", 2),
            ("RPUSH", "l", 1, 2),
            [b"l", [b"1", b"2"]],
            marks=pytest.mark.redis7,
        ),
        (("BZPOPMIN", "z", 5), ("ZADD", "z", 1, "m"), [b"z", b"m", b"1"]),
        pytest.param(
            ("BZMPOP", 5, 1, "z", "MIN"),
            ("ZADD", "z", 1, "m"),
            [b"z", [[b"m", b"1"]]],
            marks=pytest.mark.redis7,
        ),
        (
            ("XREAD", "BLOCK", 5000, "STREAMS", "s", "$"),
            ("XADD", "s", "2-1", "f", "v"),
            [[b"s", [[b"2-1", [b"f", b"v"]]]]],
        ),
        (
            ("XREADGROUP", "GROUP", "g", "me", "BLOCK", 5000, "STREAMS", "s", ">"),
            ("XADD", "s", "2-1", "f", "v"),
            [[b"s", [[b"2-1", [b"f", b"v"]]]]],
        ),
    ],
)
async def test_every_blocking_command_wakes_when_something_comes(
    url: str, command: tuple[object, ...], push: tuple[object, ...], expected: object, wait_until
) -> None:
    async with open_client(url) as client:
        await client.call("XADD", "s", "1-1", "old", "entry")
        await client.call("XGROUP", "CREATE", "s", "g", "$")
        replies: list[object] = []

        async def wait() -> None:
            replies.append(await client.block(*command, timeout=5))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_until(lambda: len(client._link._others) == 1)
            for _ in range(20):
                await client.call("PING")
            await client.call(*push)
        assert replies == [expected]


async def test_blocking_command_ends_by_itself_and_its_errors_are_raised(url: str) -> None:
    async with open_client(url) as client:
        await client.call("SET", "k", "text")
        with trio.fail_after(2):
            assert await client.block("BLPOP", "l", 0.01, timeout=0.01) is None
            assert await client.block("XREAD", "BLOCK", 5, "STREAMS", "s", "$", timeout=1) is None
            with pytest.raises(Exception, match="WRONGTYPE"):
                await client.block("BLPOP", "k", 1, timeout=1)
            assert await client.block("BLMOVE", "no", "x", "LEFT", "LEFT", 0.01, timeout=1) is None
