"""A herd of worker processes, and the program that keeps it.

``python -m tests.distributed.chaos.herd URL NAMESPACE [JSON]`` is the keeper: it imports everything
once and forks a worker for each ``start``, which costs milliseconds instead of the half second of a
fresh interpreter. It also sends the signals, for only a parent knows that a pid is still the one it
means. When its input ends it kills whatever is left, stopped workers too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import trio
from redis import Redis

from am2z import (
    AppState,
    BusinessError,
    Context,
    NetworkError,
    QueueRuntime,
    RetryPolicy,
    RuntimeConfig,
    processor,
)
from am2z.queue.client import sync_client

ROOT = Path(__file__).parents[3]


class Load(AppState):
    """``count`` counts what was done; the rest says how to do it."""

    count: int = 0
    depth: int = 0
    pause: float = 0.0


@cache
def board() -> Redis:
    """Where this worker writes what it does."""
    return sync_client(sys.argv[1])


def mark(ctx: Context) -> None:
    """Write down that an execution runs here, and under which fence."""
    board().rpush(f"runs:{sys.argv[2]}", f"{ctx.execution_id} {ctx.fence} {ctx.metadata.attempt}")


@processor
async def step(state: Load, ctx: Context) -> Load:
    mark(ctx)
    await trio.sleep(state.pause)
    return state.evolve(count=state.count + 1)


@processor
def blocking(state: Load, ctx: Context) -> Load:
    """Runs in a thread."""
    mark(ctx)
    time.sleep(state.pause)
    return state.evolve(count=state.count + 1)


@processor
async def pair(state: Load, ctx: Context) -> Load:
    mark(ctx)
    first = (await ctx.call("step", state)).unwrap()
    return (await ctx.call("flaky", first)).unwrap()


@processor
async def deep(state: Load, ctx: Context) -> Load:
    """Calls itself ``depth`` times."""
    mark(ctx)
    if state.depth:
        state = (await ctx.call("deep", state.evolve(depth=state.depth - 1))).unwrap()
    return state.evolve(count=state.count + 1)


@processor(retry=RetryPolicy(max_attempts=3, backoff=0.02))
async def flaky(state: Load, ctx: Context) -> Load:
    """Fails at first, and then does it."""
    mark(ctx)
    ctx.update_progress(50)
    if ctx.metadata.attempt == 1:
        raise RuntimeError("once more, please")
    return state.evolve(count=state.count + 1)


@processor(retry=RetryPolicy(max_attempts=2, backoff=0.02))
async def broken(state: Load, ctx: Context) -> Load:
    """Fails whatever one does."""
    mark(ctx)
    raise RuntimeError("it never works")


@processor
async def refused(state: Load, ctx: Context) -> Load:
    """Fails in its child, whose error is its own."""
    mark(ctx)
    return (await ctx.call("refuse", state)).unwrap()


@processor
async def refuse(state: Load, ctx: Context) -> Load:
    mark(ctx)
    raise BusinessError("no")


PROCESSORS = (step, blocking, pair, deep, flaky, broken, refused, refuse)


async def work(url: str, namespace: str, options: dict[str, object]) -> None:
    config = RuntimeConfig(**options)  # type: ignore[arg-type]
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        runtime = QueueRuntime(url, namespace=namespace, role="worker", config=config)
        runtime.register(*PROCESSORS)
        async with runtime:
            async for _ in signals:
                break


def live() -> None:
    """Work until told to stop. On a busy machine the server may not answer a start in time."""
    for _ in range(10):
        try:
            trio.run(work, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
        except NetworkError as error:
            print(f"worker {os.getpid()} starts again: {error}", file=sys.stderr)
        else:
            return
    raise SystemExit("the worker could not start")


def fork() -> int:
    """A new worker; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        live()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stderr.flush()
        os._exit(code)


def obey(command: str, pid: int, alive: set[int]) -> str:
    """Do it to the worker; the answer. One that ended by itself is told as ``ended CODE``."""
    if pid not in alive:
        return "it is none of ours"
    gone, status = os.waitpid(pid, os.WNOHANG)
    if gone:
        alive.discard(pid)
        return f"ended {os.waitstatus_to_exitcode(status)}"
    os.kill(pid, signal.Signals[command])
    if command not in ("SIGKILL", "SIGTERM"):
        return "ok"
    _, status = os.waitpid(pid, 0)
    alive.discard(pid)
    return str(os.waitstatus_to_exitcode(status))


def keep() -> None:
    """Obey what the input says until it ends."""
    alive: set[int] = set()
    try:
        for line in sys.stdin:
            command, _, pid = line.strip().partition(" ")
            if command == "start":
                alive.add(answer := fork())
            else:
                answer = obey(command, int(pid), alive)
            print(answer, flush=True)
    finally:
        for left in alive:
            os.kill(left, signal.SIGKILL)


class Herd:
    """The workers of a storm, as the test sees them."""

    def __init__(self, url: str, namespace: str, options: dict[str, object]) -> None:
        self.workers: list[int] = []
        self.problems: list[str] = []
        self._keeper = subprocess.Popen(
            [
                *(sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning:__main__"),
                *("-m", f"{__package__}.herd", url, namespace, json.dumps(options)),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the keeper, which ends the workers."""
        self._keeper.communicate(timeout=10)

    def start(self) -> None:
        self.workers.append(int(self._ask("start")))

    def kill(self, pid: int) -> None:
        self.workers.remove(pid)
        self._signal("SIGKILL", pid, expected="-9")

    def stop(self, pid: int) -> None:
        self._signal("SIGSTOP", pid, expected="ok")

    def go_on(self, pid: int) -> None:
        self._signal("SIGCONT", pid, expected="ok")

    def dismiss(self, pid: int) -> None:
        """End it as a deploy would."""
        self.workers.remove(pid)
        self._signal("SIGTERM", pid, expected="0")

    def _signal(self, name: str, pid: int, *, expected: str) -> None:
        answer = self._ask(f"{name} {pid}")
        if answer != expected:
            self.problems.append(f"worker {pid} was to get {name}: {answer}")
            print(self.problems[-1])
            if pid in self.workers:
                self.workers.remove(pid)
                self.start()

    def _ask(self, line: str) -> str:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(line + "\n")
        self._keeper.stdin.flush()
        return self._keeper.stdout.readline().strip()


if __name__ == "__main__":
    keep()
