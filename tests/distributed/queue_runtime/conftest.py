"""A Redis server of their own for these tests, worker processes, and eyes for what is in Redis."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from am2z import QueueRuntime, ResourceLimits, RuntimeConfig
from am2z.queue.client import sync_client
from am2z.queue.keys import encode
from am2z.queue.library import library
from tests.distributed.redis_client.conftest import RedisServer

from .apps import Board

ROOT = Path(__file__).parents[3]
_numbers = itertools.count()

KEPT = ("st:", "sessions", "s:")
"""Keys without a time to live: the states of sessions and their registry."""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    one = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield one
    one.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may stop and start; it writes down what it is told."""
    one = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always").start()
    yield one
    one.kill()


@pytest.fixture
def url(server: RedisServer) -> str:
    return server.url


@pytest.fixture
def namespace() -> str:
    """One that no other test uses: the server is shared."""
    return f"t{os.getpid()}-{next(_numbers)}"


class Eyes:
    """What is in Redis."""

    def __init__(self, url: str, namespace: str) -> None:
        self.redis = sync_client(url)
        self.prefix = f"{{am2z:{namespace}:0}}:"

    def key(self, name: str) -> str:
        return self.prefix + name

    def keys(self, pattern: str = "*") -> set[str]:
        found = self.redis.scan_iter(self.prefix.replace("[", "\\[") + pattern, count=1000)
        return {key.decode().removeprefix(self.prefix) for key in found}

    def immortal(self) -> set[str]:
        """Keys that nothing would ever remove."""
        found = {key for key in self.keys() if self.redis.ttl(self.key(key)) == -1}
        return {key for key in found if not key.startswith(KEPT)}

    def take_back(self, execution_id: str) -> None:
        """End a lease and reclaim it in one step, as if its worker had been away for too long."""
        pipe = self.redis.pipeline()
        pipe.zadd(self.key("leases"), {encode(execution_id): 1})
        pipe.eval(library()["reclaim"].text, 1, self.prefix, 100, 60_000)
        pipe.execute()

    def commits(self, session_id: str) -> int:
        return int(self.redis.hget(self.key(f"st:{session_id}"), "v") or 0)


@pytest.fixture
def eyes(url: str, namespace: str) -> Iterator[Eyes]:
    one = Eyes(url, namespace)
    yield one
    one.redis.close()


@pytest.fixture
def board(url: str, namespace: str) -> Iterator[Board]:
    one = Board(url, namespace)
    yield one
    one.redis.close()


@pytest.fixture
def make(url: str, namespace: str) -> Callable[..., QueueRuntime]:
    """Runtimes of this test's namespace; keywords are those of ``RuntimeConfig``."""

    def make(
        *processors: Any,
        role: str = "both",
        limits: ResourceLimits | None = None,
        at: str = url,
        name: str = namespace,
        **config: Any,
    ) -> QueueRuntime:
        settings = RuntimeConfig(**({"lease": 2.0, "shutdown_grace": 2.0} | config))
        runtime = QueueRuntime(at, namespace=name, role=role, config=settings, limits=limits)  # type: ignore[arg-type]
        return runtime.register(*processors)

    return make


class WorkerProcess:
    """A worker of ``apps`` in a process of its own."""

    def __init__(self, url: str, namespace: str, options: dict[str, Any]) -> None:
        program = f"{__package__}.apps"
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", program, url, namespace, json.dumps(options)],
            cwd=ROOT,
        )
        self.pid = self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def exit_code(self, timeout: float = 10.0) -> int:
        with trio.fail_after(timeout):
            while (code := self.process.poll()) is None:  # noqa: ASYNC110
                await trio.sleep(0.005)
        return code


@pytest.fixture
def workers(url: str, namespace: str, board: Board) -> Callable[..., Any]:
    """``async with workers() as worker:`` a worker process that is ready; it is killed at last."""

    @asynccontextmanager
    async def run(at: str = url, wait: bool = True, **options: Any) -> AsyncIterator[WorkerProcess]:
        worker = WorkerProcess(at, namespace, {"lease": 1.0, "shutdown_grace": 0.2} | options)
        try:
            if wait:
                await board.see(f"ready {worker.pid}")
            yield worker
        finally:
            worker.kill()

    return run


async def wait_until(condition: Callable[[], Any], timeout: float = 5.0) -> None:
    """Wait for a condition that no event announces."""
    with trio.fail_after(timeout):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.003)


async def within(limit: float, once: Callable[[], Awaitable[float]], goes: int = 4) -> None:
    """``once`` answers how long something took, or how often it ran: one go must keep the limit.

    A machine that is too busy makes it more, never less.
    """
    took = []
    for _ in range(goes):
        took.append(await once())
        if took[-1] <= limit:
            return
    raise AssertionError(f"never {limit:g} or less: {took}")
