"""Processors that several processes share, and a worker process that serves them.

``python -m tests.distributed.queue_runtime.apps URL NAMESPACE [JSON]`` is the worker: SIGTERM stops
it as a deploy would, and it says on its board what it does, so that tests need not guess.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import cache

import trio
from redis import Redis

from am2z import (
    AM2ZError,
    AppState,
    Context,
    QueueRuntime,
    RetryPolicy,
    RuntimeConfig,
    processor,
)
from am2z.queue.client import sync_client


class Work(AppState):
    """A count, and what a processor needs to know."""

    count: int = 0
    note: str = ""
    seconds: float = 0.0
    items: list[str] = []  # noqa: RUF012 - msgspec copies it


class OutOfStockError(AM2ZError):
    """An error of the user's own, with a field of its own."""

    code = "OUT_OF_STOCK"

    def __init__(self, message: str, sku: str) -> None:
        super().__init__(message)
        self.sku = sku


class Board:
    """What processes tell the test: a list of lines, and gates that the test opens."""

    def __init__(self, url: str, name: str) -> None:
        self.redis: Redis = sync_client(url)
        self.name = name

    def write(self, line: str) -> None:
        self.redis.rpush(f"board:{self.name}", line)

    def lines(self, start: str = "") -> list[str]:
        raw = self.redis.lrange(f"board:{self.name}", 0, -1)
        return [line.decode() for line in raw if line.decode().startswith(start)]

    def open(self, gate: str) -> None:
        self.redis.set(f"gate:{self.name}:{gate}", 1)

    def is_open(self, gate: str) -> bool:
        return bool(self.redis.exists(f"gate:{self.name}:{gate}"))

    async def wait(self, gate: str) -> None:
        while not self.is_open(gate):  # noqa: ASYNC110 - a key in Redis has no event
            await trio.sleep(0.005)

    async def see(self, line: str, times: int = 1, *, timeout: float = 10.0) -> None:
        """Wait until somebody wrote that."""
        try:
            with trio.fail_after(timeout):
                while len(self.lines(line)) < times:  # noqa: ASYNC110
                    await trio.sleep(0.005)
        except trio.TooSlowError:
            raise AssertionError(f"{line!r} is not among {self.lines()}") from None


@cache
def board() -> Board:
    """The board of this worker process."""
    return Board(sys.argv[1], sys.argv[2])


@processor
async def add(state: Work, ctx: Context) -> Work:
    board().write(f"add {os.getpid()}")
    return state.evolve(count=state.count + 1, note=str(os.getpid()))


@processor
async def twice(state: Work, ctx: Context) -> Work:
    first = (await ctx.call("add", state)).unwrap()
    return (await ctx.call("add", first)).unwrap()


@processor
async def sell(state: Work, ctx: Context) -> Work:
    raise OutOfStockError("no chairs left", "chair")


@processor(retry=RetryPolicy(max_attempts=3, backoff=0.01))
async def flaky(state: Work, ctx: Context) -> Work:
    if ctx.metadata.attempt < 3:
        raise RuntimeError(f"attempt {ctx.metadata.attempt}")
    return state.evolve(count=ctx.metadata.attempt)


@processor
async def tell(state: Work, ctx: Context) -> Work:
    ctx.update_progress(50)
    ctx.emit("app:told", {"items": ["a"]})
    return state.evolve(count=1)


@processor
async def gate(state: Work, ctx: Context) -> Work:
    """Says that it runs, and waits until the test opens its gate."""
    board().write(f"begun {ctx.execution_id}")
    await board().wait(state.note)
    board().write(f"ended {ctx.execution_id}")
    return state.evolve(count=state.count + 1)


@processor
async def block(state: Work, ctx: Context) -> Work:
    """Holds the event loop, which no processor should."""
    board().write(f"begun {ctx.execution_id}")
    time.sleep(state.seconds)  # noqa: ASYNC251
    return state.evolve(count=1)


@processor
async def stubborn(state: Work, ctx: Context) -> Work:
    """Lets nobody stop it until its gate is open (one for each delivery), then speaks at once."""
    line = f"begun {ctx.execution_id}"
    number = len(board().lines(line)) + 1  # before the test hears of it, and may freeze us
    board().write(line)
    while not board().is_open(f"{state.note}{number}"):
        time.sleep(0.005)  # noqa: ASYNC251
    board().write(f"ended {ctx.execution_id}")
    ctx.update_progress(99)
    ctx.emit("app:late")
    return state.evolve(count=1)


@processor
async def linger(state: Work, ctx: Context) -> Work:
    board().write(f"begun {ctx.execution_id}")
    await trio.sleep(state.seconds)
    return state.evolve(count=1)


@processor
async def die(state: Work, ctx: Context) -> Work:
    board().write(f"died {ctx.execution_id}")
    os.kill(os.getpid(), signal.SIGKILL)
    return state


@processor
async def parent(state: Work, ctx: Context) -> Work:
    """Calls a child, then waits at a gate, then calls another one."""
    first = (await ctx.call("add", state)).unwrap()
    board().write(f"between {ctx.execution_id}")
    await board().wait(state.note)
    return (await ctx.call("add", first.evolve(note=""))).unwrap()


PROCESSORS = (add, twice, sell, flaky, tell, gate, block, stubborn, linger, die, parent)


async def serve(url: str, namespace: str, options: dict[str, object]) -> None:
    config = RuntimeConfig(**options)  # type: ignore[arg-type]
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        runtime = QueueRuntime(url, namespace=namespace, role="worker", config=config)
        runtime.register(*PROCESSORS)
        async with runtime:
            board().write(f"ready {os.getpid()}")
            async for _ in signals:
                break
    board().write(f"gone {os.getpid()}")


if __name__ == "__main__":
    trio.run(serve, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
