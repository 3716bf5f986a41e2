from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis.exceptions as errors
import trio

from am2z.queue.client import ConnectionLostError, Script, open_client
from am2z.queue.client.fake import fake_server

pytestmark = pytest.mark.trio


async def test_commands_wait_for_a_server_that_restarts(
    server: Callable[..., Any], wait_until
) -> None:
    own = server()
    back: list[bool] = []
    async with open_client(own.url) as client:
        client.on_reconnect.append(lambda: back.append(True))
        own.kill()
        async with trio.open_nursery() as nursery:
            replies: list[object] = []

            async def ask() -> None:
                replies.append(await client.call("PING"))

            await wait_until(lambda: is_cut_off(client))
            for _ in range(10):
                nursery.start_soon(ask)
            await trio.to_thread.run_sync(own.start)
        assert replies == [b"PONG"] * 10
        assert back == [True]


def is_cut_off(client: Any) -> bool:
    """Whether the client has seen that its connection is gone."""
    shared = client._link._shared
    return shared is None or not shared.is_open


async def test_blocking_pop_goes_on_within_three_seconds_after_redis_came_back(
    server: Callable[..., Any], wait_until
) -> None:
    """taskforcesh/bullmq#2964, celery/celery#8091: a worker sits idle after Redis came back."""
    own = server()
    received: list[bytes] = []
    failures = 0
    async with open_client(own.url) as client, trio.open_nursery() as nursery:

        async def work() -> None:
            nonlocal failures
            while len(received) < 20:
                try:
                    popped = await client.block("BLPOP", "l", 5, timeout=5)
                except errors.ConnectionError:
                    failures += 1
                    continue
                received.append(popped[1])

        nursery.start_soon(work)
        for number in range(10):
            await client.call("RPUSH", "l", number)
        await wait_until(lambda: len(received) == 10)
        own.kill()
        await wait_until(lambda: is_cut_off(client))
        await trio.to_thread.run_sync(own.start)
        with trio.fail_after(3):
            for number in range(10, 20):
                await client.call("RPUSH", "l", number)
            await wait_until(lambda: len(received) == 20)
    assert sorted(map(int, received)) == list(range(20))
    assert failures == 1


async def test_commands_fail_clearly_when_patience_ends(
    server: Callable[..., Any], wait_until
) -> None:
    own = server()
    async with open_client(own.url, patience=0.1) as client:
        own.kill()
        await wait_until(lambda: is_cut_off(client))
        for use in (
            lambda: client.call("PING"),
            lambda: client.block("BLPOP", "l", 1, timeout=1),
            lambda: client.pipeline().call("PING").execute(),
        ):
            with trio.fail_after(1), pytest.raises(errors.ConnectionError, match=r"within 0\.1 s"):
                await use()


async def test_a_command_that_may_have_run_is_never_sent_again(open_proxy: Any) -> None:
    async with open_proxy() as proxy, open_client(proxy.url) as client:
        proxy.drop_replies = True
        async with trio.open_nursery() as nursery:

            async def push() -> None:
                with pytest.raises(ConnectionLostError) as caught:
                    await client.call("RPUSH", "l", "once")
                assert caught.value.maybe_sent

            async def push_idempotent() -> None:
                assert await client.call("SADD", "s", "again", idempotent=True) == 0

            nursery.start_soon(push)
            nursery.start_soon(push_idempotent)
            async with open_client(f"unix://{proxy.target}") as direct:
                while not await direct.call("EXISTS", "l") or not await direct.call("EXISTS", "s"):
                    await trio.lowlevel.checkpoint()
            proxy.drop_replies = False
            await proxy.cut()
        assert await client.call("LRANGE", "l", 0, -1) == [b"once"]
        assert proxy.connections == 2


async def test_half_open_connection_is_noticed_and_replaced(open_proxy: Any) -> None:
    async with open_proxy() as proxy, open_client(proxy.url, patience=0.2) as client:
        proxy.freeze()
        started = trio.current_time()
        with pytest.raises(ConnectionLostError, match="no reply within"):
            await client.call("PING")
        assert 0.1 < trio.current_time() - started < 1
        proxy.thaw()
        assert await client.call("PING") == b"PONG"


async def test_half_open_connection_of_a_blocking_command_is_noticed(
    open_proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_proxy() as proxy, open_client(proxy.url) as client:
        assert await client.block("BLPOP", "l", 0.01, timeout=0.01) is None
        monkeypatch.setattr("am2z.queue.client.blocking.MARGIN", 0.1)
        proxy.freeze()
        with trio.fail_after(1), pytest.raises(errors.ConnectionError, match="no reply within"):
            await client.block("BLPOP", "l", 0.05, timeout=0.05)
        monkeypatch.undo()
        await proxy.cut()  # what was held back must not reach the server after all
        proxy.thaw()
        await client.call("RPUSH", "l", "x")
        assert await client.block("BLPOP", "l", 1, timeout=1) == [b"l", b"x"]


async def test_cancelling_a_blocking_command_on_a_dead_line_is_bounded(
    open_proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("am2z.queue.client.blocking.UNBLOCK_LIMIT", 0.1)
    async with open_proxy() as proxy, open_client(proxy.url) as client:
        assert await client.block("BLPOP", "l", 0.01, timeout=0.01) is None
        with trio.fail_after(1), trio.move_on_after(0.02) as scope:
            proxy.freeze()
            await client.block("BLPOP", "l", 5, timeout=5)
        assert scope.cancelled_caught
        assert not client._link._others or not any(c.is_open for c in client._link._others)


@pytest.mark.redis7
async def test_changed_password_fails_commands_at_once_and_heals_when_it_is_right_again(
    server: Callable[..., Any],
) -> None:
    own = server("--requirepass", "right")
    url = own.url.replace("unix://", "unix://:right@")
    async with open_client(url, patience=0.3) as client:
        own.kill()
        own.options = ("--requirepass", "changed")
        await trio.to_thread.run_sync(own.start)
        with trio.fail_after(1), pytest.raises(errors.AuthenticationError):
            await ping_until_answered(client)
        with own.admin() as admin:
            admin.auth("changed")
            admin.config_set("requirepass", "right")
        with trio.fail_after(3):
            while True:
                try:
                    assert await client.call("PING") == b"PONG"
                    break
                except errors.AuthenticationError:
                    await trio.sleep(0.01)


async def ping_until_answered(client: Any) -> None:
    while True:
        try:
            await client.call("PING")
        except ConnectionLostError:
            continue
        return


async def test_failing_reconnect_hook_does_not_hurt(server: Callable[..., Any], wait_until) -> None:
    own = server()
    called = trio.Event()

    def fail() -> None:
        raise ZeroDivisionError

    async with open_client(own.url) as client:
        client.on_reconnect += [fail, called.set]
        await client.call("PING")
        with own.admin() as admin:
            admin.client_kill_filter(_type="normal")
        with trio.fail_after(3):
            await called.wait()
        assert await client.call("PING") == b"PONG"


async def test_forgotten_scripts_are_sent_again_after_a_restart(
    server: Callable[..., Any], wait_until
) -> None:
    own = server()
    script = Script("return 7")
    async with open_client(own.url) as client:
        assert await client.run_script(script) == 7
        own.kill()
        await wait_until(lambda: is_cut_off(client))
        await trio.to_thread.run_sync(own.start)
        assert await client.run_script(script, idempotent=True) == 7


async def test_fake_server_can_go_away_and_come_back(fake_url: str) -> None:
    server = fake_server(fake_url.removeprefix("fake://"))
    async with open_client(fake_url, patience=0.1) as client:
        server.connected = False
        with pytest.raises(errors.ConnectionError):
            await client.call("PING")
        with pytest.raises(errors.ConnectionError):
            await client.call("PING")
        server.connected = True
        with trio.fail_after(3):
            while True:
                try:
                    assert await client.call("PING") == b"PONG"
                    break
                except errors.ConnectionError:
                    continue


async def test_slow_large_reply_is_not_taken_for_a_dead_line(open_proxy: Any) -> None:
    value = b"x" * 8_000_000
    async with open_proxy() as proxy, open_client(proxy.url, patience=0.15) as client:
        await client.call("SET", "big", value, idempotent=True)
        started = trio.current_time()
        proxy.pause_between_chunks = 0.003
        assert await client.call("GET", "big") == value
        assert trio.current_time() - started > 0.15
