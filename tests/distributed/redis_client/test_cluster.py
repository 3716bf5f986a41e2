"""A cluster: all keys of a shard are in one slot, and the client follows the slot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from redis.exceptions import ConnectionError as RedisConnectionError

from am2z import (
    AppState,
    ConfigurationError,
    Context,
    NetworkError,
    QueueRuntime,
    RuntimeConfig,
    processor,
)
from am2z.queue.client import Script, open_client, sync_client
from am2z.queue.keys import Keys
from am2z.queue.node import network_errors

from .conftest import wait_until
from .fleet import LOOPBACK, Cluster, Fleet, free_ports, missing

lacking = missing("redis-server", "redis-cli")
pytestmark = [
    pytest.mark.redis7,
    pytest.mark.trio,
    pytest.mark.skipif(lacking is not None, reason=f"no {lacking} on PATH"),
]

KEY = "{orders}"
COUNT = Script("return redis.call('INCR', KEYS[1])")
PAIR = Script("return {redis.call('GET', KEYS[1]..'a'), redis.call('GET', KEYS[1]..'b')}")


class Work(AppState):
    count: int = 0


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@processor
async def twice(state: Work, ctx: Context) -> Work:
    first = (await ctx.call("one", state)).unwrap()
    return (await ctx.call("one", first)).unwrap()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    fleet = Cluster(tmp_path_factory.mktemp("cluster"))
    yield fleet
    fleet.stop()


@pytest.fixture(autouse=True)
def empty(cluster: Cluster) -> None:
    for node in cluster.masters:
        node.ask("FLUSHALL")


async def port_of(client) -> int:
    return int((await client.call("CONFIG", "GET", "port"))[1])


def reports(cluster: Cluster, command: str) -> int:
    """How many redirections of that kind all nodes have sent."""
    stats = (node.ask("INFO", "errorstats") for node in cluster.masters)
    lines = (line for text in stats for line in text.decode().splitlines())
    return sum(
        int(line.rpartition("=")[2]) for line in lines if line.startswith(f"errorstat_{command}:")
    )


@pytest.mark.parametrize("key", ["{a}", "{b}", "{orders}", "{am2z:am2z:0}:"])
async def test_client_works_on_the_node_that_has_the_slot_of_its_key(
    cluster: Cluster, key: str
) -> None:
    moved = reports(cluster, "MOVED")
    for url in (cluster.url, f"redis+cluster://{cluster.masters[0].address}"):
        async with open_client(url, key=key) as client:
            assert await client.call("INCR", f"{key}n") == 1
            assert await client.run_script(COUNT, [f"{key}n"]) == 2
            assert await client.block("BLPOP", f"{key}l", 0.01, timeout=0.01) is None
            assert await client.pipeline(transaction=True).call("DEL", f"{key}n").execute() == [1]
            assert await port_of(client) == cluster.owner(key).port
        with sync_client(url, key=key) as plain:
            assert plain.set(f"{key}x", 1)
    assert reports(cluster, "MOVED") == moved


async def test_cluster_needs_a_key_and_a_node_that_answers(cluster: Cluster) -> None:
    with pytest.raises(ConfigurationError, match="give key="):
        async with open_client(cluster.url):
            pytest.fail("it opened")
    dead = f"{LOOPBACK}:{free_ports(1)[0]}"
    with pytest.raises(NetworkError, match="Connection refused"):
        async with open_client(f"redis+cluster://{dead}", key=KEY):
            pytest.fail("it opened")
    async with open_client(f"redis+cluster://{dead},{cluster.masters[2].address}", key=KEY) as one:
        assert await one.call("PING") == b"PONG"


async def test_node_of_a_cluster_that_is_given_as_a_lone_server_says_so(cluster: Cluster) -> None:
    owner = cluster.owner(KEY)
    other = next(node for node in cluster.masters if node.port != owner.port)
    refusal = (
        rf"is a node of a cluster, and slot \d+ has moved to .*redis\+cluster://{other.address},"
    )
    with pytest.raises(ConfigurationError, match=refusal):
        async with open_client(f"redis://{other.address}/0", key=KEY):
            pytest.fail("it opened")
    async with open_client(f"redis://{owner.address}", key=KEY) as client:  # it has all of ours
        assert await client.call("EXISTS", KEY) == 0
        elsewhere = next(k for k in map(str, range(99)) if cluster.owner(k).port != owner.port)
        told = pytest.raises(NetworkError, match="is a node of a cluster")
        with told, network_errors(client.safe_url):  # a slot that has moved meanwhile
            await client.call("EXISTS", elsewhere)


async def test_server_that_is_no_cluster_says_so(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        alone = fleet.server()
        with pytest.raises(NetworkError, match="cluster support disabled"):
            async with open_client(f"redis+cluster://{alone.address}", key=KEY):
                pytest.fail("it opened")
    finally:
        fleet.stop()


async def test_commands_follow_a_slot_that_has_moved_and_each_runs_once(cluster: Cluster) -> None:
    async with open_client(cluster.url, key=KEY) as client:
        await client.call("SET", f"{KEY}n", 0)
        source, target = cluster.begin_move(KEY)
        cluster.move_keys(KEY, source, target)
        cluster.end_move(KEY, source, target)
        async with trio.open_nursery() as nursery:  # all at once, on the connection to the old one
            for _ in range(100):
                nursery.start_soon(client.call, "INCR", f"{KEY}n")
                nursery.start_soon(client.run_script, COUNT, [f"{KEY}m"])
        assert await client.call("MGET", f"{KEY}n", f"{KEY}m") == [b"100", b"100"]
        assert await port_of(client) == target.port
        source, target = cluster.begin_move(KEY)
        cluster.move_keys(KEY, source, target)
        cluster.end_move(KEY, source, target)
        transaction = client.pipeline(transaction=True)
        assert await transaction.call("INCR", f"{KEY}n").call("INCR", f"{KEY}n").execute() == [
            *(101, 102)
        ]
        assert await port_of(client) == target.port


async def test_single_commands_ask_the_other_node_while_a_slot_moves_and_scripts_wait(
    cluster: Cluster,
) -> None:
    """On the node that it goes to a script would take the half that has arrived for the whole."""
    async with open_client(cluster.url, key=KEY, patience=10) as client:
        await client.call("MSET", f"{KEY}a", "A", f"{KEY}b", "B")
        source, target = cluster.begin_move(KEY)
        source.ask("MIGRATE", LOOPBACK, target.port, f"{KEY}a", 0, 5000)
        asked = reports(cluster, "ASK")
        assert await client.call("GET", f"{KEY}a") == b"A"  # there
        assert await client.call("GET", f"{KEY}b") == b"B"  # here
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(client.call, "APPEND", f"{KEY}a", "x")
        assert target.ask("DBSIZE") >= 1
        assert reports(cluster, "ASK") == asked + 21
        pair: list[Any] = []
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                pair.append(await client.run_script(PAIR, [KEY]))

            nursery.start_soon(run)
            await wait_until(lambda: reports(cluster, "ASK") > asked + 23)
            assert not pair
            cluster.move_keys(KEY, source, target)
            cluster.end_move(KEY, source, target)
        assert pair == [[b"A" + b"x" * 20, b"B"]]
        assert await port_of(client) == target.port


async def test_move_that_never_ends_is_a_clear_error(cluster: Cluster) -> None:
    async with open_client(cluster.url, key=KEY, patience=0.3) as client:
        source, target = cluster.begin_move(KEY)
        with trio.fail_after(2), pytest.raises(RedisConnectionError, match="is being moved"):
            await client.run_script(COUNT, [KEY])
        cluster.end_move(KEY, source, target)
        assert await client.run_script(COUNT, [KEY]) == 1


async def test_blocked_pop_follows_its_slot(cluster: Cluster) -> None:
    async with open_client(cluster.url, key=KEY) as client, trio.open_nursery() as nursery:
        popped = []

        async def pop() -> None:
            while not popped:
                try:
                    if got := await client.block("BLPOP", f"{KEY}l", 5, timeout=5):
                        popped.append(got[1])
                except RedisConnectionError:
                    await trio.lowlevel.checkpoint()

        source = cluster.owner(KEY)
        nursery.start_soon(pop)
        await wait_until(lambda: b"blocked_clients:1" in source.ask("INFO", "clients"))
        source, target = cluster.begin_move(KEY)
        cluster.end_move(KEY, source, target)
        assert await client.call("RPUSH", f"{KEY}l", "x") == 1
    assert popped == [b"x"]


async def test_runtime_works_while_its_slot_moves_and_loses_nothing(cluster: Cluster) -> None:
    key = Keys("am2z").prefix
    config = RuntimeConfig(lease=2.0, shutdown_grace=2.0)
    done = trio.Event()
    counts = [0] * 10
    async with (
        QueueRuntime(cluster.url, role="worker", config=config).register(one, twice),
        QueueRuntime(cluster.url, role="client", config=config).register(one, twice) as client,
    ):

        async def call(number: int) -> None:
            while not done.is_set():
                before = await client.state.get(f"s{number}", Work)
                state = before.state if before is not None else Work()
                result = await client.execute(twice, state, f"s{number}")
                assert result.error is None
                counts[number] += 1

        async with trio.open_nursery() as nursery:
            for number in range(len(counts)):
                nursery.start_soon(call, number)
            for _ in range(3):
                seen = sum(counts)
                await wait_until(lambda seen=seen: sum(counts) > seen + 30, 10)
                source, target = cluster.begin_move(key)
                while await trio.to_thread.run_sync(cluster.move_keys, key, source, target, 5):
                    await trio.lowlevel.checkpoint()
                cluster.end_move(key, source, target)
                moved, seen = trio.current_time(), sum(counts)
                await wait_until(lambda seen=seen: sum(counts) > seen + 10, 10)
                assert trio.current_time() - moved < 3
            done.set()
        states = [await client.state.get(f"s{number}", Work) for number in range(len(counts))]
        assert [(s.state.count, s.version) for s in states] == [(2 * n, n) for n in counts]


async def test_runtime_finds_its_slot_again_when_its_node_has_died(tmp_path: Path) -> None:
    """A replica takes the place of the node that is killed."""
    fleet = Cluster(tmp_path)
    config = RuntimeConfig(lease=2.0, shutdown_grace=2.0)
    try:
        owner = fleet.owner(Keys("am2z").prefix)
        replica = await trio.to_thread.run_sync(fleet.add_replica, owner)
        async with QueueRuntime(fleet.url, config=config).register(one) as runtime:
            assert (await runtime.execute(one, Work(), "s")).success
            await wait_until(lambda: replica.ask("DBSIZE") > 0)
            owner.kill()
            # The election is the cluster's own affair: a busy machine can make it last.
            replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
            others = [node for node in fleet.masters if node is not owner]
            await wait_until(
                lambda: all(b"%d@" % replica.port in line and b"master" in line
                            for node in others
                            for line in node.ask("CLUSTER", "NODES").splitlines()
                            if line.startswith(replica.ask("CLUSTER", "MYID"))),
                15,
            )  # fmt: skip
            promoted = trio.current_time()
            with trio.fail_after(10):
                while not (await runtime.execute(one, Work(), "s")).success:
                    await trio.lowlevel.checkpoint()
            assert trio.current_time() - promoted < 3
    finally:
        fleet.stop()
