"""Mutants that tell events wrongly, twice, too late or not at all (EVT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec
import trio

from am2z import bus, context
from am2z.base import BaseRuntime
from am2z.bus import EventBus, Subscription
from am2z.clock import wall_clock
from am2z.codec import copy_event
from am2z.context import Context, Delivery
from am2z.errors import ExecutionTimeoutError, ValidationError
from am2z.events import Event, EventType
from am2z.local import engine
from am2z.local.engine import Engine
from am2z.local.sessions import SessionTable
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


# --- events that come twice, too early or too late


@mutant("event-twice", rule="EVT-006")
@contextmanager
def event_twice() -> Iterator[None]:
    """Every event is handed on twice."""
    right = EventBus.publish

    def publish(self: EventBus, event: Event) -> None:
        right(self, event)
        right(self, msgspec.structs.replace(event))

    with patch(EventBus, "publish", publish):
        yield


@mutant("queue-event-for-each-attempt", rule="EVT-003")
@contextmanager
def queue_event_for_each_attempt() -> Iterator[None]:
    """Each failed attempt counts as a failure of the queue."""
    right = Engine._tell

    def tell(self: Engine, execution: Any, event: str, data: dict[str, Any]) -> None:
        if event == EventType.RETRYING:
            right(self, execution, EventType.QUEUE_FAILED, {"error": data["error"]})
        right(self, execution, event, data)

    with patch(Engine, "_tell", tell):
        yield


@mutant("event-reordered", rule="EVT-012")
@contextmanager
def event_reordered() -> Iterator[None]:
    """Progress is overtaken by the event that comes after it."""
    right, held = EventBus.publish, list[Event]()

    def publish(self: EventBus, event: Event) -> None:
        if event.type == EventType.PROGRESS and not held:
            held.append(event)
            return
        right(self, event)
        while held:
            right(self, held.pop())

    with patch(EventBus, "publish", publish):
        yield


@mutant("events-held-back", rule="EVT-011")
@contextmanager
def events_held_back() -> Iterator[None]:
    """The events of an execution are handed on together when it has ended."""
    right, held = EventBus.publish, dict[str, list[Event]]()

    def publish(self: EventBus, event: Event) -> None:
        story = held.setdefault(event.execution_id, [])
        story.append(event)
        if not event.execution_id or event.type.startswith("queue:"):
            for one in held.pop(event.execution_id):
                right(self, one)

    with patch(EventBus, "publish", publish):
        yield


@mutant("events-after-result", rule="EVT-015")
@contextmanager
def events_after_result() -> Iterator[None]:
    """Handlers are called in a while, for which no result waits."""
    right = EventBus.publish

    async def deliver(self: EventBus, event: Event) -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        right(self, event)

    def publish(self: EventBus, event: Event) -> None:
        trio.lowlevel.spawn_system_task(deliver, self, event)

    with patch(EventBus, "publish", publish):
        yield


@mutant("late-progress-after-end", rule="EVT-012")
@contextmanager
def late_progress_after_end() -> Iterator[None]:
    """A context goes on to tell when its attempt is over."""
    with patch(Context, "end", lambda _self: None):
        yield


@mutant("session-created-for-each-execution", rule="EVT-017")
@contextmanager
def session_created_for_each_execution() -> Iterator[None]:
    """Each execution in a session tells that it has come to be."""
    with edit(Engine, "begin", "if is_new:", "if True:"):
        yield


@mutant("session-stopped-twice", rule="EVT-017")
@contextmanager
def session_stopped_twice() -> Iterator[None]:
    """Each stop of a stopped session is told."""
    right = SessionTable.stop
    with patch(SessionTable, "stop", lambda self, session_id: (right(self, session_id)[0], True)):
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


# --- handlers and subscriptions


@mutant("last-handler-wins", rule="EVT-006")
@contextmanager
def last_handler_wins() -> Iterator[None]:
    """A handler takes the place of the one before it."""
    right = "self._handlers.setdefault(pattern, []).append(handler)"
    with edit(EventBus, "on", right, "self._handlers[pattern] = [handler]"):
        yield


@mutant("off-ignored", rule="EVT-007")
@contextmanager
def off_ignored() -> Iterator[None]:
    """A handler that was taken away is called all the same."""
    with patch(EventBus, "off", lambda *_: None):
        yield


@mutant("off-removes-all", rule="EVT-007")
@contextmanager
def off_removes_all() -> Iterator[None]:
    """off() takes every handler of the type away."""
    with edit(EventBus, "off", "handlers.remove(handler)", "handlers.clear()"):
        yield


_LOGS = '_log.exception("the handler %r of %r raised", handler, event.type)'


@mutant("handler-error-stops-delivery", rule="EVT-009")
@contextmanager
def handler_error_stops_delivery() -> Iterator[None]:
    """After a handler that raised no other gets the event."""
    with edit(EventBus, "publish", _LOGS, "return"):
        yield


@mutant("handler-error-fails-execution", rule="EVT-009")
@contextmanager
def handler_error_fails_execution() -> Iterator[None]:
    """What a handler raises comes out where the event was told."""
    with edit(EventBus, "publish", _LOGS, "raise"):
        yield


@mutant("patterns-are-prefixes", rule="EVT-013")
@contextmanager
def patterns_are_prefixes() -> Iterator[None]:
    """A pattern matches every type that begins like it."""
    with patch(bus, "fnmatchcase", lambda name, pattern: name.startswith(pattern.rstrip("*"))):
        yield


@mutant("patterns-ignore-case", rule="EVT-013")
@contextmanager
def patterns_ignore_case() -> Iterator[None]:
    """A pattern matches a type in capitals, too."""
    right = bus.fnmatchcase
    with patch(bus, "fnmatchcase", lambda name, pattern: right(name.lower(), pattern.lower())):
        yield


@mutant("subscriber-not-woken", rule="EVT-011")
@contextmanager
def subscriber_not_woken() -> Iterator[None]:
    """A subscriber that waits finds a new event when it looks again."""
    with edit(Subscription, "put", "self._arrived.unpark()", "pass"):
        yield


@mutant("subscription-never-ends", rule="EVT-014")
@contextmanager
def subscription_never_ends() -> Iterator[None]:
    """A runtime that is left leaves its subscribers waiting."""
    with patch(EventBus, "close", lambda _self: None):
        yield


@mutant("subscription-loses-its-tail", rule="EVT-014")
@contextmanager
def subscription_loses_its_tail() -> Iterator[None]:
    """What a subscriber has not read when its runtime is left, it never gets."""
    with edit(
        Subscription, "close", "self._closed = True", "self._closed = not self._events.clear()"
    ):
        yield
