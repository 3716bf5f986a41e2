"""A runtime in front of another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from am2z.capabilities import Capability
from am2z.context import Delivery
from am2z.dead import DeadLetters
from am2z.events import Event
from am2z.processor import Processor
from am2z.resources import ResourceMonitor
from am2z.runtime import (
    EventHandler,
    ExecutionHandle,
    Lock,
    ProcessorRef,
    Runtime,
    RuntimeMixin,
)
from am2z.state import StateManager, StateT
from am2z.stats import QueueStats, RuntimeStats

__all__ = ["ForwardingRuntime"]


class _Inner(Runtime, Protocol):
    @property
    def resources(self) -> ResourceMonitor: ...


class ForwardingRuntime(RuntimeMixin):
    """Hands everything on to ``inner``; a subclass writes what it does otherwise. ::

    class LoudRuntime(ForwardingRuntime):
        async def submit(self, processor, state, session_id=None, **options):
            print("somebody wants", processor)
            return await super().submit(processor, state, session_id, **options)

    async with LoudRuntime(LocalRuntime()).register(price) as runtime: ...

    Every execution that a caller asks for comes through ``submit``.
    """

    def __init__(self, inner: _Inner) -> None:
        self.inner = inner

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See ``RuntimeCore.capabilities``. A subclass may say its own."""
        return self.inner.capabilities

    @property
    def resources(self) -> ResourceMonitor:
        """The monitor of the runtime behind."""
        return self.inner.resources

    # --- life

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self.inner.__aexit__(exc_type, exc, traceback)

    @property
    def is_started(self) -> bool:
        """See ``RuntimeCore.is_started``."""
        return self.inner.is_started

    async def start(self) -> None:
        """See ``RuntimeCore.start``."""
        await self.inner.start()

    async def stop(self) -> None:
        """See ``RuntimeCore.stop``."""
        await self.inner.stop()

    # --- processors and work

    def register(self, *processors: Processor[Any]) -> Self:
        """See ``RuntimeCore.register``."""
        self.inner.register(*processors)
        return self

    def unregister(self, name: str) -> bool:
        """See ``RuntimeCore.unregister``."""
        return self.inner.unregister(name)

    def list_processors(self) -> list[str]:
        """See ``RuntimeCore.list_processors``."""
        return self.inner.list_processors()

    async def sync_processors(self) -> None:
        """See ``RuntimeCore.sync_processors``."""
        await self.inner.sync_processors()

    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> ExecutionHandle[StateT]:
        """See ``RuntimeCore.submit``."""
        return await self.inner.submit(
            processor, state, session_id, execution_id=execution_id, delay=delay, at=at
        )

    @property
    def dead(self) -> DeadLetters:
        """See ``RuntimeCore.dead``."""
        return self.inner.dead

    # --- sessions, states, numbers, locks

    @property
    def state(self) -> StateManager:
        """See ``RuntimeCore.state``."""
        return self.inner.state

    async def active_sessions(self) -> list[str]:
        """See ``RuntimeCore.active_sessions``."""
        return await self.inner.active_sessions()

    async def stop_session(self, session_id: str) -> None:
        """See ``RuntimeCore.stop_session``."""
        await self.inner.stop_session(session_id)

    async def clean_session(self, session_id: str) -> None:
        """See ``RuntimeCore.clean_session``."""
        await self.inner.clean_session(session_id)

    async def stats(self) -> RuntimeStats:
        """See ``RuntimeCore.stats``."""
        return await self.inner.stats()

    async def queue_stats(self) -> dict[str, QueueStats]:
        """See ``RuntimeCore.queue_stats``."""
        return await self.inner.queue_stats()

    async def session_stats(self, session_id: str) -> dict[str, QueueStats]:
        """See ``RuntimeCore.session_stats``."""
        return await self.inner.session_stats(session_id)

    def lock(self, name: str, *, ttl: float = 30.0) -> AbstractAsyncContextManager[Lock]:
        """See ``RuntimeCore.lock``."""
        return self.inner.lock(name, ttl=ttl)

    # --- events

    def on(self, event_type: str, handler: EventHandler) -> None:
        """See ``RuntimeCore.on``."""
        self.inner.on(event_type, handler)

    def off(self, event_type: str, handler: EventHandler) -> None:
        """See ``RuntimeCore.off``."""
        self.inner.off(event_type, handler)

    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> Delivery:
        """See ``RuntimeCore.emit``."""
        return self.inner.emit(event, data)

    def subscribe(self, *patterns: str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """See ``RuntimeCore.subscribe``."""
        return self.inner.subscribe(*patterns)
