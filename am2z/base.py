"""What both runtimes are made of: the life of a runtime, its registry, events and admission."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Generic, Self

import msgspec
import trio

from am2z.bus import EventBus
from am2z.capabilities import Capability
from am2z.codec import decode_state, encode_state
from am2z.config import RuntimeConfig
from am2z.context import Context, Delivery, check_event_data, check_event_name
from am2z.errors import (
    AM2ZError,
    CallDepthExceededError,
    ConfigurationError,
    RuntimeNotStartedError,
    SessionStoppedError,
    ValidationError,
)
from am2z.events import Event, EventType
from am2z.ids import check_name, new_id
from am2z.processor import Processor
from am2z.registry import Registry
from am2z.resources import ResourceLimits, ResourceMonitor
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.runtime import EventHandler, ProcessorRef, RuntimeMixin
from am2z.state import AppState, StateT

__all__ = ["BaseRuntime", "Request"]


class Request(Generic[StateT]):
    """An execution that a caller asked for, checked and encoded."""

    __slots__ = ("data", "execution_id", "is_named", "name", "session_id", "state")

    def __init__(
        self, name: str, state: StateT, data: bytes, execution_id: str, session_id: str | None
    ) -> None:
        self.name = name
        self.state = state
        self.data = data
        self.execution_id = execution_id
        self.is_named = session_id is not None
        self.session_id = session_id if session_id is not None else execution_id

    def given(self) -> StateT:
        """A copy of the state as it was given."""
        return decode_state(type(self.state), self.data)


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
        self._bus = EventBus()
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._lock = trio.Lock()
        self._accepting = False
        self._started_at = 0.0
        self._stop_requested = trio.Event()
        self._engine_done = trio.Event()

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
            if not self._accepting:
                return
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

    # --- admission

    def _require_started(self) -> None:
        if not self._accepting:
            raise RuntimeNotStartedError(
                "the runtime is not started; use it inside `async with runtime:`, and after stop() "
                "call start() again"
            )

    def _admit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None,
    ) -> Request[StateT]:
        """Check what a caller asked for; raises for a caller's mistakes."""
        name = processor.name if isinstance(processor, Processor) else processor
        check_name(name, "processor")
        if session_id is not None:
            check_name(session_id, "session")
        known = self._registry.find(name)
        if (
            known is not None
            and isinstance(state, AppState)
            and not isinstance(state, known.state_type)
        ):
            raise ValidationError(
                "state",
                f"is a {type(state).__qualname__}, but processor {name!r} takes a "
                f"{known.state_type.__qualname__}",
            )
        execution_id = new_id()
        state = in_session(state, session_id if session_id is not None else execution_id)
        data = encode_state(state, self.config.max_payload_bytes)
        decode_state(type(state), data)  # what cannot be read back is the caller's mistake too
        return Request(name, state, data, execution_id, session_id)

    def admit_child(
        self, ctx: Context, name: str, state: StateT, *, is_named: bool
    ) -> Request[StateT]:
        """The request of a nested call; its id comes from its parent's, the same each time."""
        request = self._admit(name, state, ctx.session_id)
        request.execution_id = f"{ctx.execution_id}{ctx.next_call()}"
        request.is_named = is_named
        return request

    # --- housekeeping

    @property
    def _uptime(self) -> float:
        return trio.current_time() - self._started_at if self._accepting else 0.0

    async def _collect_metrics(self, interval: float) -> None:
        while True:
            await trio.sleep(interval)
            stats = msgspec.to_builtins(await self.stats())
            queues = msgspec.to_builtins(await self.queue_stats())
            self._publish_runtime_event(EventType.METRICS_COLLECTED, {**stats, "queues": queues})

    async def _end_idle_sessions(self) -> None:
        """Stop the sessions that nobody used for longer than their TTL."""
        pause = min(max(self.limits.session_ttl / 4, 0.05), 30.0)
        while True:
            await trio.sleep(pause)
            for session_id in await self._idle_sessions():
                await self.stop_session(session_id)

    @abstractmethod
    async def _idle_sessions(self) -> list[str]:
        """The sessions that nobody used for longer than ``limits.session_ttl``."""


def in_session(state: StateT, session_id: str) -> StateT:
    """``state`` as it enters a session: its metadata name the session."""
    if not isinstance(state, AppState) or state.metadata.session_id == session_id:
        return state  # what is no state is refused where it is encoded
    metadata = msgspec.structs.replace(state.metadata, session_id=session_id)
    return msgspec.structs.replace(state, metadata=metadata)


def _checked(value: Any, cls: type[Any]) -> Any:
    if value is None:
        return cls()
    if not isinstance(value, cls):
        raise ConfigurationError(f"{value!r} is not a {cls.__name__}")
    return value


def wall_clock() -> float:
    """Seconds since the epoch, for what people read. Durations come from trio's clock."""
    return time.time()


def session_stopped(session_id: str) -> SessionStoppedError:
    """The error of work in a stopped session."""
    return SessionStoppedError(
        f"session {session_id!r} was stopped; call clean_session({session_id!r}) to use it again",
        context={"session_id": session_id},
    )


def refusal(request: Request[StateT], error: AM2ZError) -> ProcessorResult[StateT]:
    """The result of work that never began."""
    return ProcessorResult(
        success=False,
        state=request.given(),
        error=error,
        metadata=ExecutionMetadata(
            processor_name=request.name,
            execution_id=request.execution_id,
            session_id=request.session_id,
        ),
    )


def unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The only exception in a group, or the group: a nursery wraps even a single error."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def call_too_deep(name: str, limit: int) -> CallDepthExceededError:
    """The error of a nested call beyond ``max_call_depth``."""
    return CallDepthExceededError(
        f"calling {name!r} would be nested deeper than max_call_depth={limit}; look for processors "
        "that call each other in a circle, or raise the limit in RuntimeConfig",
        context={"max_call_depth": limit},
    )
