"""Runtimes that answer wrongly, late or never (EXE-001 …)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import outcome as outcomes
import trio

import am2z.executor
from am2z.admission import Admission, Request
from am2z.context import Context
from am2z.errors import ProcessorNotFoundError
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.runtime import LocalRuntime
from am2z.processor import Processor
from am2z.result import ProcessorResult
from am2z.runtime import RuntimeMixin
from am2z.stats import QueueStats
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch


@mutant("input-state-returned", rule="EXE-001")
@contextmanager
def input_state_returned() -> Iterator[None]:
    """A successful result holds the state that was given."""
    succeed = Engine._succeed

    def give_back(self: Engine, execution: Execution, *rest: Any) -> ProcessorResult[Any]:
        result = succeed(self, execution, *rest)
        return msgspec.structs.replace(result, state=execution.request.given())

    with patch(Engine, "_succeed", give_back):
        yield


@contextmanager
def _not_found_leads_to(what: Any) -> Iterator[None]:
    execute = LocalRuntime.execute

    async def run(self: LocalRuntime, *args: Any) -> ProcessorResult[Any]:
        result = await execute(self, *args)
        if isinstance(result.error, ProcessorNotFoundError):
            await what(result.error)
        return result

    with patch(LocalRuntime, "execute", run):
        yield


@mutant("not-found-raised", rule="EXE-002")
@contextmanager
def not_found_raised() -> Iterator[None]:
    """``execute()`` raises where nobody serves the processor."""

    async def throw(error: Exception) -> None:
        raise error

    with _not_found_leads_to(throw):
        yield


@mutant("not-found-waits", rule="EXE-002")
@contextmanager
def not_found_waits() -> Iterator[None]:
    """``execute()`` waits for somebody to serve the processor."""

    async def wait(_: Exception) -> None:
        await trio.sleep_forever()

    with _not_found_leads_to(wait):
        yield


def _pairs(processor: Any, states: Any) -> list[tuple[Any, Any]]:
    if isinstance(processor, Processor | str):
        return [(processor, state) for state in states]
    return list(processor)


@mutant("execute-many-in-sequence", rule="EXE-003")
@contextmanager
def execute_many_in_sequence() -> Iterator[None]:
    """``execute_many()`` runs one after the other."""

    async def run(
        self: RuntimeMixin, processor: Any, states: Any = None, session_id: str | None = None
    ) -> list[ProcessorResult[Any]]:
        pairs = _pairs(processor, states)
        return [await self.execute(ref, state, session_id) for ref, state in pairs]

    with patch(RuntimeMixin, "execute_many", run):
        yield


@mutant("results-in-order-of-completion", rule="EXE-004")
@contextmanager
def results_in_order_of_completion() -> Iterator[None]:
    """``execute_many()`` gives the results as they come."""

    async def run(
        self: RuntimeMixin, processor: Any, states: Any = None, session_id: str | None = None
    ) -> list[ProcessorResult[Any]]:
        results: list[ProcessorResult[Any]] = []

        async def one(ref: Any, state: Any) -> None:
            results.append(await self.execute(ref, state, session_id))

        async with trio.open_nursery() as nursery:
            for ref, state in _pairs(processor, states):
                nursery.start_soon(one, ref, state)
        return results

    with patch(RuntimeMixin, "execute_many", run):
        yield


@mutant("one-failure-cancels-all", rule="EXE-005")
@contextmanager
def one_failure_cancels_all() -> Iterator[None]:
    """``execute_many()`` gives up with the first failure."""
    with edit(
        RuntimeMixin,
        "execute_many",
        "results[index] = await self.execute(ref, state, session_id)",
        "results[index] = await self.execute(ref, state, session_id); "
        "results[index].success or nursery.cancel_scope.cancel()",
    ):
        yield


@mutant("call-loses-session", rule="EXE-009")
@contextmanager
def call_loses_session() -> Iterator[None]:
    """A nested call runs in a session of its own."""
    admit = Admission.admit_child

    def lose(self: Admission, *args: Any, **options: Any) -> Request[Any]:
        request = admit(self, *args, **options)
        request.session_id, request.is_named = request.execution_id, False
        return request

    with patch(Admission, "admit_child", lose):
        yield


@mutant("call-depth-counted-twice", rule="EXE-009")
@contextmanager
def call_depth_counted_twice() -> Iterator[None]:
    """Each call makes its child two deeper."""
    make = Engine._context

    def count(self: Engine, execution: Execution) -> Context:
        ctx = make(self, execution)
        ctx.call_depth += ctx.call_depth > 0
        return ctx

    with patch(Engine, "_context", count):
        yield


@mutant("timeout-ignored", rule="EXE-010")
@contextmanager
def timeout_ignored() -> Iterator[None]:
    """A processor may take as long as it likes."""
    make = Engine._context

    def forget(self: Engine, execution: Execution) -> Context:
        ctx = make(self, execution)
        ctx.deadline = execution.deadline
        return ctx

    with patch(Engine, "_context", forget):
        yield


@mutant("timeout-does-not-cancel", rule="EXE-010")
@contextmanager
def timeout_does_not_cancel() -> Iterator[None]:
    """A caller is told of the timeout, and the processor goes on unseen."""
    call = am2z.executor._call

    async def leave_behind(processor: Any, state: Any, ctx: Context) -> Any:
        answer: outcomes.Outcome[Any] | None = None
        done, scope = trio.Event(), trio.CancelScope()

        async def run() -> None:
            nonlocal answer
            with scope:
                answer = await outcomes.acapture(call, processor, state, ctx)
            done.set()

        trio.lowlevel.spawn_system_task(run)
        try:
            await done.wait()
        except trio.Cancelled:
            if trio.current_time() < ctx.deadline:
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await done.wait()
            raise
        assert answer is not None
        return answer.unwrap()

    with patch(am2z.executor, "_call", leave_behind):
        yield


@contextmanager
def _stats_told_as(change: Any) -> Iterator[None]:
    queue_stats = LocalRuntime.queue_stats

    async def tell(self: LocalRuntime) -> dict[str, QueueStats]:
        found = await queue_stats(self)
        return {name: change(name, stats) for name, stats in found.items()}

    with patch(LocalRuntime, "queue_stats", tell):
        yield


@mutant("stats-never-decrease", rule="EXE-011")
@contextmanager
def stats_never_decrease() -> Iterator[None]:
    """An execution that begins is not taken from the number of those that wait."""
    most: dict[str, int] = {}

    def keep(name: str, stats: QueueStats) -> QueueStats:
        most[name] = max(stats.waiting, most.get(name, 0))
        return msgspec.structs.replace(stats, waiting=most[name])

    with _stats_told_as(keep):
        yield


@mutant("waiting-counted-as-active", rule="EXE-011")
@contextmanager
def waiting_counted_as_active() -> Iterator[None]:
    """An execution counts as active from its acceptance on."""

    def count(_: str, stats: QueueStats) -> QueueStats:
        active = stats.active + stats.waiting
        return msgspec.structs.replace(stats, waiting=0, active=active)

    with _stats_told_as(count):
        yield


@mutant("results-mixed-up", rule="EXE-012")
@contextmanager
def results_mixed_up() -> Iterator[None]:
    """The result is kept in one place, and read a moment after it was put there."""
    execute = LocalRuntime.execute
    latest: list[Any] = []

    async def mix_up(self: LocalRuntime, *args: Any) -> ProcessorResult[Any]:
        latest[:] = [await execute(self, *args)]
        await trio.lowlevel.checkpoint()
        result: ProcessorResult[Any] = latest[0]
        return result

    with patch(LocalRuntime, "execute", mix_up):
        yield
