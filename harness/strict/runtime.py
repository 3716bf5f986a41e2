"""A runtime that does everything to processors that a runtime may do to them."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import trio
from trio.testing import MockClock

from am2z import (
    Context,
    Event,
    ExecutionHandle,
    LocalRuntime,
    Processor,
    ResourceLimits,
    RuntimeConfig,
)
from am2z.authoring import (
    EventBus,
    EventHandler,
    ForwardingRuntime,
    ProcessorRef,
    Registry,
    StateT,
)
from harness.strict.copies import entered
from harness.strict.deliveries import wrapped
from harness.strict.events import SlowEvents
from harness.strict.findings import Journal
from harness.strict.jumping import Jumper
from harness.strict.plans import Plan, any_of, once
from harness.strict.watch import Watch

__all__ = ["StrictRuntime"]


class StrictRuntime(ForwardingRuntime):
    """Legal, but hostile: for processors that are to work on any runtime.

    It is a ``LocalRuntime`` that delivers each execution as ``plan`` wants: again after it was
    done, cancelled half-way and begun anew, twice at the same time … What it finds out about the
    processors is in ``journal``. Events come late.
    """

    def __init__(
        self,
        *,
        config: RuntimeConfig | None = None,
        limits: ResourceLimits | None = None,
        seed: int = 0,
        plan: Plan | None = None,
        called: Plan | None = None,
        ignore: Collection[str] = (),
    ) -> None:
        super().__init__(LocalRuntime(config=config, limits=limits))
        self.rng = random.Random(seed)  # noqa: S311 - hostility is to be repeatable, not secret
        self.config = config or RuntimeConfig()
        self.ignore = ignore
        self.journal = Journal()
        self.jumper = Jumper()
        self.lines = Lines()
        self.watch = Watch()
        self.last_hostility = ""
        self.has_struck = False
        """Whether a hostility that waits for a certain checkpoint came to it."""
        self._plan = plan or any_of(self.rng)
        self._called = called or (once if plan is not None else self._plan)
        self._bus = EventBus()
        self._events = SlowEvents(self._bus, self.rng)
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._threshold: float | None = None
        self.inner.on("*", self._events.take)

    # --- for deliveries

    def plan_for(self, ctx: Context) -> Plan:
        """How an execution is delivered."""
        return self._called if ctx.call_depth else self._plan

    # --- life

    async def __aenter__(self) -> Self:
        manager = trio.open_nursery()
        self._nursery = await manager.__aenter__()
        self._manager = manager
        trio.lowlevel.add_instrument(self.watch)
        self._nursery.start_soon(self._events.run)
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, MockClock) and clock.autojump_threshold < math.inf:
            self._threshold, clock.autojump_threshold = clock.autojump_threshold, math.inf
            self._nursery.start_soon(self.jumper.run, clock)
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._manager is not None
        assert self._nursery is not None
        try:
            await self.inner.__aexit__(exc_type, exc, traceback)
        finally:
            self._events.flush()
            self._bus.close()
            trio.lowlevel.remove_instrument(self.watch)
            if self._threshold is not None:
                clock = trio.lowlevel.current_clock()
                assert isinstance(clock, MockClock)
                clock.autojump_threshold = self._threshold
            self._nursery.cancel_scope.cancel()
            await self._manager.__aexit__(None, None, None)

    # --- processors and work

    def register(self, *processors: Processor[Any]) -> Self:
        """See ``RuntimeCore.register``."""
        found = Registry()
        found.register(processors)
        self.inner.register(*(wrapped(processor, self) for processor in found.all()))
        return self

    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        **options: Any,
    ) -> ExecutionHandle[StateT]:
        """See ``RuntimeCore.submit``."""
        with entered(None):  # what a processor submits is no part of it
            return await self.inner.submit(processor, state, session_id, **options)

    # --- events

    def on(self, event_type: str, handler: EventHandler) -> None:
        """See ``RuntimeCore.on``."""
        self._bus.on(event_type, handler)

    def off(self, event_type: str, handler: EventHandler) -> None:
        """See ``RuntimeCore.off``."""
        self._bus.off(event_type, handler)

    @asynccontextmanager
    async def subscribe(self, *patterns: str) -> AsyncIterator[AsyncIterator[Event]]:
        """See ``RuntimeCore.subscribe``."""
        with self._bus.subscribe(patterns) as subscription:
            await trio.lowlevel.checkpoint()
            yield subscription


class Lines:
    """Executions of one processor in one session begin in the order in which they came."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], trio.Event] = {}

    async def wait(self, processor: str, session_id: str, begun: trio.Event, pause: float) -> None:
        """Wait so long, and until those before have begun; ``begun`` tells those behind."""
        key = (processor, session_id)
        before = self._last.get(key)
        self._last[key] = begun
        await trio.sleep(pause)
        if before is not None:
            await before.wait()
