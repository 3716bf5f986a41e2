"""Servers for these tests: a real one of their own, an in-process one, and a proxy between."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from am2z.queue.client import sync_client

_names = itertools.count()


class RedisServer:
    """A redis-server on a Unix socket in a directory of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> RedisServer:
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                *("redis-server", "--port", "0", "--unixsocket", str(self.socket)),
                *("--dir", str(self.folder), "--save", "", *self.options),
            ],
            stdout=subprocess.DEVNULL,
        )
        self.wait_until_up()
        return self

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + 5
        while True:
            try:
                with self.admin() as client:
                    client.ping()
                return
            except (redis.AuthenticationError, redis.ResponseError):
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.002)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def admin(self) -> redis.Redis:
        never = Retry(NoBackoff(), 0)
        return redis.Redis(unix_socket_path=str(self.socket), protocol=2, retry=never)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on PATH")
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers of the test's own: ``server("--requirepass", "secret")``."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on PATH")
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        folder = tmp_path / f"r{len(started)}"
        folder.mkdir()
        started.append(RedisServer(folder, *options).start())
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def real_url(shared_server: RedisServer) -> str:
    with sync_client(shared_server.url) as client:
        client.flushall()
        client.script_flush()
    return shared_server.url


@pytest.fixture
def fake_url() -> str:
    return f"fake://test-{next(_names)}"


@pytest.fixture(params=["real", "fake"])
def url(request: pytest.FixtureRequest) -> str:
    """A Redis with nothing in it: each test runs on a real one and on the in-process one."""
    return request.getfixturevalue(f"{request.param}_url")


class Proxy:
    """Stands between a client and a server, and can stop forwarding or cut the line."""

    def __init__(self, path: Path, target: Path) -> None:
        self.url = f"unix://{path}"
        self.path = path
        self.target = target
        self.drop_replies = False
        self.pause_between_chunks = 0.0
        self.connections = 0
        self.lines: list[tuple[trio.SocketStream, trio.SocketStream]] = []
        self._open = trio.Event()
        self._open.set()

    def freeze(self) -> None:
        """Take what comes and forward nothing, without a word: a half-open connection."""
        self._open = trio.Event()

    def thaw(self) -> None:
        self._open.set()

    async def cut(self) -> None:
        for pair in self.lines:
            for stream in pair:
                await trio.aclose_forcefully(stream)
        self.lines.clear()

    async def serve(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            await sock.bind(str(self.path))
            sock.listen()
            await self._accept(sock, task_status)

    async def _accept(self, sock: Any, task_status: Any) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                accepted, _ = await sock.accept()
                nursery.start_soon(self._join, trio.SocketStream(accepted))

    async def _join(self, near: trio.SocketStream) -> None:
        self.connections += 1
        far = await trio.open_unix_socket(str(self.target))
        self.lines.append((near, far))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forward, near, far, False)
            nursery.start_soon(self._forward, far, near, True)

    async def _forward(
        self, source: trio.SocketStream, sink: trio.SocketStream, is_reply: bool
    ) -> None:
        try:
            while data := await source.receive_some(65536):
                await self._open.wait()
                if self.pause_between_chunks:
                    await trio.sleep(self.pause_between_chunks)
                if not (is_reply and self.drop_replies):
                    await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(sink)
            await trio.aclose_forcefully(source)


@pytest.fixture
def open_proxy(shared_server: RedisServer, real_url: str, tmp_path: Path) -> Callable[[], Any]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Proxy]:
        proxy = Proxy(tmp_path / "proxy.sock", shared_server.socket)
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.serve)
            yield proxy
            nursery.cancel_scope.cancel()

    return opened


async def wait_until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    """Wait for a condition that no event announces."""
    with trio.fail_after(timeout):
        while not condition():  # noqa: ASYNC110 - no event tells
            await trio.sleep(0.002)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until
