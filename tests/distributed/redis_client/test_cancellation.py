"""redis/redis-py#2624, #2665: a cancelled read shifts every later reply by one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from redis.exceptions import NoScriptError, ResponseError
from trio.testing import wait_all_tasks_blocked

from am2z.queue.client import RedisClient, Script, open_client

pytestmark = pytest.mark.trio

BUMP = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
TAKE = Script("return redis.call('LPOP', KEYS[1])")


async def _pipeline(client: RedisClient, *, transaction: bool) -> object:
    pipe = client.pipeline(transaction=transaction)
    return await pipe.call("ECHO", "a").run_script(BUMP, ["n"], [1]).call("ECHO", "b").execute()


async def _forgotten_script(client: RedisClient) -> object:
    await client.script_flush()
    return await client.run_script(BUMP, ["n"], [1])


async def wait_until_blocked(client: RedisClient) -> None:
    """Return when a command blocks on the server."""
    if client.is_fake:  # in this process, and without INFO
        await wait_all_tasks_blocked()
        return
    with trio.fail_after(5):
        while (await client.info("clients"))["blocked_clients"] == 0:
            await trio.lowlevel.checkpoint()


OPERATIONS: dict[str, Callable[[RedisClient], Awaitable[object]]] = {
    "call": lambda client: client.call("ECHO", "x"),
    "redis-py method": lambda client: client.hgetall("h"),
    "forgotten script": _forgotten_script,
    "pipeline": lambda client: _pipeline(client, transaction=False),
    "transaction": lambda client: _pipeline(client, transaction=True),
    "first blocking pop": lambda client: client.block("BLPOP", "none", 0.005, timeout=0.005),
    "script behind a blocking pop": lambda client: client.block_then_run(
        "BLPOP", "none", 0.005, timeout=0.005, script=BUMP, keys=["n"], script_args=[1]
    ),
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
        await client.run_script(BUMP, ["n"], [1])
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


async def _pop(client: RedisClient) -> bytes | None:
    popped = await client.block("BLPOP", "l", 5, timeout=5)
    assert popped is not None
    element: bytes = popped[1]
    return element


async def _wait_and_take(client: RedisClient) -> bytes | None:
    _, taken = await client.block_then_run("BLPOP", "news", 5, timeout=5, script=TAKE, keys=["l"])
    element: bytes | None = taken
    return element


@pytest.mark.parametrize("receive", [_pop, _wait_and_take])
async def test_blocking_pops_lose_nothing_under_a_thousand_cancellations(
    url: str, receive: Callable[[RedisClient], Awaitable[bytes | None]]
) -> None:
    """sidekiq/sidekiq#1831: lost between the pop and its owner."""
    rng = random.Random(7)
    cancellations = 0
    received: list[bytes] = []
    pushed = 0

    async with open_client(url) as client, open_client(url) as producer:
        await client.run_script(TAKE, ["none"])  # the server knows it from now on

        async def produce() -> None:
            nonlocal pushed
            while True:  # to the end: every cancellation has an element that it could lose
                await producer.call("RPUSH", "l", pushed)
                pushed += 1
                await producer.call("LPUSH", "news", 1)
                for _ in range(rng.randrange(40)):
                    await trio.lowlevel.checkpoint()

        async def consume() -> None:
            nonlocal cancellations
            while cancellations < 1000:
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(cancel_soon, scope)
                        if (element := await receive(client)) is not None:
                            received.append(element)
                        nursery.cancel_scope.cancel()
                cancellations += scope.cancel_called

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


async def test_script_behind_a_wait_runs_in_the_moment_in_which_the_wait_ends(url: str) -> None:
    async with open_client(url) as client, open_client(url) as other:
        await client.run_script(BUMP, ["n"], [0])
        answers: list[object] = []

        async def wait() -> None:
            answers.append(
                await client.block_then_run(
                    "BLPOP", "news", 5, timeout=5, script=BUMP, keys=["n"], script_args=[1]
                )
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_until_blocked(other)
            assert await other.call("GET", "n") == b"0"
            pipe = other.pipeline()  # nobody else is asked between the news and the script
            await pipe.call("RPUSH", "news", "x").call("ECHO", "").execute()
        assert answers == [([b"news", b"x"], 1)]
        assert await client.call("GET", "n") == b"1"


async def test_script_behind_a_wait_that_is_cancelled_runs_and_its_reply_is_returned(
    url: str,
) -> None:
    async with open_client(url) as client, open_client(url) as other:
        await client.run_script(BUMP, ["n"], [1])  # the server knows it from now on
        answer: object = None
        went_on = False
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel() -> None:
                    await wait_until_blocked(other)
                    scope.cancel()

                nursery.start_soon(cancel)
                answer = await client.block_then_run(
                    "BLPOP", "news", 5, timeout=5, script=BUMP, keys=["n"], script_args=[1]
                )
                await trio.lowlevel.checkpoint()
                went_on = True
        assert answer == (None, 2)
        assert scope.cancelled_caught
        assert not went_on


async def test_script_behind_a_wait_that_the_server_refuses_runs_all_the_same(url: str) -> None:
    async with open_client(url) as client:
        await client.call("SET", "news", "no list")
        await client.run_script(BUMP, ["n"], [0])
        refused, answer = await client.block_then_run(
            "BLPOP", "news", 5, timeout=5, script=BUMP, keys=["n"], script_args=[1]
        )
        assert isinstance(refused, ResponseError)
        assert answer == 1


async def test_script_behind_a_wait_must_be_known_to_the_server(url: str) -> None:
    async with open_client(url) as client:
        await client.script_flush()
        with pytest.raises(NoScriptError):
            await client.block_then_run(
                "BLPOP", "none", 0.005, timeout=0.005, script=BUMP, keys=["n"], script_args=[1]
            )
        assert await client.run_script(BUMP, ["n"], [1]) == 1
        _, answer = await client.block_then_run(
            "BLPOP", "none", 0.005, timeout=0.005, script=BUMP, keys=["n"], script_args=[1]
        )
        assert answer == 2
