from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from redis.exceptions import NoPermissionError

from am2z.errors import ConfigurationError, NetworkError, ResourceError
from am2z.queue.client import open_client

pytestmark = pytest.mark.trio


async def _fails_to_open(url: str, **options: Any) -> Exception:
    with trio.fail_after(3):
        try:
            async with open_client(url, key="k", **options):
                pytest.fail("it opened")
        except (NetworkError, ConfigurationError, ResourceError) as error:
            return error
    raise AssertionError


@pytest.mark.parametrize(
    "place",
    [
        "redis://:s3cret@127.0.0.1:1/0",
        "unix://:s3cret@/no/such.sock",
        f"redis://:s3cret@{'x' * 70}.example/0",
        "redis+cluster://:s3cret@127.0.0.1:1,127.0.0.1:2",
        "redis+sentinel://:s3cret@127.0.0.1:1,127.0.0.1:2/orders",
    ],
)
async def test_absent_server_is_a_network_error_within_two_seconds(place: str) -> None:
    started = trio.current_time()
    error = await _fails_to_open(place)
    assert isinstance(error, NetworkError)
    assert trio.current_time() - started < 2
    assert "s3cret" not in str(error)
    assert "***" in str(error)
    assert error.endpoint is not None
    assert "s3cret" not in error.endpoint


async def test_server_that_accepts_and_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    with sock:
        await sock.bind(str(tmp_path / "mute.sock"))
        sock.listen()
        error = await _fails_to_open(f"unix://{tmp_path}/mute.sock", connect_timeout=0.05)
    assert isinstance(error, NetworkError)
    assert "0.05 s" in str(error)


async def test_server_that_goes_silent_after_the_handshake_is_given_up_in_time(
    tmp_path: Path,
) -> None:
    async def shake_hands(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"+OK\r\n+PONG\r\n:7\r\n")
        await trio.sleep_forever()

    with trio.socket.socket(trio.socket.AF_UNIX) as sock:
        await sock.bind(str(tmp_path / "silent.sock"))
        sock.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, shake_hands, [trio.SocketListener(sock)])
            error = await _fails_to_open(f"unix://{tmp_path}/silent.sock", connect_timeout=0.1)
            nursery.cancel_scope.cancel()
    assert isinstance(error, NetworkError)
    assert "0.1 s" in str(error)


async def test_wrong_and_missing_password_are_told_apart_from_absence(
    server: Callable[..., Any],
) -> None:
    own = server("--requirepass", "right")
    for url in (own.url, own.url.replace("unix://", "unix://:s3cret@")):
        error = await _fails_to_open(url)
        assert isinstance(error, NetworkError)
        assert "password" in str(error)
        assert "s3cret" not in str(error)
    async with open_client(own.url.replace("unix://", "unix://:right@")) as client:
        assert await client.call("PING") == b"PONG"


async def test_password_for_a_server_without_one_is_refused_clearly(real_url: str) -> None:
    error = await _fails_to_open(real_url.replace("unix://", "unix://nobody:s3cret@"))
    assert isinstance(error, NetworkError)
    assert "password" in str(error)


async def test_user_with_few_rights_may_work(server: Callable[..., Any]) -> None:
    own = server()
    with own.admin() as admin:
        admin.execute_command(
            *("ACL", "SETUSER", "worker", "on", ">pw", "~*"),
            *("+get", "+set", "+auth", "+blpop"),
        )
    async with open_client(own.url.replace("unix://", "unix://worker:pw@")) as client:
        assert await client.call("SET", "k", 1) == b"OK"
        with pytest.raises(NoPermissionError):
            await client.call("DEL", "k")
        # It may neither ask for its id nor unblock: a cancelled pop gives its connection up.
        with trio.move_on_after(0.02) as scope:
            await client.block("BLPOP", "l", 5, timeout=5)
        assert scope.cancelled_caught
        assert await client.call("GET", "k") == b"1"


async def test_database_that_does_not_exist_is_a_configuration_error(real_url: str) -> None:
    error = await _fails_to_open(f"{real_url}?db=99")
    assert isinstance(error, ConfigurationError)
    assert "DB index" in str(error)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru"])
async def test_evicting_server_is_refused(server: Callable[..., Any], policy: str) -> None:
    own = server("--maxmemory-policy", policy)
    error = await _fails_to_open(own.url)
    assert isinstance(error, ConfigurationError)
    assert policy in str(error)
    with own.admin() as admin:
        admin.config_set("maxmemory-policy", "noeviction")
    async with open_client(own.url):
        pass


async def test_too_old_server_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.sock"

    async def old_redis(stream: trio.SocketStream) -> None:
        while data := await stream.receive_some():
            if b"INFO" in data:
                info = b"# Server\r\nredis_version:5.0.7\r\n"
                await stream.send_all(b"$%d\r\n%s\r\n-ERR no\r\n" % (len(info), info))
            else:
                await stream.send_all(b"+OK\r\n+PONG\r\n:7\r\n")

    with trio.socket.socket(trio.socket.AF_UNIX) as sock:
        await sock.bind(str(path))
        sock.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, old_redis, [trio.SocketListener(sock)])
            error = await _fails_to_open(f"unix://{path}")
            nursery.cancel_scope.cancel()
    assert isinstance(error, ConfigurationError)
    assert "5.0.7" in str(error)
    assert "6.2" in str(error)


async def test_full_server_says_so(server: Callable[..., Any]) -> None:
    own = server("--maxclients", "1")
    with own.admin() as admin:
        admin.ping()
        error = await _fails_to_open(own.url)
    assert isinstance(error, NetworkError)
    assert "max number of clients" in str(error)


async def test_connections_are_counted_truly_and_none_outlives_the_client(
    url: str, wait_until: Any
) -> None:
    now = 0

    def count(change: int) -> None:
        nonlocal now
        now += change

    async with open_client(url, name="count me", on_connection=count) as client:
        assert now == 1
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(lambda: client.block("BLPOP", "l", 0.05, timeout=0.05))
            await wait_until(lambda: now == 13)
        listed = (await client.call("CLIENT", "LIST")).count(b"name=count_me")
        assert listed == now <= 9 or url.startswith("fake")
    assert now == 0


async def test_a_connection_can_be_refused_by_who_counts(url: str) -> None:
    now = 0

    def at_most_one(change: int) -> None:
        nonlocal now
        if now + change > 1:
            raise ResourceError("too many connections")
        now += change

    async with open_client(url, on_connection=at_most_one) as client:
        with pytest.raises(ResourceError):
            await client.block("BLPOP", "l", 1, timeout=1)
        assert await client.call("PING") == b"PONG"
    assert now == 0
    now = 1
    assert isinstance(await _fails_to_open(url, on_connection=at_most_one), ResourceError)


async def test_thousand_tasks_that_command_at_once_share_one_connection(url: str) -> None:
    opened = 0

    def count(change: int) -> None:
        nonlocal opened
        opened += max(change, 0)

    async with open_client(url, on_connection=count) as client:
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(client.call, "INCRBY", "n", number)
        assert await client.call("GET", "n") == b"%d" % sum(range(1000))
    assert opened == 1


async def test_thousand_tasks_that_block_at_once_are_refused_over_the_limit_and_none_hangs(
    url: str, wait_until: Any
) -> None:
    """Each blocks on a connection of its own, so who counts them bounds them."""
    limit, now = 100, 0
    popped: list[bytes] = []
    refused = 0

    def count(change: int) -> None:
        nonlocal now
        if now + change > limit:
            raise ResourceError("too many connections", "connections", limit, now)
        now += change

    async with open_client(url, on_connection=count) as client:

        async def pop() -> None:
            nonlocal refused
            try:
                popped.append((await client.block("BLPOP", "l", 30, timeout=30))[1])
            except ResourceError:
                refused += 1

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(1000):
                    nursery.start_soon(pop)
                await wait_until(lambda: refused == 1000 - (limit - 1), 10)
                assert (popped, now) == ([], limit)
                assert await client.call("PING") == b"PONG"  # nobody else is held up
                await client.call("RPUSH", "l", *range(limit - 1))
        assert sorted(map(int, popped)) == list(range(limit - 1))
    assert now == 0
