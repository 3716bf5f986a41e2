"""Events inside one process: handlers, and subscriptions that are iterated."""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

import trio

from am2z.errors import ConfigurationError
from am2z.events import Event
from am2z.ids import check_name
from am2z.runtime import EventHandler

__all__ = ["EventBus", "Subscription"]

_log = logging.getLogger("am2z.events")

MAX_BUFFERED = 65_536
"""How many events wait for a slow subscriber before the oldest are dropped (with a warning)."""


class Subscription:
    """The events of some patterns, in order, as an async iterator."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._patterns = patterns
        self._events: deque[Event] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._closed = False
        self._dropped = 0

    def matches(self, event_type: str) -> bool:
        """Whether events of that type belong here."""
        return any(fnmatchcase(event_type, pattern) for pattern in self._patterns)

    def put(self, event: Event) -> None:
        """Take an event. A subscriber that is too slow loses its oldest ones, and a log says so."""
        if len(self._events) >= MAX_BUFFERED:
            self._events.popleft()
            self._dropped += 1
            if self._dropped == 1:
                _log.warning(
                    "a subscriber of %s is too slow; the oldest of its events are dropped",
                    ", ".join(self._patterns),
                )
        self._events.append(event)
        self._arrived.unpark()

    def close(self) -> None:
        """No more events will come; the iteration ends after those that are here."""
        self._closed = True
        self._arrived.unpark_all()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._events:
            if self._closed:
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise StopAsyncIteration
            await self._arrived.park()
        event = self._events.popleft()
        await trio.lowlevel.cancel_shielded_checkpoint()  # a full buffer must not hold up others
        return event


class EventBus:
    """Hands each event to the handlers and subscriptions whose patterns match its type."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[EventHandler]] = {}
        self._subscriptions: list[Subscription] = []
        self._receivers: dict[str, list[EventHandler]] = {}
        self.is_listening = False
        """Whether anybody wants events."""

    def wants(self, event_type: str) -> bool:
        """Whether anybody wants events of that type."""
        return bool(self._find(event_type)) if self.is_listening else False

    def _changed(self) -> None:
        """Somebody came or went. Kept rather than asked for: that happens seldom, events often."""
        self.is_listening = bool(self._handlers or self._subscriptions)
        self._receivers.clear()

    def on(self, pattern: str, handler: EventHandler) -> None:
        """Call ``handler`` with each matching event."""
        check_name(pattern, "event")
        if not callable(handler):
            raise ConfigurationError(f"{handler!r} is not a function of one event")
        if inspect.iscoroutinefunction(handler):
            raise ConfigurationError(
                f"{handler!r} is async, and a handler is a plain function of one event; "
                "use runtime.subscribe() to wait while handling events"
            )
        self._handlers.setdefault(pattern, []).append(handler)
        self._changed()

    def off(self, pattern: str, handler: EventHandler) -> None:
        """Undo one ``on``."""
        handlers = self._handlers.get(pattern, [])
        if handler in handlers:
            handlers.remove(handler)
        if not handlers:
            self._handlers.pop(pattern, None)
        self._changed()

    @contextmanager
    def subscribe(self, patterns: tuple[str, ...]) -> Iterator[Subscription]:
        """A subscription that lasts as long as the block."""
        for pattern in patterns:
            check_name(pattern, "event")
        subscription = Subscription(patterns or ("*",))
        self._subscriptions.append(subscription)
        self._changed()
        try:
            yield subscription
        finally:
            subscription.close()
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
            self._changed()

    def publish(self, event: Event) -> None:
        """Hand an event on. A handler that raises is logged and hurts nobody."""
        for handler in tuple(self._find(event.type)):
            try:
                handler(event)
            except Exception:
                _log.exception("the handler %r of %r raised", handler, event.type)

    def close(self) -> None:
        """End every subscription. Handlers stay: the runtime may start again."""
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions.clear()
        self._changed()

    def _find(self, event_type: str) -> list[EventHandler]:
        """Who receives a type. Remembered, because publishing is the hot path."""
        found = self._receivers.get(event_type)
        if found is None:
            found = [
                handler
                for pattern, handlers in self._handlers.items()
                if fnmatchcase(event_type, pattern)
                for handler in handlers
            ]
            found += [sub.put for sub in self._subscriptions if sub.matches(event_type)]
            if len(self._receivers) >= 1024:  # event names may come from data
                self._receivers.clear()
            self._receivers[event_type] = found
        return found
