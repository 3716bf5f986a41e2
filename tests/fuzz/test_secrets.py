"""A password is in no log, error, repr, banner or report: a marker goes in, and all is read."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from redis.credentials import UsernamePasswordCredentialProvider

from am2z import Context, QueueRuntime, RuntimeConfig, processor
from harness import TestState
from harness.redis import hide_password, ping
from tests.distributed.redis_client.conftest import RedisServer
from tests.harness.command import am2z

MARK = "hUnTeR2-marker"
PASSWORDS = [MARK, f"{MARK}%40x", f"a%3A{MARK}", f"{MARK}%2F%3F%23"]


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, "--requirepass", MARK).start()
    yield server
    server.kill()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Everything that was logged, at every level, with tracebacks."""
    caplog.set_level(logging.DEBUG)

    def text() -> str:
        format_one = logging.Formatter("%(name)s %(message)s").format
        return "\n".join(format_one(record) + repr(vars(record)) for record in caplog.records)

    return text


@processor
async def quick(state: TestState, ctx: Context) -> TestState:
    return state.evolve(count=state.count + 1)


def in_full(error: BaseException) -> str:
    """An error as everybody could ever show it."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


async def failure_of(runtime: QueueRuntime) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, other tests say
        async with runtime:
            pass
    return caught.value


@pytest.mark.trio
async def test_a_working_runtime_shows_its_password_nowhere(locked, logged):
    url = f"unix://:{MARK}@{locked.socket}"
    runtime = QueueRuntime(url, config=RuntimeConfig(lease=0.5, shutdown_grace=0.2))
    runtime.register(quick)
    shown = [repr(runtime)]
    async with runtime:
        assert (await runtime.execute(quick, TestState())).success
        shown += [repr(runtime), repr(runtime._shards[0].node.client), repr(await runtime.stats())]
        with locked_admin(locked) as admin:
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert (await runtime.execute(quick, TestState())).success
        with trio.move_on_after(0.3):
            await trio.sleep_forever()  # a beat of the heart, a look around
    assert MARK not in logged()
    assert not [text for text in shown if MARK in text]


def locked_admin(server: RedisServer):
    client = server.admin()
    client.connection_pool.connection_kwargs["password"] = MARK
    return client


@pytest.mark.trio
@pytest.mark.parametrize("password", PASSWORDS)
async def test_a_refused_password_and_an_absent_server_are_told_without_it(
    tmp_path, locked, logged, password
):
    wrong = password + "wrong"
    for url in (
        f"unix://user:{wrong}@{locked.socket}",
        f"unix://:{wrong}@{locked.socket}",
        f"redis://user:{password}@127.0.0.1:1/0",
        f"unix://{tmp_path}/nobody?password={password}",
        f"redis+sentinel://user:{password}@127.0.0.1:1/m?sentinel_password={password}",
        f"redis+cluster://user:{password}@127.0.0.1:1",
    ):
        error = await failure_of(QueueRuntime(url))
        assert MARK not in in_full(error), url
    assert MARK not in logged()


@pytest.mark.trio
async def test_a_credential_provider_gives_nothing_away(locked, logged):
    provider = UsernamePasswordCredentialProvider("default", MARK + "wrong")
    runtime = QueueRuntime(f"unix://{locked.socket}", credential_provider=provider)
    assert MARK not in in_full(await failure_of(runtime))
    assert MARK not in repr(runtime)
    assert MARK not in logged()


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_kits_own_helpers_hide_it_too(password):
    url = f"redis://user:{password}@127.0.0.1:1/0?password={password}"
    assert MARK not in hide_password(url)
    with pytest.raises(Exception, match=r"\*\*\*") as caught:
        ping(url, 0.2)
    assert MARK not in str(caught.value)


MODULE = """
from am2z import Context, processor
from harness import TestState

@processor
async def quick(state: TestState, ctx: Context) -> TestState:
    return state
"""


def test_the_command_line_prints_it_nowhere(tmp_path, locked):
    (tmp_path / "app.py").write_text(MODULE)
    refused, slash = f"unix://:{MARK}wrong@{locked.socket}", f"redis://u:{MARK}/x@h"
    for told in (
        am2z("worker", "app", "--redis", refused, cwd=tmp_path),
        am2z("worker", "app", cwd=tmp_path, REDIS_URL=slash),
        am2z("dead", "list", cwd=tmp_path, REDIS_URL=refused),
    ):
        assert told.returncode in (1, 2)
        assert "***" in told.stderr
        assert MARK not in told.stdout + told.stderr


def test_the_header_and_the_report_of_the_kit_show_it_nowhere(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, "--requirepass", MARK, "--port", str(port)).start()
    try:
        url = f"redis://:{MARK}@127.0.0.1:{port}/0"
        words = ["-k", "LIF-001", "--redis", url, "--report", "r"]
        told = am2z("conformance", "queue[server]", *words, cwd=tmp_path)
        text = told.stdout + told.stderr
        files = [path.read_text() for path in tmp_path.rglob("*.json")]
        assert "1 of " in text
        assert files
        assert "redis://:***@" in text
        assert not [one for one in (text, *files) if MARK in one]
    finally:
        server.kill()
