"""What both runtimes are made of: the life of a runtime, its registry, events and admission."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

import msgspec
import trio

from am2z.admission import Admission
from am2z.bus import EventBus
from am2z.capabilities import Capability
from am2z.config import RuntimeConfig
from am2z.context import Delivery, check_event_data, check_event_name
from am2z.errors import (
    AM2ZError,
    ConfigurationError,
    RuntimeNotStartedError,
)
from am2z.events import Event, EventType
from am2z.executor import unwrapped
from am2z.ids import check_name
from am2z.locks import LockBackend
from am2z.policy import check_duration
from am2z.processor import Processor
from am2z.registry import Registry
from am2z.resources import ResourceLimits, ResourceMonitor
from am2z.runtime import EventHandler, Lock, RuntimeMixin

__all__ = ["BaseRuntime"]


NOT_STARTED = (
    "the runtime is not started; use it inside `async with runtime:`, and after stop() call "
    "start() again"
)


class BaseRuntime(RuntimeMixin):
    """A runtime without its engine: a subclass says how executions get done."""

    component: ClassVar[str]
    capabilities: frozenset[Capability] = frozenset()

    def __init__(
        self,
        *,
        config: RuntimeConfig | None = None,
        limits: ResourceLimits | None = None,
    ) -> None:
        self.config = _checked(config, RuntimeConfig)
        self.limits = _checked(limits, ResourceLimits)
        self.resources = ResourceMonitor(self.limits, on_warning=self._warn_of_resource)
        self._log = logging.getLogger(f"am2z.{self.component}")
        self._registry = Registry()
        self._admission = Admission(self._registry, self.config.max_payload_bytes)
        self._bus = EventBus()
        # Where a lock lives, by its name; the engine's, while there is one.
        self._locks: Callable[[str], LockBackend] | None = None
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._lock = trio.Lock()
        self._accepting = False
        self._started_at = 0.0
        self._stop_requested = trio.Event()
        self._engine_done = trio.Event()
        self._engine_done.set()

    # --- the life of a runtime

    async def __aenter__(self) -> Self:
        if self._manager is not None:
            raise ConfigurationError("this runtime is entered already; make a second one instead")
        manager = trio.open_nursery()
        self._nursery = await manager.__aenter__()
        self._manager = manager
        try:
            await self.start()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                await self.stop()
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """End every task of this runtime at once; an error of one of them comes out here."""
        self._accepting = False
        manager, nursery = self._manager, self._nursery
        if manager is None or nursery is None:
            return
        nursery.cancel_scope.cancel()
        try:
            # The exception of the block stays what it is: it is not ours to wrap in a group.
            await manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            raise unwrapped(group) from None
        finally:
            self._manager = self._nursery = None
            self._bus.close()

    @property
    def is_started(self) -> bool:
        """Whether the runtime takes work."""
        return self._accepting

    async def start(self) -> None:
        """See ``RuntimeCore.start``."""
        if self._nursery is None:
            raise RuntimeNotStartedError(
                "a runtime lives inside a block; write `async with runtime:` around this"
            )
        async with self._lock:
            if self._accepting:
                return
            await self._engine_done.wait()  # a stop() that was cancelled is not over yet
            self._stop_requested, self._engine_done = trio.Event(), trio.Event()
            self.resources.reset()
            try:
                await self._nursery.start(self._live)
            except BaseExceptionGroup as group:
                raise unwrapped(group) from None
            self._accepting = True
            self._started_at = trio.current_time()
            self._publish_runtime_event(EventType.RUNTIME_STARTED, {})

    async def stop(self) -> None:
        """See ``RuntimeCore.stop``."""
        async with self._lock:
            self._accepting = False
            self._stop_requested.set()
            await self._engine_done.wait()

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        """One life of the engine, from a start to the stop that follows."""
        try:
            async with self._engine(), trio.open_nursery() as nursery:
                nursery.start_soon(self._end_idle_sessions)
                if self.config.metrics_interval is not None:
                    nursery.start_soon(self._collect_metrics, self.config.metrics_interval)
                task_status.started()
                await self._stop_requested.wait()
                await self._drain()
                self._publish_runtime_event(EventType.RUNTIME_STOPPED, {})
                nursery.cancel_scope.cancel()
        finally:
            self._accepting = False
            self._engine_done.set()

    @abstractmethod
    def _engine(self) -> AbstractAsyncContextManager[None]:
        """The tasks and connections that do the work, for as long as the runtime is started."""

    @abstractmethod
    async def _drain(self) -> None:
        """Wait ``shutdown_grace`` for what runs, then cancel it and answer who is left."""

    # --- processors

    def register(self, *processors: Processor[Any]) -> Self:
        """See ``RuntimeCore.register``."""
        self._registry.register(processors)
        return self

    def unregister(self, name: str) -> bool:
        """See ``RuntimeCore.unregister``."""
        return self._registry.unregister(name)

    def list_processors(self) -> list[str]:
        """The names of the registered processors, sorted."""
        return self._registry.names()

    # --- events

    def on(self, event_type: str, handler: EventHandler) -> None:
        """See ``RuntimeCore.on``."""
        self._bus.on(event_type, handler)
        self._listen()

    def off(self, event_type: str, handler: EventHandler) -> None:
        """See ``RuntimeCore.off``."""
        self._bus.off(event_type, handler)

    @asynccontextmanager
    async def subscribe(self, *patterns: str) -> AsyncIterator[AsyncIterator[Event]]:
        """See ``RuntimeCore.subscribe``."""
        with self._bus.subscribe(patterns) as subscription:
            self._listen()
            await self._listening()
            yield subscription

    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> Delivery:
        """See ``RuntimeCore.emit``."""
        check_event_name(event)
        if self._engine_done.is_set():  # not `_require_started`: what runs on in a drain may emit
            self._require_started()
        return self._publish_runtime_event(event, check_event_data(data))

    @property
    def emitter(self) -> Self:
        """This runtime, as its processors see it (``ctx.runtime``)."""
        return self

    @abstractmethod
    def _publish_runtime_event(self, event: str, data: Mapping[str, Any]) -> Delivery:
        """Publish an event that belongs to no execution."""

    def _listen(self) -> None:
        """Somebody wants events: see that they arrive. A no-op where they are born here."""

    async def _listening(self) -> None:
        """Return once every later event will arrive."""
        await trio.lowlevel.checkpoint()

    def _warn_of_resource(self, resource: str, share: float, threshold: float) -> None:
        if self._accepting:
            self._publish_runtime_event(
                EventType.RESOURCE_WARNING,
                {"resource": resource, "percentage": share, "threshold": threshold},
            )

    # --- locks

    def lock(self, name: str, *, ttl: float = 30.0) -> AbstractAsyncContextManager[Lock]:
        """See ``RuntimeCore.lock``."""
        check_name(name, "lock")
        check_duration("ttl", ttl)
        if self._locks is None:  # not `_require_started`: what runs on in a drain may need locks
            raise RuntimeNotStartedError(NOT_STARTED)
        return self._locks(name).hold(name, ttl)

    # --- housekeeping

    def _require_started(self) -> None:
        if not self._accepting:
            raise RuntimeNotStartedError(NOT_STARTED)

    @property
    def _uptime(self) -> float:
        return trio.current_time() - self._started_at if self._accepting else 0.0

    async def _collect_metrics(self, interval: float) -> None:
        while True:
            await trio.sleep(interval)
            with self._surviving("metrics could not be collected"):
                stats = msgspec.to_builtins(await self.stats())
                queues = msgspec.to_builtins(await self.queue_stats())
                told = {**stats, "queues": queues}
                self._publish_runtime_event(EventType.METRICS_COLLECTED, told)

    async def _end_idle_sessions(self) -> None:
        """Stop the sessions that nobody used for longer than their TTL."""
        pause = min(max(self.limits.session_ttl / 4, 0.05), 30.0)
        while True:
            await trio.sleep(pause)
            with self._surviving("idle sessions could not be stopped"):
                for session_id in await self._idle_sessions():
                    await self.stop_session(session_id)

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Housekeeping goes on when it fails once, and rests while the runtime stops."""
        try:
            yield
        except RuntimeNotStartedError:
            pass
        except AM2ZError as error:
            self._log.warning("%s: %s", what, error)

    @abstractmethod
    async def _idle_sessions(self) -> list[str]:
        """The sessions that nobody used for longer than ``limits.session_ttl``."""


def _checked(value: Any, cls: type[Any]) -> Any:
    if value is None:
        return cls()
    if not isinstance(value, cls):
        raise ConfigurationError(f"{value!r} is not a {cls.__name__}")
    return value
