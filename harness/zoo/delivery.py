"""Mutants that hand events on twice, too late, or to the wrong ones (EVT)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import trio

from am2z import bus
from am2z.bus import EventBus, Subscription
from am2z.context import Context
from am2z.events import Event, EventType
from am2z.local.engine import Engine
from am2z.local.sessions import SessionTable
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


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
