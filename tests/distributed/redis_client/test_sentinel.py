"""Sentinels say who the master is, and the client goes where the master is."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from redis.exceptions import RedisError

from am2z import AppState, Context, NetworkError, QueueRuntime, RuntimeConfig, processor
from am2z.queue.client import ConnectionLostError, Script, open_client, sync_client

from .conftest import wait_until
from .fleet import LOOPBACK, SERVICE, Fleet, Node, Sentinels, free_ports, missing, wait_for

lacking = missing("redis-server", "redis-sentinel")
pytestmark = [
    pytest.mark.trio,
    pytest.mark.skipif(lacking is not None, reason=f"no {lacking} on PATH"),
]

WRITE = Script("return redis.call('INCR', KEYS[1])")


class Work(AppState):
    count: int = 0


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    fleet = Sentinels(tmp_path_factory.mktemp("sentinels"))
    yield fleet
    fleet.stop()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    some = Fleet(tmp_path)
    yield some
    some.stop()


class Oracle:
    """A sentinel that says what the test wants it to say."""

    def __init__(self, listener: trio.SocketListener, answer: Node | bytes) -> None:
        self.answer = answer
        self.asked = 0
        self.listener = listener
        self.address = f"{LOOPBACK}:{listener.socket.getsockname()[1]}"

    async def serve(self) -> None:
        await trio.serve_listeners(self._talk, [self.listener])

    async def _talk(self, stream: trio.SocketStream) -> None:
        async with stream:
            while await stream.receive_some():
                self.asked += 1
                if isinstance(self.answer, Node):
                    host, port = LOOPBACK, str(self.answer.port)
                    told = f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n".encode()
                else:
                    told = self.answer
                await stream.send_all(told)


@asynccontextmanager
async def oracles(*answers: Node | bytes) -> AsyncIterator[tuple[str, list[Oracle]]]:
    found = []
    async with trio.open_nursery() as nursery:
        for answer in answers:
            [listener] = await trio.open_tcp_listeners(0, host=LOOPBACK)
            found.append(Oracle(listener, answer))
            nursery.start_soon(found[-1].serve)
        yield f"redis+sentinel://{','.join(o.address for o in found)}/{SERVICE}", found
        nursery.cancel_scope.cancel()


async def port_of(client) -> bytes:
    return (await client.call("CONFIG", "GET", "port"))[1]


async def test_client_works_on_the_master_that_the_sentinels_name(sentinels: Sentinels) -> None:
    async with open_client(f"{sentinels.url}/3") as client:
        assert await client.call("SET", "k", "v") == b"OK"
        assert await client.block("BLPOP", "l", 0.01, timeout=0.01) is None
        assert b" db=3 " in await client.call("CLIENT", "INFO")
        assert await port_of(client) == b"%d" % sentinels.master_port()
    with sync_client(f"{sentinels.url}/3") as plain:
        assert plain.get("k") == b"v"


async def test_sentinels_that_are_away_are_passed_over(sentinels: Sentinels) -> None:
    """One refuses, one takes the connection and says nothing."""
    with trio.socket.socket() as mute:
        await mute.bind((LOOPBACK, 0))
        mute.listen()
        dead = f"{LOOPBACK}:{free_ports(1)[0]},{LOOPBACK}:{mute.getsockname()[1]},"
        url = sentinels.url.replace("://", f"://{dead}")
        async with open_client(url) as client:
            assert await client.call("PING") == b"PONG"
        with sync_client(url) as plain:
            assert plain.ping()


async def test_unknown_service_and_absent_sentinels_are_clear_network_errors(
    sentinels: Sentinels,
) -> None:
    for url, said in (
        (sentinels.url.replace(SERVICE, "nonsense"), "knows no 'nonsense'"),
        (f"redis+sentinel://:s3cret@{LOOPBACK}:{free_ports(1)[0]}/orders", "Connection refused"),
    ):
        with trio.fail_after(3), pytest.raises(NetworkError, match=said) as caught:
            async with open_client(url):
                pytest.fail("it opened")
        assert "s3cret" not in str(caught.value)


async def test_a_server_that_is_no_master_is_not_believed_to_be_one(fleet: Fleet) -> None:
    master = fleet.server()
    replica = fleet.server("--replicaof", LOOPBACK, str(master.port))
    async with oracles(replica, b"*-1\r\n", master) as (url, said), open_client(url) as client:
        assert await port_of(client) == b"%d" % master.port
        assert [oracle.asked for oracle in said] == [1, 1, 1]
    async with oracles(replica) as (url, _):
        with pytest.raises(NetworkError, match="said to be the master and is a replica"):
            async with open_client(url):
                pytest.fail("it opened")


async def test_master_that_became_a_replica_is_left_and_no_command_is_lost(fleet: Fleet) -> None:
    """Demoted without a word to its clients: READONLY is all that they hear."""
    old, new = fleet.server(), fleet.server()
    async with oracles(old) as (url, [oracle]), open_client(url) as client:
        assert await client.call("INCR", "before") == 1
        oracle.answer = new
        old.ask("REPLICAOF", LOOPBACK, new.port)
        async with trio.open_nursery() as nursery:  # all at once, on one connection
            for _ in range(100):
                nursery.start_soon(client.call, "INCR", "n")
                nursery.start_soon(client.run_script, WRITE, ["m"])
        assert await client.call("MGET", "n", "m") == [b"100", b"100"]
        assert await port_of(client) == b"%d" % new.port
        transaction = client.pipeline(transaction=True).call("INCR", "n").call("INCR", "n")
        oracle.answer = old
        old.ask("REPLICAOF", "NO", "ONE")
        new.ask("REPLICAOF", LOOPBACK, old.port)
        assert await transaction.execute() == [1, 2] or await port_of(client) == b"%d" % old.port


async def test_blocked_client_of_a_demoted_master_goes_to_the_new_one(fleet: Fleet) -> None:
    old, new = fleet.server(), fleet.server()
    async with oracles(old) as (url, [oracle]), open_client(url) as client:

        async def pop() -> None:
            with pytest.raises(ConnectionLostError) as caught:
                await client.block("BLPOP", "l", 5, timeout=5)
            assert not caught.value.maybe_sent
            assert (await client.block("BLPOP", "l", 5, timeout=5))[1] == b"x"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pop)
            await wait_until(lambda: b"blocked_clients:1" in old.ask("INFO", "clients"))
            oracle.answer = new
            old.ask("REPLICAOF", LOOPBACK, new.port)
            new.ask("RPUSH", "l", "x")


async def test_server_that_is_refused_by_its_own_rules_is_asked_again_with_pauses(
    fleet: Fleet,
) -> None:
    """A master that has lost its replicas, and no other one: the error ends the patience."""
    lonely = fleet.server("--min-replicas-to-write", "1")
    async with oracles(lonely) as (url, [oracle]), open_client(url, patience=0.5) as client:
        with trio.fail_after(2), pytest.raises(Exception, match="NOREPLICAS"):
            await client.call("SET", "k", 1)
        assert oracle.asked < 15
        lonely.ask("CONFIG", "SET", "min-replicas-to-write", "0")
        with trio.fail_after(3):
            while True:
                with suppress(RedisError):
                    assert await client.call("SET", "k", 1) == b"OK"
                    break


async def test_passwords_of_servers_and_sentinels_are_two_things(
    fleet: Fleet, tmp_path: Path
) -> None:
    master = fleet.server("--requirepass", "right", password="right")
    port = free_ports(1)[0]
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nrequirepass watch\nsentinel monitor {SERVICE} {LOOPBACK} {master.port} 1\n"
        f"sentinel auth-pass {SERVICE} right\n"
    )
    fleet.start("redis-sentinel", port, str(config), password="watch")
    url = f"redis+sentinel://:right@{LOOPBACK}:{port}/{SERVICE}"
    async with open_client(f"{url}?sentinel_password=watch") as client:
        assert await client.call("PING") == b"PONG"
    with sync_client(f"{url}?sentinel_password=watch") as plain:
        assert plain.ping()
    with pytest.raises(NetworkError, match="Authentication required"):
        async with open_client(url):
            pytest.fail("it opened")


async def test_ordered_failover_is_followed_while_commands_flow(sentinels: Sentinels) -> None:
    """``SENTINEL FAILOVER``: nobody dies, and the old master still takes writes for a while."""
    before = sentinels.master_port()
    answered = itertools.count()
    async with open_client(sentinels.url) as client, trio.open_nursery() as nursery:

        async def flow() -> None:
            while True:
                await client.call("SET", "k", next(answered), idempotent=True)

        nursery.start_soon(flow)
        sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", SERVICE)
        await wait_until(lambda: sentinels.master_port() != before, 10)
        promoted = trio.current_time()
        while await port_of(client) == b"%d" % before:
            await trio.lowlevel.checkpoint()
        assert trio.current_time() - promoted < 3
        seen = next(answered)
        await wait_until(lambda: next(answered) > seen + 100)
        assert await port_of(client) == b"%d" % sentinels.master_port()
        nursery.cancel_scope.cancel()


async def test_runtime_works_on_within_three_seconds_of_a_new_master_and_answers_everybody(
    tmp_path: Path,
) -> None:
    """Kill the master under load."""
    fleet = Sentinels(tmp_path)
    config = RuntimeConfig(lease=2.0, shutdown_grace=2.0)
    asked, succeeded, refused = 0, 0, []
    done = trio.Event()
    try:
        async with (
            QueueRuntime(fleet.url, role="worker", config=config).register(one),
            QueueRuntime(fleet.url, role="client", config=config).register(one) as client,
        ):

            async def call(number: int) -> None:
                nonlocal asked, succeeded
                while not done.is_set():
                    asked += 1
                    result = await client.execute(one, Work(), f"s{number}")
                    if result.success:
                        succeeded += 1
                    else:
                        refused.append(result.error)

            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(call, number)
                await wait_until(lambda: succeeded > 100)
                fleet.master.kill()
                await trio.to_thread.run_sync(
                    wait_for, lambda: fleet.master_port() == fleet.replica.port, "a new master"
                )
                promoted, before = trio.current_time(), succeeded
                await wait_until(lambda: succeeded > before + 100)
                assert trio.current_time() - promoted < 3
                done.set()
                nursery.cancel_scope.deadline = trio.current_time() + 10
            assert not nursery.cancel_scope.cancelled_caught
        assert asked == succeeded + len(refused)
        assert all(isinstance(error, NetworkError) for error in refused)
    finally:
        fleet.stop()
