"""Collects a runtime's events, so that a test can look at them and wait for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Self

import trio

from am2z import Event, Runtime
from harness.scale import scaled

__all__ = ["TestEventCollector"]


class TestEventCollector:
    """Remembers the events of a runtime.

    As a context manager it collects everything from entry to exit. ::

        with TestEventCollector(runtime) as events:
            await runtime.execute(price, Order())
            await events.wait_for_event("processor:completed")
    """

    __test__ = False  # pytest collects classes of this name otherwise

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._patterns: list[str] = []
        self._events: list[Event] = []
        self._changed = trio.Event()

    def start(self, *types: str | Iterable[str]) -> Self:
        """Collect events of these types or shell-style patterns from now on; all without any."""
        patterns = [p for given in types for p in ([given] if isinstance(given, str) else given)]
        for pattern in patterns or ["*"]:
            if pattern not in self._patterns:
                self._patterns.append(pattern)
                self._runtime.on(pattern, self._take)
        return self

    def stop(self) -> None:
        """Collect no more; what was collected stays."""
        for pattern in self._patterns:
            self._runtime.off(pattern, self._take)
        self._patterns.clear()

    def events(self, type: str | None = None) -> list[Event]:  # noqa: A002 - the contract's name
        """What came so far, oldest first; only of one type or pattern if given."""
        if type is None:
            return list(self._events)
        return [event for event in self._events if fnmatchcase(event.type, type)]

    def clear(self) -> None:
        """Forget what came so far."""
        self._events.clear()

    async def wait_for_event(
        self,
        type: str,  # noqa: A002 - the contract's name
        timeout: float = 5.0,
        *,
        count: int = 1,
    ) -> Event:
        """The first event of a type or pattern (or number ``count`` of them), also a past one.

        ``timeout`` is in seconds, times ``--am2z-timeout-scale``; past it a ``TimeoutError`` lists
        what did come.
        """
        limit = scaled(timeout)
        with trio.move_on_after(limit):
            while len(found := self.events(type)) < count:
                await self._changed.wait()
            await trio.lowlevel.checkpoint()
            return found[count - 1]
        # The last event may have come together with the end of the time.
        if len(found := self.events(type)) >= count:
            return found[count - 1]
        came = ", ".join(f"{n} x {t}" for t, n in Counter(e.type for e in self._events).items())
        wanted = f"{type!r}" if count == 1 else f"{count} of {type!r}"
        raise TimeoutError(f"waited {limit:g} s for {wanted}; what came: {came or 'nothing'}")

    def _take(self, event: Event) -> None:
        # Two of our patterns may match one event; it is one event all the same.
        if not any(event is known for known in self._events[-len(self._patterns) :]):
            self._events.append(event)
            self._changed.set()
            self._changed = trio.Event()

    def __enter__(self) -> Self:
        return self if self._patterns else self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
