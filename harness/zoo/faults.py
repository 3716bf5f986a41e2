"""Runtimes with the faults that broke other systems: ``docs/faults.md`` has the cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from am2z.base import BaseRuntime
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.handle import LocalHandle
from am2z.local.runtime import LocalRuntime
from am2z.queue.run import Run
from am2z.queue.wants import Wants
from am2z.queue.worker import Worker
from am2z.result import ProcessorResult
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch


@mutant("exception-ends-its-work", rule="LIF-014", base="queue")
@contextmanager
def exception_ends_its_work() -> Iterator[None]:
    """A worker whose block fails ends for good what it was running."""
    leave, give_back = BaseRuntime.__aexit__, Run._return
    has_failed = False

    async def note(self: BaseRuntime, exc_type: Any, exc: Any, traceback: Any) -> None:
        nonlocal has_failed
        has_failed = exc is not None
        await leave(self, exc_type, exc, traceback)

    async def end(self: Run) -> None:
        if not has_failed:
            await give_back(self)
            return
        with trio.CancelScope(shield=True):
            await self._node.protocol.cancel(self.claimed.id)

    with patch(BaseRuntime, "__aexit__", note), patch(Run, "_return", end):
        yield


@mutant("waiters-beyond-a-pool-hang", rule="EXE-046")
@contextmanager
def waiters_beyond_a_pool_hang() -> Iterator[None]:
    """A caller holds a connection while it waits, and whoever works for it needs another one."""
    run, attempts = Engine.run, Engine._attempts
    pools: dict[int, trio.Semaphore] = {}

    def pool(engine: Engine) -> trio.Semaphore:
        size = engine._resources.limits.max_connections
        return pools.setdefault(id(engine), trio.Semaphore(size))

    async def wait(self: Engine, execution: Execution) -> ProcessorResult[Any]:
        if execution.depth > 0:
            return await run(self, execution)
        async with pool(self):
            return await run(self, execution)

    async def work(self: Engine, execution: Execution) -> ProcessorResult[Any]:
        if execution.depth > 0:
            return await attempts(self, execution)
        async with pool(self):
            return await attempts(self, execution)

    with patch(Engine, "run", wait), patch(Engine, "_attempts", work):
        yield


@mutant("cancelled-callers-answer-is-next", rule="EXE-047")
@contextmanager
def cancelled_callers_answer_is_next() -> Iterator[None]:
    """The answer that a cancelled caller did not read is read by the next one."""
    unread: defaultdict[LocalRuntime, list[LocalHandle[Any]]] = defaultdict(list)

    async def execute(
        self: LocalRuntime, processor: Any, state: Any, session_id: str | None = None
    ) -> ProcessorResult[Any]:
        handle = await self.submit(processor, state, session_id)
        try:
            result = await handle.result()
        except trio.Cancelled:
            unread[self].append(handle)
            raise
        return await unread[self].pop(0).result() if unread[self] else result

    with patch(LocalRuntime, "execute", execute):
        yield


@mutant("worker-claims-ahead", rule="EXE-048", base="queue")
@contextmanager
def worker_claims_ahead() -> Iterator[None]:
    """A worker fetches work for which it has no slot yet."""
    ahead = "self._slots.free + 4"
    with (
        edit(
            Worker,
            "_take_turn",
            "min(self._slots.free, self._most_at_once)",
            ahead,
        ),
        edit(Wants, "now", "self._slots.room(processor)", "self._slots.room(processor) + 4"),
    ):
        yield
