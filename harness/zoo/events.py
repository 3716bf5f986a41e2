"""Mutants that tell something wrong in an event, or do not tell it (EVT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import trio

from am2z import context
from am2z.base import BaseRuntime
from am2z.clock import wall_clock
from am2z.codec import copy_event
from am2z.context import Context, Delivery
from am2z.errors import ExecutionTimeoutError, ValidationError
from am2z.events import Event, EventType
from am2z.local import engine
from am2z.local.engine import Engine
from am2z.queue.payload import Ending
from am2z.queue.run import Run
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


def _telling(
    change: Callable[[Any, str, dict[str, Any]], str | None],
) -> AbstractContextManager[None]:
    """Local executions tell ``change(execution, event, data)`` in place of an event, or nothing."""
    right = Engine._tell

    def tell(self: Engine, execution: Any, event: str, data: dict[str, Any]) -> None:
        told = change(execution, event, data)
        if told is not None:
            right(self, execution, told, data)

    return patch(Engine, "_tell", tell)


def _without(*missing: str) -> AbstractContextManager[None]:
    """Some types of events of an execution are never told."""
    return _telling(lambda _execution, event, _data: None if event in missing else event)


# --- events that are missing


@mutant("active-event-missing", rule="EVT-001")
@contextmanager
def active_event_missing() -> Iterator[None]:
    """Nobody is told that an attempt begins."""
    with _without(EventType.ACTIVE):
        yield


@mutant("retrying-event-missing", rule="EVT-020")
@contextmanager
def retrying_event_missing() -> Iterator[None]:
    """Nobody is told that an execution is tried again."""
    with _without(EventType.RETRYING):
        yield


@mutant("queue-event-missing", rule="EVT-003")
@contextmanager
def queue_event_missing() -> Iterator[None]:
    """A success is told for its processor only, and not for its queue."""
    with _without(EventType.QUEUE_COMPLETED):
        yield


@mutant("timeout-event-missing", rule="EVT-012")
@contextmanager
def timeout_event_missing() -> Iterator[None]:
    """An execution that timed out ends without a word."""

    def change(_execution: Any, event: str, data: dict[str, Any]) -> str | None:
        return None if isinstance(data.get("error"), ExecutionTimeoutError) else event

    with _telling(change):
        yield


@mutant("progress-dropped", rule="EVT-002")
@contextmanager
def progress_dropped() -> Iterator[None]:
    """Progress whose delivery the processor does not await is not told."""
    right = Engine.progress_from

    def progress_from(self: Engine, ctx: Context, percent: float) -> Delivery:
        async def deliver() -> None:
            await right(self, ctx, percent)

        return Delivery(deliver)

    with patch(Engine, "progress_from", progress_from):
        yield


@mutant("custom-event-dropped", rule="EVT-008")
@contextmanager
def custom_event_dropped() -> Iterator[None]:
    """A processor's own event whose delivery it does not await is not told."""
    right = Engine.emit_from

    def emit_from(self: Engine, ctx: Context, event: str, data: Any) -> Delivery:
        async def deliver() -> None:
            await right(self, ctx, event, data)

        return Delivery(deliver)

    with patch(Engine, "emit_from", emit_from):
        yield


@mutant("session-event-missing", rule="EVT-017")
@contextmanager
def session_event_missing() -> Iterator[None]:
    """Nobody is told that a session has come to be."""
    with edit(Engine, "begin", "if is_new:", "if False:"):
        yield


@mutant("dropped-work-not-told", rule="EVT-016")
@contextmanager
def dropped_work_not_told() -> Iterator[None]:
    """The end of work that never ran is not told."""
    wrong = "if execution.was_active:\n        self._tell(execution, EventType.QUEUE_FAILED, told)"
    with edit(Engine, "_fail", "self._tell(execution, EventType.QUEUE_FAILED, told)", wrong):
        yield


@mutant("metrics-never", rule="EVT-005")
@contextmanager
def metrics_never() -> Iterator[None]:
    """metrics_interval has no effect."""

    async def collect_metrics(*_: Any) -> None:
        await trio.sleep_forever()

    with patch(BaseRuntime, "_collect_metrics", collect_metrics):
        yield


@mutant("events-stay-in-the-worker", rule="EVT-021", base="queue")
@contextmanager
def events_stay_in_the_worker() -> Iterator[None]:
    """A processor's own events are told in the runtime that runs it, and nowhere else."""

    def emit_from(self: Run, ctx: Context, event: str, data: Any) -> Delivery:
        told = Event(
            type=event,
            execution_id=ctx.execution_id,
            session_id=ctx.session_id,
            processor_name=ctx.metadata.processor_name,
            time=wall_clock(),
            data=copy_event(data),
        )
        self.emitter._bus.publish(told)
        return Delivery(trio.lowlevel.checkpoint)

    with patch(Run, "emit_from", emit_from):
        yield


# --- events that say something wrong


@mutant("event-without-session", rule="EVT-001")
@contextmanager
def event_without_session() -> Iterator[None]:
    """The events of an execution do not say in which session it is."""
    with edit(Engine, "_tell", "request.session_id", '""'):
        yield


@mutant("event-of-wrong-session", rule="EVT-010")
@contextmanager
def event_of_wrong_session() -> Iterator[None]:
    """An event names the session of what runs for longest at the moment."""
    wrong = "next(iter(self.executions.values())).request.session_id"
    with edit(Engine, "_tell", "request.session_id", wrong):
        yield


@mutant("event-time-in-milliseconds", rule="EVT-001")
@contextmanager
def event_time_in_milliseconds() -> Iterator[None]:
    """The time of an event is in milliseconds."""
    with edit(Engine, "publish", "time=wall_clock()", "time=wall_clock() * 1000"):
        yield


@mutant("failure-told-as-success", rule="EVT-004")
@contextmanager
def failure_told_as_success() -> Iterator[None]:
    """The end of a failed execution is told as processor:completed."""
    with _telling(lambda _, event, __: EventType.COMPLETED if event == EventType.FAILED else event):
        yield


@mutant("event-error-as-text", rule="EVT-004")
@contextmanager
def event_error_as_text() -> Iterator[None]:
    """Events carry the text of an error in its place."""

    def change(_execution: Any, event: str, data: dict[str, Any]) -> str:
        if "error" in data:
            data["error"] = str(data["error"])
        return event

    with _telling(change):
        yield


@mutant("metrics-stale", rule="EVT-005")
@contextmanager
def metrics_stale() -> Iterator[None]:
    """The numbers of the first interval are told at every later one."""
    right = "stats = msgspec.to_builtins(await self.stats())"
    wrong = "stats = vars(self).setdefault('_first', msgspec.to_builtins(await self.stats()))"
    with edit(BaseRuntime, "_collect_metrics", right, wrong):
        yield


@mutant("custom-event-without-execution", rule="EVT-008")
@contextmanager
def custom_event_without_execution() -> Iterator[None]:
    """A processor's own event does not say which execution told it."""
    with edit(Engine, "emit_from", "event, request.execution_id,", 'event, "",'):
        yield


@mutant("dropped-work-told-as-run", rule="EVT-016")
@contextmanager
def dropped_work_told_as_run() -> Iterator[None]:
    """Work that never ran is told to have failed in its processor."""
    with edit(Engine, "_fail", "if execution.was_active:", "if True:"):
        yield


@mutant("event-data-by-reference", rule="EVT-018")
@contextmanager
def event_data_by_reference() -> Iterator[None]:
    """The data of an event are checked, and handed on as they are."""

    def look_at(data: Any) -> Any:
        copy_event(data)
        return data

    with patch(engine, "copy_event", look_at):
        yield


@mutant("bad-event-data-accepted", rule="EVT-018")
@contextmanager
def bad_event_data_accepted() -> Iterator[None]:
    """Data that cannot cross are handed on in this process."""

    def try_copy(data: Any) -> Any:
        try:
            return copy_event(data)
        except ValidationError:
            return dict(data)

    with patch(engine, "copy_event", try_copy):
        yield


@mutant("event-forged", rule="EVT-019")
@contextmanager
def event_forged() -> Iterator[None]:
    """Anybody may emit the runtime's own events."""
    with patch(context, "_RESERVED", ()):
        yield


@mutant("attempt-number-stuck", rule="EVT-020")
@contextmanager
def attempt_number_stuck() -> Iterator[None]:
    """Every attempt is told as the first."""
    with edit(Engine, "_tell", "= execution.attempt", "= 1"):
        yield


@mutant("retrying-with-first-error", rule="EVT-020")
@contextmanager
def retrying_with_first_error() -> Iterator[None]:
    """Every further attempt is announced with the error of the first."""
    first: dict[str, Any] = {}

    def change(execution: Any, event: str, data: dict[str, Any]) -> str:
        if event == EventType.RETRYING:
            data["error"] = first.setdefault(execution.request.execution_id, data["error"])
        return event

    with _telling(change):
        yield


@mutant("progress-not-kept", rule="EVT-022")
@contextmanager
def progress_not_kept() -> Iterator[None]:
    """Progress is told as an event, and forgotten."""
    with edit(Engine, "progress_from", "execution.progress = percent", "pass"):
        yield


@mutant("progress-lost-at-the-end", rule="EVT-022", base="queue")
@contextmanager
def progress_lost_at_the_end() -> Iterator[None]:
    """The end of an execution does not say how far it was."""
    right = Ending.of
    with patch(
        Ending, "of", lambda outcome, data, metadata, _: right(outcome, data, metadata, 0.0)
    ):
        yield
