"""Workers that can be killed: processes of their own, each with a runtime of the kind under test.

Run as ``python -m harness.oracle.crash`` this is such a worker. Its orders come as a line of JSON
on the standard input: what to make and where. It says ``ready`` once it serves, and ``running``
when the execution that it is to die with has come; ``go`` lets that go on.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from am2z import NetworkError, ProcessorResult, Runtime, RuntimeConfig
from harness.oracle.model.tables import MAX_CALL_DEPTH
from harness.oracle.program import DOOMED
from harness.oracle.staff import make_doomed
from harness.oracle.workers import Piece
from harness.selection import resolve
from harness.subject import Environment

__all__ = ["LEASE", "Crashes"]

LEASE = 2.0
"""How long the runtimes of a program with crashes wait for a silent worker, in seconds."""

CONFIG = RuntimeConfig(max_call_depth=MAX_CALL_DEPTH, lease=LEASE)


class _Orders(msgspec.Struct):
    spec: str
    namespace: str
    redis_url: str
    folder: str
    here: str


@dataclass
class Crashes:
    """Kills the worker of an execution; another one takes it over.

    ``spec`` names the runtime as on the command line: a process of its own has to make one.
    """

    spec: str
    environment: Environment

    async def __call__(
        self, runtime: Runtime, given: Piece, session_id: str | None
    ) -> ProcessorResult[Piece]:
        """Execute, and meanwhile kill whoever does it first."""
        answers: list[ProcessorResult[Piece]] = []
        async with trio.open_nursery() as nursery:
            workers = [await nursery.start(self._serve) for _ in range(2)]

            async def execute() -> None:
                answers.append(await runtime.execute(DOOMED, given, session_id))
                nursery.cancel_scope.cancel()

            nursery.start_soon(execute)
            doomed = await _first_to_run(workers)
            doomed.process.kill()
            for worker in workers:
                if worker is not doomed:
                    await worker.say(b"go\n")
        return answers[0]

    async def _serve(self, task_status: trio.TaskStatus[_Worker]) -> None:
        command = [sys.executable, "-m", "harness.oracle.crash"]
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        worker = _Worker(process)
        try:
            env = self.environment
            orders = _Orders(
                self.spec, env.namespace, env.redis_url, str(env.folder), str(Path.cwd())
            )
            await worker.say(msgspec.json.encode(orders) + b"\n")
            if await worker.hear() != b"ready":
                raise NetworkError(f"a worker of {self.spec} could not be started")
            task_status.started(worker)
            await trio.sleep_forever()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                await worker.close()


class _Worker:
    """The parent's end of a worker."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._in, self._out = process.stdin, process.stdout
        self._heard = b""

    async def say(self, line: bytes) -> None:
        await self._in.send_all(line)

    async def hear(self) -> bytes:
        while b"\n" not in self._heard:
            more = await self._out.receive_some(4096)
            if not more:
                return b""
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    async def close(self) -> None:
        for pipe in (self._in, self._out):
            await trio.aclose_forcefully(pipe)


async def _first_to_run(workers: list[_Worker]) -> _Worker:
    """The worker to which the execution has come."""
    found: list[_Worker] = []

    async def listen(worker: _Worker) -> None:
        if await worker.hear() == b"running":
            found.append(worker)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(listen, worker)
    if not found:
        raise NetworkError("no worker got the execution to die with")
    return found[0]


# --- the other end


async def _work() -> None:
    line = sys.stdin.buffer.readline()
    orders = msgspec.json.decode(line, type=_Orders)
    sys.path.insert(0, orders.here)
    go = trio.Event()

    async def before() -> None:
        _say("running")
        await go.wait()

    async with _runtime(orders) as runtime:
        runtime.register(make_doomed(before))
        await runtime.sync_processors()
        _say("ready")
        while line := await trio.to_thread.run_sync(
            sys.stdin.buffer.readline, abandon_on_cancel=True
        ):
            if line == b"go\n":
                go.set()


@asynccontextmanager
async def _runtime(orders: _Orders) -> AsyncIterator[Runtime]:
    environment = Environment(
        namespace=orders.namespace,
        role="worker",
        find_config=lambda: CONFIG,
        find_redis=lambda: orders.redis_url,
        find_folder=lambda: Path(orders.folder),
    )
    async with resolve(orders.spec).make(environment) as runtime:
        yield runtime


def _say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    trio.run(_work)
