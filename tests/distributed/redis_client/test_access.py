"""As whom the client comes: passwords, users with few rights, and providers of credentials."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import redis
import trio

from am2z import (
    AppState,
    ConfigurationError,
    Context,
    NetworkError,
    QueueRuntime,
    RuntimeConfig,
    processor,
)
from am2z.queue.client import ConnectionLostError, open_client, sync_client

from .conftest import RedisServer, wait_until

pytestmark = pytest.mark.trio


class Work(AppState):
    count: int = 0


@processor
async def one(state: Work, ctx: Context) -> Work:
    ctx.update_progress(50)
    return state.evolve(count=state.count + 1)


@processor(name="twice")
async def twice(state: Work, ctx: Context) -> Work:
    return (await ctx.call("one", (await ctx.call("one", state)).unwrap())).unwrap()


class Provider:
    """Gives what the test says, and counts how often it was asked."""

    def __init__(self, given: Any) -> None:
        self.given = given
        self.asked = 0

    def get_credentials(self) -> Any:
        self.asked += 1
        if isinstance(self.given, Exception):
            raise self.given
        return self.given() if callable(self.given) else self.given


def add_user(server: RedisServer, name: str, password: str, *rules: str) -> None:
    with server.admin() as admin:
        admin.execute_command("ACL", "SETUSER", name, "reset", "on", f">{password}", *rules)


def kick(server: RedisServer, name: str) -> None:
    with server.admin() as admin:
        admin.execute_command("CLIENT", "KILL", "USER", name)


async def test_password_is_asked_for_and_a_user_may_have_a_blank_or_a_slash_in_it(
    server: Callable[..., RedisServer],
) -> None:
    own = server()
    add_user(own, "wor/ker", "p@ss:w rd/%", "~*", "+@all")
    for url in (
        own.url.replace("unix://", "unix://wor%2Fker:p%40ss%3Aw%20rd%2F%25@"),
        f"{own.url}?username=wor%2Fker&password=p%40ss%3Aw%20rd%2F%25",
    ):
        async with open_client(url) as client:
            assert await client.call("ACL", "WHOAMI") == b"wor/ker"
        with sync_client(url) as plain:
            assert plain.acl_whoami() == "wor/ker"


async def test_runtime_works_as_a_user_who_may_touch_only_the_keys_of_its_namespace(
    server: Callable[..., RedisServer],
) -> None:
    own = server()
    rights = ("+@read", "+@write", "+@connection", "+eval", "+evalsha", "+time", "+info")
    add_user(
        own,
        "worker",
        "pw",
        "~{am2z:shop:*",
        *rights,
        "-@admin",
        "-@dangerous",
        "+info",
        "+client|unblock",
    )
    url = own.url.replace("unix://", "unix://worker:pw@")
    async with QueueRuntime(url, namespace="shop").register(one, twice) as runtime:
        seen: list[str] = []
        runtime.on("*", lambda event: seen.append(event.type))
        for _ in range(3):
            result = await runtime.execute(twice, Work(), "s")
            assert result.error is None
        assert await runtime.state.version("s") == 3
        assert "processor:progress" in seen
        await runtime.stop_session("s")
        await runtime.queue_stats()
    with pytest.raises(NetworkError, match="no permissions to access"):
        async with QueueRuntime(url, namespace="bank").register(one):
            pytest.fail("another namespace took it in")


async def test_provider_is_asked_anew_at_each_dial(server: Callable[..., RedisServer]) -> None:
    own = server()
    provider = Provider(("worker", "first"))
    add_user(own, "worker", "first", "~*", "+@all")
    async with open_client(own.url, credential_provider=provider) as client:
        assert await client.call("ACL", "WHOAMI") == b"worker"
        assert provider.asked == 1
        assert await client.block("BLPOP", "l", 0.01, timeout=0.01) is None
        assert provider.asked == 2
        add_user(own, "worker", "second", "~*", "+@all")
        provider.given = ["worker", "second"]
        kick(own, "worker")
        assert await client.call("ACL", "WHOAMI", idempotent=True) == b"worker"
        assert provider.asked == 3
    with sync_client(own.url, credential_provider=provider) as plain:
        assert plain.acl_whoami() == "worker"


async def test_provider_may_give_a_password_alone_and_be_redis_pys_own(
    server: Callable[..., RedisServer],
) -> None:
    own = server("--requirepass", "right")
    for provider in (
        Provider(("right",)),
        Provider((b"right",)),
        Provider(("", "right")),
        redis.UsernamePasswordCredentialProvider(password="right"),
    ):
        async with open_client(own.url, credential_provider=provider) as client:
            assert await client.call("ACL", "WHOAMI") == b"default"


@pytest.mark.parametrize(
    "given", [RuntimeError("token s3cret"), ("u", "s3cret", "x"), "s3cret", None, ("u", None), ()]
)
async def test_provider_that_fails_is_a_network_error_that_shows_no_secret(
    server: Callable[..., RedisServer], given: Any
) -> None:
    own = server()
    with pytest.raises(NetworkError, match="credential provider") as caught:
        async with open_client(own.url, credential_provider=Provider(given)):
            pytest.fail("it opened")
    assert "s3cret" not in str(caught.value)
    with (
        pytest.raises(redis.ConnectionError, match="credential provider"),
        sync_client(own.url, credential_provider=Provider(given)) as plain,
    ):
        plain.ping()


async def test_provider_that_hangs_is_given_up_in_time(server: Callable[..., RedisServer]) -> None:
    own, gate = server(), threading.Event()
    try:
        with trio.fail_after(2), pytest.raises(NetworkError, match="no answer within"):
            async with open_client(
                own.url, credential_provider=Provider(gate.wait), connect_timeout=0.1
            ):
                pytest.fail("it opened")
    finally:
        gate.set()


async def test_provider_that_fails_for_a_while_is_asked_until_it_answers(
    server: Callable[..., RedisServer],
) -> None:
    own = server()
    add_user(own, "worker", "pw", "~*", "+@all")
    provider = Provider(("worker", "pw"))
    async with open_client(own.url, credential_provider=provider, patience=0.2) as client:
        provider.given = OSError("the token service is away")
        kick(own, "worker")
        with pytest.raises(ConnectionLostError, match="credential provider raised OSError"):
            await ping(client)
        provider.given = ("worker", "pw")
        with trio.fail_after(3):
            while True:
                try:
                    assert await client.call("PING") == b"PONG"
                    break
                except ConnectionLostError:
                    await trio.lowlevel.checkpoint()


async def ping(client: Any) -> None:
    while True:
        await client.call("PING", idempotent=True)


async def test_provider_and_user_in_the_url_are_not_both_taken(real_url: str) -> None:
    url = real_url.replace("unix://", "unix://worker:s3cret@")
    for use in (
        lambda: QueueRuntime(url, credential_provider=Provider(("u", "p"))),
        lambda: sync_client(url, credential_provider=Provider(("u", "p"))),
        lambda: QueueRuntime(real_url, credential_provider=("u", "p")),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigurationError, match="credential provider") as caught:
            use()
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


async def test_runtime_and_its_heartbeat_ask_the_provider(
    server: Callable[..., RedisServer],
) -> None:
    own = server()
    add_user(own, "worker", "pw", "~*", "+@all")
    provider = Provider(("worker", "pw"))
    runs = 0

    @processor
    async def stuck(state: Work, ctx: Context) -> Work:
        nonlocal runs
        runs += 1
        threading.Event().wait(1.0)  # hold up the event loop for longer than three leases
        return state

    async with QueueRuntime(
        own.url, config=RuntimeConfig(lease=0.3), credential_provider=provider
    ).register(stuck) as runtime:
        before = provider.asked
        assert (await runtime.execute(stuck, Work())).success
        await wait_until(lambda: provider.asked > before)
        with own.admin() as admin:
            assert {one["user"] for one in admin.client_list()} == {"worker", "default"}
    assert runs == 1
