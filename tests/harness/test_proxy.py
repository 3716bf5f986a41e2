"""The proxy counts what passes, and breaks the line exactly where it is told."""

import logging
import socket

import pytest
import trio

from am2z import ConfigurationError
from am2z.queue.client import ConnectionLostError, Script, open_client, sync_client
from harness import RedisProxy
from harness.servers import Servers, choose

pytestmark = pytest.mark.trio

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])", name="add")


@pytest.fixture(scope="module")
def upstream():
    """A server of our own, on a Unix socket."""
    try:
        servers = Servers(choose("server"))
    except ConfigurationError as error:
        pytest.skip(str(error))
    yield servers.url()
    servers.close()


@pytest.fixture
def admin(upstream):
    """Looks at the server past the proxy."""
    with sync_client(upstream) as client:
        client.flushall()
        yield client


def count_connections(admin):
    return len(admin.client_list(_type="normal")) - 1


async def until(condition):
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.001)


async def test_commands_and_replies_pass_unchanged(upstream):
    value = b"\r\n*1$\x00" * 50_000
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        assert await client.set("k", value)
        assert await client.get("k") == value
        pipe = client.pipeline()
        for number in range(500):
            pipe.call("ECHO", number)
        assert await pipe.execute() == [b"%d" % number for number in range(500)]
        assert await client.block("BLPOP", "empty", 0.01, timeout=0.1) is None
    assert proxy.connections == 0


async def test_commands_are_recorded_over_all_connections(upstream, admin):
    scripts = {ADD.sha: ADD.name}
    async with (
        RedisProxy(upstream, scripts=scripts) as proxy,
        open_client(proxy.url) as one,
        open_client(proxy.url) as two,
    ):
        admin.script_flush()
        await one.run_script(ADD, ["n"], [2])
        await two.run_script(ADD, ["n"], [3])
        await two.call("get", "n")
        assert proxy.connections == 2
        adds = [command for command in proxy.commands if command.name == "add"]
        # by its SHA-1, by its text because that was unknown, and by the SHA-1 again
        assert [(c.ordinal, c.connection, c.args[0]) for c in adds] == [
            (1, 1, b"EVALSHA"), (2, 1, b"EVAL"), (3, 2, b"EVALSHA"),
        ]  # fmt: skip
        assert proxy.commands[-1].args == (b"get", b"n")
        assert proxy.commands[-1].number == len(proxy.commands)
        assert proxy.counts["GET"] == 1
        assert proxy.counts["CLIENT SETNAME"] == 2
        await two.run_script(Script("return 1"))
        assert proxy.commands[-1].name == "EVAL"


async def test_only_so_many_commands_are_remembered(upstream):
    async with RedisProxy(upstream, keep=3) as proxy, open_client(proxy.url) as client:
        for number in range(10):
            await client.call("ECHO", number)
        assert [command.args[1] for command in proxy.commands] == [b"7", b"8", b"9"]
        assert proxy.counts["ECHO"] == 10


# --- cuts


@pytest.mark.parametrize(
    ("when", "applied", "answered"),
    [("before", 0, False), ("applied", 1, False), ("replied", 1, True)],
)
async def test_connection_is_cut_at_that_point(upstream, admin, when, applied, answered):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        cut = proxy.cut("INCR", when=when)
        if answered:
            assert await client.call("INCR", "n") == 1
        else:
            with pytest.raises(ConnectionLostError) as caught:
                await client.call("INCR", "n")
            assert caught.value.maybe_sent
        assert int(admin.get("n") or 0) == applied
        with trio.fail_after(2):
            assert (await cut.wait()).args == (b"INCR", b"n")
            # On a connection of its own, wherever the client first tried it.
            assert await client.call("INCR", "n", idempotent=True) == applied + 1


@pytest.mark.parametrize(("when", "passed"), [("before", 2), ("applied", 2), ("replied", 3)])
async def test_cut_inside_a_pipeline_spares_what_was_sent_before(upstream, admin, when, passed):
    """By hand, because a client gives a broken pipeline up as a whole."""
    async with RedisProxy(upstream) as proxy:
        proxy.cut("INCR", at=3, when=when)
        async with await trio.open_unix_socket(proxy.url.removeprefix("unix://")) as stream:
            await stream.send_all(b"INCR n\r\n" * 10)
            replies = b""
            with trio.fail_after(2):
                while data := await stream.receive_some():
                    replies += data
        assert replies == b"".join(b":%d\r\n" % n for n in range(1, passed + 1))
        assert int(admin.get("n")) == (2 if when == "before" else 3)


async def test_cut_counts_from_when_it_was_ordered_and_over_all_connections(upstream, admin):
    async with (
        RedisProxy(upstream) as proxy,
        open_client(proxy.url) as one,
        open_client(proxy.url) as two,
    ):
        await one.call("INCR", "n")
        cut = proxy.cut("INCR", at=3, when="before")
        await one.call("INCR", "n")
        await two.call("INCR", "n")
        assert cut.command is None
        assert "not struck yet" in repr(cut)
        with pytest.raises(ConnectionLostError):
            await one.call("INCR", "n")
        assert cut.command.connection == 1
        assert await two.call("INCR", "n") == 4


async def test_cut_by_a_predicate_and_at_any_command(upstream):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        proxy.cut(lambda command: b"b" in command.args, when="before")
        assert await client.call("GET", "a") is None
        with pytest.raises(ConnectionLostError):
            await client.call("GET", "b")
        await client.call("PING")
        proxy.cut(when="applied")
        with pytest.raises(ConnectionLostError):
            await client.call("GET", "c")


async def test_reply_of_a_blocking_command_is_lost_with_its_element(upstream, admin):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        proxy.cut("BLPOP", when="applied")

        async def push():
            await proxy.saw("BLPOP")
            admin.rpush("list", "x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            with pytest.raises(ConnectionLostError):
                await client.block("BLPOP", "list", 5, timeout=5)
        assert admin.llen("list") == 0


async def test_cut_that_makes_no_sense_is_refused(upstream):
    proxy = RedisProxy(upstream)
    with pytest.raises(ValueError, match="'before', 'applied' or 'replied'"):
        proxy.cut(when="later")
    with pytest.raises(ValueError, match="counted from 1"):
        proxy.cut(at=0)


# --- other faults


async def test_latency_delays_each_reply_and_those_of_a_pipeline_together(upstream):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        proxy.latency = 0.1
        began = trio.current_time()
        pipe = client.pipeline()
        for _ in range(20):
            pipe.call("PING")
        await pipe.execute()
        assert 0.1 <= trio.current_time() - began < 1


@pytest.mark.parametrize(("commands", "applied"), [(True, 0), (False, 1)])
async def test_half_open_connection_says_nothing_until_it_goes_on(
    upstream, admin, commands, applied
):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        proxy.pause(commands=commands)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.call, "INCR", "n")
            await proxy.saw("INCR")
            await until(lambda: int(admin.get("n") or 0) == applied)
            assert proxy.connections == 1
            proxy.resume()
        assert admin.get("n") == b"1"


async def test_commands_alone_can_be_held_up(upstream, admin):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        proxy.pause(replies=False)
        with trio.move_on_after(0.02):
            await client.call("INCR", "n")
        assert admin.get("n") is None
        proxy.resume()
        await until(lambda: admin.get("n") == b"1")


async def test_command_of_a_client_that_left_a_half_open_line_arrives_late(upstream, admin):
    async with RedisProxy(upstream) as proxy:
        proxy.pause()
        async with await trio.open_unix_socket(proxy.url.removeprefix("unix://")) as stream:
            await stream.send_all(b"INCR n\r\n" * 3)
            await proxy.saw("INCR")
        assert admin.get("n") is None
        proxy.resume()
        await until(lambda: admin.get("n") == b"3")
        await until(lambda: proxy.connections == 0)


async def test_new_connections_work_where_the_old_ones_are_half_open(upstream):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url, patience=0.2) as client:
        proxy.pause(new=False)
        assert await client.call("PING", idempotent=True)
        proxy.pause()
        with pytest.raises(ConnectionLostError):
            await client.call("PING", idempotent=True)


async def test_half_open_line_is_noticed_by_the_client(upstream):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url, patience=0.2) as client:
        proxy.pause()
        with pytest.raises(ConnectionLostError, match="no reply within"):
            await client.call("PING")


async def test_drop_ends_every_connection_and_new_ones_come(upstream, admin):
    async with (
        RedisProxy(upstream) as proxy,
        open_client(proxy.url) as one,
        open_client(proxy.url) as two,
    ):
        assert proxy.drop() == 2
        assert await one.call("PING", idempotent=True)
        assert await two.call("PING", idempotent=True)
        assert proxy.drop() == 2
    await until(lambda: count_connections(admin) == 0)


async def test_new_connections_are_refused_for_a_while(upstream):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url, patience=5) as client:
        async with trio.open_nursery() as nursery:
            with proxy.refusing():
                assert await client.ping()  # the old one stays
                proxy.drop()
                await until(lambda: proxy.connections == 0)
                nursery.start_soon(client.call, "PING")
                await trio.testing.wait_all_tasks_blocked(0.02)
                assert proxy.connections == 0
        assert proxy.connections == 1


async def test_saw_counts_what_was_there_already(upstream):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        await client.call("ECHO", "a")
        with trio.fail_after(2):
            assert (await proxy.saw("ECHO")).args[1] == b"a"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.call, "ECHO", "b")
                assert (await proxy.saw("ECHO", at=2)).args[1] == b"b"
            assert (await proxy.saw()).number == 1


# --- its own life


async def test_tcp_server_is_reached_by_tcp_with_user_password_and_database(upstream):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def to_the_socket(near):
        far = await trio.open_unix_socket(upstream.removeprefix("unix://"))

        async def pump(source, sink):
            async for data in source:
                await sink.send_all(data)

        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(pump, far, near)
            await pump(near, far)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, to_the_socket, listeners)
        async with RedisProxy(f"redis://default:pw@127.0.0.1:{port}/3") as proxy:
            assert proxy.url.startswith("redis://default:pw@127.0.0.1:")
            assert proxy.url.endswith("/3")
            assert f":{port}/" not in proxy.url
            plain = proxy.url.replace("default:pw@", "")
            async with open_client(plain) as client:
                cut = proxy.cut("ECHO", when="replied")
                assert await client.call("ECHO", "a") == b"a"
                await cut.wait()
            assert (await proxy.saw("SELECT")).args == (b"SELECT", b"3")
        nursery.cancel_scope.cancel()


async def test_server_that_is_away_closes_its_clients_connections(tmp_path):
    async with (
        RedisProxy(f"unix://{tmp_path}/nobody.sock") as proxy,
        await trio.open_unix_socket(proxy.url.removeprefix("unix://")) as stream,
    ):
        with trio.fail_after(2):
            assert await stream.receive_some() == b""


async def test_garbage_ends_its_connection_and_no_other(upstream, caplog):
    async with RedisProxy(upstream) as proxy, open_client(proxy.url) as client:
        async with await trio.open_unix_socket(proxy.url.removeprefix("unix://")) as stream:
            with caplog.at_level(logging.WARNING), trio.fail_after(2):
                await stream.send_all(b"*1\r\n:1\r\n")
                assert await stream.receive_some() == b""
        assert await client.ping()
    assert "made of strings" in caplog.text


async def test_error_of_the_block_comes_out_as_itself_and_nothing_is_left(upstream):
    proxy = RedisProxy(upstream)
    with pytest.raises(LookupError):
        async with proxy:
            raise LookupError
    path = proxy.url.removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(FileNotFoundError):
        probe.connect(path)


async def test_encrypted_line_is_refused_without_showing_the_password():
    with pytest.raises(ConfigurationError, match="redis:// or unix://") as caught:
        RedisProxy("rediss://:secret@example.org")
    assert "secret" not in str(caught.value)
