"""Runtimes that do not start, stop or count as they should (LIF)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from am2z.admission import runtime_stopped
from am2z.base import BaseRuntime
from am2z.errors import RuntimeStoppedError
from am2z.events import EventType
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.handle import LocalHandle
from am2z.local.runtime import LocalRuntime
from am2z.queue.protocol import Protocol
from am2z.queue.run import Run
from am2z.result import ProcessorResult
from harness.zoo.mutant import mutant, patch


@mutant("config-ignored", rule="LIF-001")
@contextmanager
def config_ignored() -> Iterator[None]:
    """A runtime takes ``config``, and runs by the defaults."""
    made = LocalRuntime.__init__

    def make(self: LocalRuntime, *, config: Any = None, limits: Any = None) -> None:
        made(self, limits=limits)

    with patch(LocalRuntime, "__init__", make):
        yield


@mutant("works-after-stop", rule="LIF-002")
@contextmanager
def works_after_stop() -> Iterator[None]:
    """Nobody asks whether the runtime is started."""
    with patch(BaseRuntime, "_require_started", lambda self: None):
        yield


@mutant("second-start-doubles-workers", rule="LIF-003")
@contextmanager
def second_start_doubles_workers() -> Iterator[None]:
    """``start()`` of a started runtime adds as many slots again."""
    start = LocalRuntime.start

    async def start_again(self: LocalRuntime) -> None:
        if self.is_started:
            self._work.slots.total += self.config.concurrency
        await start(self)

    with patch(BaseRuntime, "start", start_again):
        yield


@mutant("start-announced-twice", rule="LIF-003")
@contextmanager
def start_announced_twice() -> Iterator[None]:
    """``start()`` of a started runtime emits ``runtime:started`` once more."""
    start = LocalRuntime.start

    async def start_again(self: LocalRuntime) -> None:
        if self.is_started:
            self._publish_runtime_event(EventType.RUNTIME_STARTED, {})
        await start(self)

    with patch(BaseRuntime, "start", start_again):
        yield


@mutant("failures-counted-as-completed", rule="LIF-004")
@contextmanager
def failures_counted_as_completed() -> Iterator[None]:
    """Whatever ends counts as completed."""
    fail = Engine._fail

    def count_wrongly(self: Engine, execution: Execution, *rest: Any) -> ProcessorResult[Any]:
        result = fail(self, execution, *rest)
        self.failed[execution.request.name] -= 1
        self.completed[execution.request.name] += 1
        return result

    with patch(Engine, "_fail", count_wrongly):
        yield


@mutant("stats-count-attempts", rule="LIF-004")
@contextmanager
def stats_count_attempts() -> Iterator[None]:
    """An attempt that is tried again counts as a failed execution."""
    tell = Engine._tell

    def count(self: Engine, execution: Execution, event: str, data: dict[str, Any]) -> None:
        self.failed[execution.request.name] += event == EventType.RETRYING
        tell(self, execution, event, data)

    with patch(Engine, "_tell", count):
        yield


@mutant("task-leak", rule="LIF-005")
@contextmanager
def task_leak() -> Iterator[None]:
    """What ``stop()`` has to cancel is handed to a task that nobody owns, and that never ends."""
    end_all = Engine.end_all

    def end(self: Engine) -> None:
        if self.executions:
            trio.lowlevel.spawn_system_task(trio.sleep_forever, name="left behind")
        end_all(self)

    with patch(Engine, "end_all", end):
        yield


@mutant("stop-does-not-wait", rule="LIF-005")
@contextmanager
def stop_does_not_wait() -> Iterator[None]:
    """``stop()`` cancels what runs, and returns before that has cleaned up."""

    async def drain(self: LocalRuntime) -> None:
        with trio.move_on_after(self.config.shutdown_grace):
            await self._work.wait_until_done()
        self._work.end_all()

    with patch(LocalRuntime, "_drain", drain):
        yield


@mutant("restart-forgets-processors", rule="LIF-006")
@contextmanager
def restart_forgets_processors() -> Iterator[None]:
    """``stop()`` clears the registry."""
    stop = BaseRuntime.stop

    async def stop_and_forget(self: BaseRuntime) -> None:
        await stop(self)
        self._registry._processors.clear()

    with patch(BaseRuntime, "stop", stop_and_forget):
        yield


@mutant("restart-is-dead", rule="LIF-006")
@contextmanager
def restart_is_dead() -> Iterator[None]:
    """A runtime that was stopped starts again without slots: what it takes waits for ever."""
    drain = LocalRuntime._drain

    async def close_slots(self: LocalRuntime) -> None:
        await drain(self)
        self._work.slots.total = 0

    with patch(LocalRuntime, "_drain", close_slots):
        yield


@mutant("stop-cancels-at-once", rule="LIF-007")
@contextmanager
def stop_cancels_at_once() -> Iterator[None]:
    """``stop()`` gives what runs no grace."""

    async def drain(self: LocalRuntime) -> None:
        self._work.end_all()
        await self._work.wait_until_done()

    with patch(LocalRuntime, "_drain", drain):
        yield


@mutant("waiter-dropped-on-stop", rule="LIF-008")
@contextmanager
def waiter_dropped_on_stop() -> Iterator[None]:
    """Whoever waits for work that ``stop()`` cancels is never answered."""
    resolve = LocalHandle.resolve

    def drop(self: LocalHandle[Any], result: ProcessorResult[Any]) -> None:
        is_orderly = sys.exc_info()[0] is None
        if not (is_orderly and isinstance(result.error, RuntimeStoppedError)):
            resolve(self, result)

    with patch(LocalHandle, "resolve", drop):
        yield


@mutant("delayed-waiter-dropped-on-stop", rule="LIF-008")
@contextmanager
def delayed_waiter_dropped_on_stop() -> Iterator[None]:
    """``stop()`` does not know of work that waits for its next attempt."""

    def end_all(self: Engine) -> None:
        for execution in list(self.executions.values()):
            if execution.phase != "delayed":
                execution.end_with(runtime_stopped(execution.request.name))

    with patch(Engine, "end_all", end_all):
        yield


@mutant("exception-waits-for-grace", rule="LIF-009")
@contextmanager
def exception_waits_for_grace() -> Iterator[None]:
    """Leaving the block by an exception is an orderly ``stop()``."""

    async def leave(self: BaseRuntime, *_: object) -> None:
        try:
            await self.stop()
        finally:
            await self._leave()

    with patch(BaseRuntime, "__aexit__", leave):
        yield


@mutant("waiter-dropped-on-crash", rule="LIF-010")
@contextmanager
def waiter_dropped_on_crash() -> Iterator[None]:
    """When the block fails, whoever waits outside of it is not answered."""
    resolve = LocalHandle.resolve

    def drop(self: LocalHandle[Any], result: ProcessorResult[Any]) -> None:
        is_crash = sys.exc_info()[0] is not None
        if not (is_crash and isinstance(result.error, RuntimeStoppedError)):
            resolve(self, result)

    with patch(LocalHandle, "resolve", drop):
        yield


@mutant("starts-without-owner", rule="LIF-011")
@contextmanager
def starts_without_owner() -> Iterator[None]:
    """``start()`` outside of the block says that all is well."""
    start = BaseRuntime.start

    async def start_anyway(self: BaseRuntime) -> None:
        if self._nursery is None:
            self._accepting = True
            await trio.lowlevel.checkpoint()
        else:
            await start(self)

    with patch(BaseRuntime, "start", start_anyway):
        yield


@mutant("shutdown-loses-work", rule="LIF-012", base="queue")
@contextmanager
def shutdown_loses_work() -> Iterator[None]:
    """A stopping worker keeps its claims to itself until their leases end."""

    async def keep(self: Run) -> None:
        await trio.lowlevel.checkpoint()

    with patch(Run, "_return", keep):
        yield


@mutant("shutdown-counts-an-attempt", rule="LIF-012", base="queue")
@contextmanager
def shutdown_counts_an_attempt() -> Iterator[None]:
    """A stopping worker gives its claims back as failed attempts."""
    nack = Protocol.nack

    async def count(self: Protocol, *args: Any, retry: bool, **options: Any) -> Any:
        return await nack(self, *args, retry=True, **options)

    with patch(Protocol, "nack", count):
        yield


@mutant("stop-drops-waiting-callers", rule="LIF-013")
@contextmanager
def stop_drops_waiting_callers() -> Iterator[None]:
    """``stop()`` lets what runs finish, and drops what has not begun."""
    drain = LocalRuntime._drain

    async def drop(self: LocalRuntime) -> None:
        for execution in list(self._work.executions.values()):
            if execution.phase == "waiting":
                execution.end_with(runtime_stopped(execution.request.name))
        await drain(self)

    with patch(LocalRuntime, "_drain", drop):
        yield
