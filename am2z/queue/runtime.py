"""The runtime that runs processors on many machines, through Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import trio

from am2z.base import BaseRuntime
from am2z.capabilities import Capability
from am2z.clock import wall_clock
from am2z.codec import copy_event
from am2z.config import RuntimeConfig
from am2z.context import Delivery
from am2z.errors import ConfigurationError
from am2z.events import Event
from am2z.ids import check_name, new_id
from am2z.processor import Processor
from am2z.queue.client import CredentialProvider, RedisClient, open_client, parse_url
from am2z.queue.dead import QueueDeadLetters
from am2z.queue.dispatch import Dispatch
from am2z.queue.handle import QueueHandle
from am2z.queue.inbox import Inbox
from am2z.queue.keys import Keys
from am2z.queue.leases import Leases
from am2z.queue.locks import QueueLocks
from am2z.queue.maintenance import Maintenance
from am2z.queue.node import FAREWELL, RECOVERABLE, Node, network_errors
from am2z.queue.outbox import Outbox
from am2z.queue.protocol import Protocol
from am2z.queue.state import RedisStateManager
from am2z.queue.stream import EventReader, pack_event
from am2z.queue.worker import Worker
from am2z.resources import ResourceLimits
from am2z.result import ProcessorResult
from am2z.runtime import ProcessorRef
from am2z.slots import Slots
from am2z.state import StateT
from am2z.stats import QueueStats, RuntimeStats

__all__ = ["QueueRuntime", "Role"]

Role = Literal["both", "client", "worker"]


class QueueRuntime(BaseRuntime):
    """Runs processors wherever a worker of the namespace serves them.

    ``role``: ``"client"`` only hands work over, ``"worker"`` and ``"both"`` also do it. The URL may
    be ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://``, ``redis+cluster://``, or
    ``fake://`` for an in-process fakeredis. ``credential_provider``, redis-py's, gives user and
    password instead of the URL and is asked anew for each connection.

    Entering it raises ``NetworkError`` within 2 seconds where the server cannot be reached, and
    ``ConfigurationError`` where it is too old or would evict work. ::

        async with QueueRuntime("redis://localhost:6379/0") as runtime:
            runtime.register(price)
            result = await runtime.execute(price, Order(items=["chair"]))
    """

    component: ClassVar[str] = "queue_runtime"
    capabilities = frozenset(
        {
            Capability.DURABLE,
            Capability.MULTI_WORKER,
            Capability.NAMESPACES,
            Capability.PRIORITY,
        }
    )

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379/0",
        *,
        namespace: str = "am2z",
        role: Role = "both",
        config: RuntimeConfig | None = None,
        limits: ResourceLimits | None = None,
        credential_provider: CredentialProvider | None = None,
    ) -> None:
        super().__init__(config=config, limits=limits)
        if role not in get_args(Role):
            raise ConfigurationError(f"role is {role!r}; give 'both', 'client' or 'worker'")
        if parse_url(redis_url).identified_by(credential_provider).is_fake:
            self.capabilities = self.capabilities - {Capability.DURABLE}  # it dies with the process
        self._keys = Keys(namespace)
        self._url = redis_url
        self._credential_provider = credential_provider
        self._role = role
        self._store = RedisStateManager(
            max_bytes=self.config.max_payload_bytes, ttl=self.config.state_ttl
        )
        self._parts: _Parts | None = None
        self._dead = QueueDeadLetters(lambda: self._running.node)

    @property
    def runtime_id(self) -> str | None:
        """What this runtime is called among the others of its namespace: new at each start."""
        return None if self._parts is None else self._parts.node.runtime_id

    @property
    def dead(self) -> QueueDeadLetters:
        """See ``RuntimeCore.dead``."""
        return self._dead

    @property
    def state(self) -> RedisStateManager:
        """See ``RuntimeCore.state``."""
        return self._store

    # --- work

    async def execute(
        self, processor: ProcessorRef[StateT], state: StateT, session_id: str | None = None
    ) -> ProcessorResult[StateT]:
        """See ``Runtime.execute``."""
        self._require_started()
        request = self._admission.admit(processor, state, session_id)
        handle = await self._running.dispatch.submit(request, is_transient=True)
        try:
            return await handle.result()
        except trio.Cancelled:
            await handle.abandon()
            raise

    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> QueueHandle[StateT]:
        """See ``RuntimeCore.submit``."""
        self._require_started()
        request = self._admission.admit(
            processor, state, session_id, execution_id=execution_id, delay=delay, at=at
        )
        return await self._running.dispatch.submit(request, is_transient=False)

    @property
    def _running(self) -> _Parts:
        if self._parts is None:
            self._require_started()
            raise AssertionError("a started runtime has its parts")
        return self._parts

    # --- life

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            closing = trio.Event()
            farewell = trio.CancelScope()
            client: RedisClient = await nursery.start(self._connection, closing, farewell)
            try:
                async with self._at_work(client):
                    yield
            finally:
                # The connection outlives what uses it, also when everything is cancelled: what is
                # held must be given back. It does so for a bounded time only.
                farewell.deadline = trio.current_time() + FAREWELL
                closing.set()

    async def _connection(
        self,
        closing: trio.Event,
        farewell: trio.CancelScope,
        task_status: trio.TaskStatus[RedisClient],
    ) -> None:
        with farewell:
            async with open_client(
                self._url,
                name=f"am2z-{self._keys.namespace}",
                on_connection=self._count_connection,
                key=self._keys.prefix,
                credential_provider=self._credential_provider,
            ) as client:
                farewell.shield = True
                task_status.started(client)
                await closing.wait()

    @asynccontextmanager
    async def _at_work(self, client: RedisClient) -> AsyncIterator[None]:
        """Every part of this runtime, for as long as the block runs."""
        protocol = Protocol(
            client,
            self._keys,
            result_ttl=self.config.result_ttl,
            session_ttl=self.limits.session_ttl,
        )
        node = Node(new_id(), client, protocol, self.config)
        leases = Leases(node)
        maintenance = Maintenance(node, self._registry, serves=self._role != "client")
        locks = QueueLocks(node)
        inbox, events = Inbox(node, leases, locks), EventReader(node, self._bus)
        dispatch = Dispatch(
            node, inbox, events, self._registry, self._admission, self.resources, maintenance
        )
        worker = None
        if self._role != "client":
            slots = Slots(self.config.concurrency)
            worker = Worker(node, self._registry, slots, leases, dispatch, emitter=self)
        async with trio.open_nursery() as nursery:
            parts = _Parts(
                node, inbox, events, Outbox(node, nursery), maintenance, dispatch, worker
            )
            with network_errors(client.safe_url):
                await maintenance.announce()
            self._parts = parts
            self._store.attach(node)
            self._locks = locks
            if self._bus.is_listening:
                parts.events.want()
            for loop in (parts.inbox.run, parts.inbox.sweep, parts.events.run,
                         locks.keep, maintenance.reclaim, maintenance.stay_present):  # fmt: skip
                nursery.start_soon(loop)
            try:
                if parts.worker is None:
                    yield
                else:
                    async with leases.beating(), trio.open_nursery() as work:
                        work.start_soon(parts.worker.run)
                        yield
                        work.cancel_scope.cancel()
            finally:
                node.leave()
                self._locks = None
                await locks.give_back()
                await self._say_goodbye(parts)
                self._parts = None
                self._store.attach(None)
                nursery.cancel_scope.cancel()

    async def _say_goodbye(self, parts: _Parts) -> None:
        with trio.CancelScope(shield=True, deadline=parts.node.until(FAREWELL)):
            parts.dispatch.close()
            await parts.dispatch.answer_callers()
            try:
                await parts.outbox.flush()
                await parts.maintenance.leave()
            except RECOVERABLE as error:
                parts.node.log.warning("could not say goodbye to Redis: %s", error)

    async def _drain(self) -> None:
        """See ``BaseRuntime._drain``."""
        parts = self._running
        with trio.move_on_after(self.config.shutdown_grace):
            # What somebody here waits for may still be waiting for us to claim it.
            if parts.worker is not None:
                parts.worker.claim_only_while(parts.inbox.anybody_waits)
            await parts.inbox.nobody_waits()
            if parts.worker is not None:
                await parts.worker.drained()
        parts.node.leave()
        await parts.dispatch.answer_callers()
        if parts.worker is not None:
            parts.worker.give_back()
            with trio.move_on_at(parts.node.until(FAREWELL)):
                await parts.worker.drained()

    def _count_connection(self, change: int) -> None:
        if change > 0:
            self.resources.register_connection()
        else:
            self.resources.unregister_connection()

    async def sync_processors(self) -> None:
        """See ``RuntimeCore.sync_processors``."""
        self._require_started()
        parts = self._running
        with network_errors(parts.node.client.safe_url):
            await parts.maintenance.announce()
        if parts.worker is not None:
            parts.worker.look_again()

    def register(self, *processors: Processor[Any]) -> Self:
        """See ``RuntimeCore.register``. Others learn of it with ``sync_processors``, or soon."""
        super().register(*processors)
        if self._parts is not None and self._parts.worker is not None:
            self._parts.worker.look_again()
        return self

    # --- events

    def _listen(self) -> None:
        if self._parts is not None:
            self._parts.events.want()

    async def _listening(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._parts is not None:
            await self._parts.events.ready()

    def _publish_runtime_event(self, event: str, data: Mapping[str, Any]) -> Delivery:
        node, outbox = self._running.node, self._running.outbox
        told = copy_event(data)
        # Our own handlers have it at once; the stream carries it to everybody else's.
        self._bus.publish(Event(type=event, time=wall_clock(), data=told))
        packed = pack_event(told, origin=node.runtime_id)
        return outbox.put(lambda: node.protocol.emit_runtime(event, packed))

    # --- sessions and statistics

    async def stop_session(self, session_id: str) -> None:
        """See ``RuntimeCore.stop_session``."""
        self._require_started()
        check_name(session_id, "session")
        node = self._running.node
        more = True
        with network_errors(node.client.safe_url):
            while more:
                _, more = await node.protocol.stop_session(session_id)
        self.resources.unregister_session(session_id)

    async def clean_session(self, session_id: str) -> None:
        """See ``RuntimeCore.clean_session``."""
        if session_id in await self.active_sessions():
            await self.stop_session(session_id)
        check_name(session_id, "session")
        node = self._running.node
        with network_errors(node.client.safe_url):
            while not await node.protocol.forget_session(session_id):
                await self.stop_session(session_id)

    async def active_sessions(self) -> list[str]:
        """See ``RuntimeCore.active_sessions``."""
        self._require_started()
        node = self._running.node
        with network_errors(node.client.safe_url):
            return await node.protocol.active_sessions()

    async def session_stats(self, session_id: str) -> dict[str, QueueStats]:
        """See ``RuntimeCore.session_stats``."""
        self._require_started()
        check_name(session_id, "session")
        return await self._counts(session_id)

    async def queue_stats(self) -> dict[str, QueueStats]:
        """See ``RuntimeCore.queue_stats``."""
        self._require_started()
        counts = await self._counts(None)
        for name, stats in counts.items():
            self.resources.update_queue_size(name, stats.waiting)
        names = {*self._registry.names(), *counts}
        return {name: counts.get(name, QueueStats()) for name in sorted(names)}

    async def stats(self) -> RuntimeStats:
        """See ``RuntimeCore.stats``."""
        queues = (await self.queue_stats()).values()
        worker = self._running.worker
        return RuntimeStats(
            registered_processors=len(self._registry),
            waiting=sum(stats.waiting for stats in queues),
            active=sum(stats.active for stats in queues),
            running=worker.running if worker is not None else 0,
            completed=sum(stats.completed for stats in queues),
            failed=sum(stats.failed for stats in queues),
            active_sessions=len(await self.active_sessions()),
            uptime=self._uptime,
        )

    async def _counts(self, session_id: str | None) -> dict[str, QueueStats]:
        node = self._running.node
        with network_errors(node.client.safe_url):
            counts = await node.protocol.stats(session_id)
        return {name: QueueStats(**count._asdict()) for name, count in counts.items()}

    async def _idle_sessions(self) -> list[str]:
        node = self._running.node
        try:
            return await node.protocol.expired_sessions(self.limits.session_ttl)
        except RECOVERABLE as error:
            node.log.warning("idle sessions could not be looked up: %s", error)
            return []


class _Parts(NamedTuple):
    """What a started runtime consists of."""

    node: Node
    inbox: Inbox
    events: EventReader
    outbox: Outbox
    maintenance: Maintenance
    dispatch: Dispatch
    worker: Worker | None
