"""Mutants that break one clause of what the documentation says in passing, of any group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

from am2z import bus, codec, context
from am2z.base import BaseRuntime
from am2z.bus import EventBus
from am2z.events import Event
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


# --- events


@mutant("leaving-handler-hides-the-event", rule="EVT-027")
@contextmanager
def leaving_handler_hides_the_event() -> Iterator[None]:
    """A handler that leaves while it is called hides the event from the next one."""

    def publish(self: EventBus, event: Event) -> None:
        for pattern, handlers in list(self._handlers.items()):
            if fnmatchcase(event.type, pattern):
                for handler in handlers:
                    handler(event)
        for subscription in self._subscriptions:
            if subscription.matches(event.type):
                subscription.put(event)

    with patch(EventBus, "publish", publish):
        yield


@mutant("late-handler-gets-old-events", rule="EVT-006")
@contextmanager
def late_handler_gets_old_events() -> Iterator[None]:
    """Events that came before a handler are handed to it when it comes."""
    right, on = EventBus.publish, EventBus.on
    kept: dict[EventBus, list[Event]] = {}

    def publish(self: EventBus, event: Event) -> None:
        kept.setdefault(self, []).append(event)
        right(self, event)

    def catch_up(self: EventBus, pattern: str, handler: bus.EventHandler) -> None:
        on(self, pattern, handler)
        for event in kept.get(self, []):
            if fnmatchcase(event.type, pattern):
                handler(event)

    with patch(EventBus, "publish", publish), patch(EventBus, "on", catch_up):
        yield


@mutant("async-handler-accepted", rule="EVT-007")
@contextmanager
def async_handler_accepted() -> Iterator[None]:
    """An async function may be a handler, though nobody ever awaits it."""
    with edit(EventBus, "on", "if inspect.iscoroutinefunction(handler):", "if False:"):
        yield


@mutant("event-for-each-pattern", rule="EVT-014")
@contextmanager
def event_for_each_pattern() -> Iterator[None]:
    """A subscription has an event once for each of its patterns that matches."""
    right = "[sub.put for sub in self._subscriptions if sub.matches(event_type)]"
    wrong = (
        "[sub.put for sub in self._subscriptions for pattern in sub._patterns "
        "if fnmatchcase(event_type, pattern)]"
    )
    with edit(EventBus, "_find", right, wrong):
        yield


@mutant("metrics-without-queues", rule="EVT-005")
@contextmanager
def metrics_without_queues() -> Iterator[None]:
    """metrics:collected says nothing of single queues."""
    with edit(BaseRuntime, "_collect_metrics", '{**stats, "queues": queues}', "stats"):
        yield


@mutant("events-of-any-size", rule="EVT-018")
@contextmanager
def events_of_any_size() -> Iterator[None]:
    """The data of an event may be as large as you please."""
    with patch(codec, "MAX_EVENT_BYTES", 1 << 30):
        yield


@mutant("event-limit-too-low", rule="EVT-018")
@contextmanager
def event_limit_too_low() -> Iterator[None]:
    """The data of an event may be 60,000 bytes, not 64 KB."""
    with patch(codec, "MAX_EVENT_BYTES", 60_000):
        yield


@mutant("some-prefixes-are-free", rule="EVT-019")
@contextmanager
def some_prefixes_are_free() -> Iterator[None]:
    """Of the runtime's own prefixes those of its work are kept, and not the other ones."""
    with patch(context, "_RESERVED", ("processor:", "queue:", "session:")):
        yield


@mutant("prefix-without-its-colon", rule="EVT-019")
@contextmanager
def prefix_without_its_colon() -> Iterator[None]:
    """Every name that begins with the word of a prefix is refused."""
    with patch(context, "_RESERVED", tuple(one[:-1] for one in context._RESERVED)):
        yield
