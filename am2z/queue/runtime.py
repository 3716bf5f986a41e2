"""The runtime that runs processors on many machines, through Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar, Literal, Self, get_args

import trio

from am2z.admission import Request
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
from am2z.queue.client import CredentialProvider, parse_url
from am2z.queue.dead import QueueDeadLetters
from am2z.queue.handle import QueueHandle
from am2z.queue.keys import Keys
from am2z.queue.node import FAREWELL, RECOVERABLE, network_errors
from am2z.queue.shard import Common, Shard
from am2z.queue.shards import Shards, open_shards
from am2z.queue.state import RedisStateManager
from am2z.queue.stream import Heard, pack_event
from am2z.resources import ResourceLimits
from am2z.result import ProcessorResult
from am2z.runtime import ProcessorRef
from am2z.slots import Slots
from am2z.state import StateT
from am2z.stats import QueueStats, RuntimeStats

__all__ = ["QueueRuntime", "Role"]

Role = Literal["both", "client", "worker"]

MOST_SHARDS = 256


class QueueRuntime(BaseRuntime):
    """Runs processors wherever a worker of the namespace serves them.

    ``role``: ``"client"`` only hands work over, ``"worker"`` and ``"both"`` also do it. The URL may
    be ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://``, ``redis+cluster://``, or
    ``fake://`` for an in-process fakeredis. ``credential_provider``, redis-py's, gives user and
    password instead of the URL and is asked anew for each connection.

    One Redis server takes some ten thousand executions a second. For more, give several URLs: each
    server holds a part of the sessions, a shard. ``shards`` (default: one for each URL) may be a
    larger number, so that a cluster can spread them. All runtimes of a namespace must agree on it.

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
        redis_url: str | Sequence[str] = "redis://localhost:6379/0",
        *,
        namespace: str = "am2z",
        role: Role = "both",
        config: RuntimeConfig | None = None,
        limits: ResourceLimits | None = None,
        credential_provider: CredentialProvider | None = None,
        shards: int | None = None,
    ) -> None:
        super().__init__(config=config, limits=limits)
        if role not in get_args(Role):
            raise ConfigurationError(f"role is {role!r}; give 'both', 'client' or 'worker'")
        urls, number = _divide(redis_url, shards)
        self._places = [(urls[i % len(urls)], Keys(namespace, i)) for i in range(number)]
        self._credential_provider = credential_provider
        self._role = role
        self._heard = Heard()
        self._store = RedisStateManager(
            max_bytes=self.config.max_payload_bytes, ttl=self.config.state_ttl
        )
        targets = [parse_url(url).identified_by(credential_provider) for url in urls]
        if any(target.is_fake for target in targets):
            self.capabilities = self.capabilities - {Capability.DURABLE}  # it dies with the process
        if number > 1:
            self.capabilities = self.capabilities - {Capability.PRIORITY}  # it holds in each shard
        self._shards: Shards | None = None
        self._dead = QueueDeadLetters(lambda: self._running)

    @property
    def runtime_id(self) -> str | None:
        """What this runtime is called among the others of its namespace: new at each start."""
        return None if self._shards is None else self._shards[0].node.runtime_id

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
        shard = self._running.of(request.session_id)
        handle = await shard.dispatch.submit(request, is_transient=True)
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
        shard = self._running.of(request.session_id)
        return await shard.dispatch.submit(request, is_transient=False)

    async def submit_many(
        self,
        processor: ProcessorRef[StateT],
        states: Iterable[StateT],
        session_id: str | None = None,
    ) -> list[QueueHandle[StateT]]:
        """See ``RuntimeMixin.submit_many``. Many go to Redis in one exchange."""
        self._require_started()
        requests = [self._admission.admit(processor, state, session_id) for state in states]
        shards = self._running
        if len(shards) == 1 or session_id is not None:
            return await shards.of(session_id or "").dispatch.submit_many(requests)
        places: dict[Shard, list[Request[StateT]]] = {}
        for request in requests:
            places.setdefault(shards.of(request.session_id), []).append(request)
        found: dict[str, QueueHandle[StateT]] = {}

        async def submit(shard: Shard, mine: list[Request[StateT]]) -> None:
            for handle in await shard.dispatch.submit_many(mine):
                found[handle.execution_id] = handle

        async with trio.open_nursery() as nursery:
            for shard, mine in places.items():
                nursery.start_soon(submit, shard, mine)
        return [found[request.execution_id] for request in requests]

    @property
    def _running(self) -> Shards:
        if self._shards is None:
            self._require_started()
            raise AssertionError("a started runtime has its shards")
        return self._shards

    # --- life

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[None]:
        does_work = self._role != "client"
        runtime_id = new_id()
        self._heard.lives.append(runtime_id)
        common = Common(
            runtime_id=runtime_id,
            config=self.config,
            limits=self.limits,
            registry=self._registry,
            admission=self._admission,
            bus=self._bus,
            heard=self._heard,
            resources=self.resources,
            slots=Slots(self.config.concurrency) if does_work else None,
            emitter=self,
            shards=len(self._places),
            on_connection=self._count_connection,
            credential_provider=self._credential_provider,
        )
        try:
            async with open_shards(common, self._places) as shards:
                self._shards = shards
                self._store.attach(shards.node_of)
                self._locks = lambda name: shards.of(name).locks
                try:
                    yield
                finally:
                    shards.leave()
                    shards.give_back()
                    self._locks = None
        finally:
            self._shards = None
            self._store.attach(None)

    async def _drain(self) -> None:
        """See ``BaseRuntime._drain``."""
        shards = self._running
        with trio.move_on_after(self.config.shutdown_grace):
            # What somebody here waits for may still be waiting for us to claim it.
            shards.claim_only_what_is_waited_for()
            await shards.nobody_waits()
            await shards.drained()
        shards.leave()
        await shards.answer_callers()
        shards.give_back()
        with trio.move_on_at(shards[0].node.until(FAREWELL)):
            await shards.drained()

    def _count_connection(self, change: int) -> None:
        if change > 0:
            self.resources.register_connection()
        else:
            self.resources.unregister_connection()

    async def sync_processors(self) -> None:
        """See ``RuntimeCore.sync_processors``."""
        self._require_started()
        await self._running.each(lambda shard: shard.maintenance.announce())
        self._look_again()

    def register(self, *processors: Processor[Any]) -> Self:
        """See ``RuntimeCore.register``. Others learn of it with ``sync_processors``, or soon."""
        super().register(*processors)
        self._look_again()
        return self

    def _look_again(self) -> None:
        for shard in self._shards or ():
            if shard.worker is not None:
                shard.worker.look_again()

    # --- events

    def _listen(self) -> None:
        for shard in self._shards or ():
            shard.events.want()

    async def _listening(self) -> None:
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for shard in self._shards or ():
                nursery.start_soon(shard.events.ready)

    def _publish_runtime_event(self, event: str, data: Mapping[str, Any]) -> Delivery:
        shard = self._running[0]  # it belongs to no session, so any one will do
        node = shard.node
        told = copy_event(data)
        # Our own handlers have it at once; the stream carries it to everybody else's.
        self._bus.publish(Event(type=event, time=wall_clock(), data=told))
        packed = pack_event(told, origin=node.runtime_id)
        return shard.outbox.put(lambda: node.protocol.emit_runtime(event, packed))

    # --- sessions and statistics

    async def stop_session(self, session_id: str) -> None:
        """See ``RuntimeCore.stop_session``."""
        self._require_started()
        check_name(session_id, "session")
        node = self._running.node_of(session_id)
        more = True
        with network_errors(node.client.safe_url):
            while more:
                _, more = await node.protocol.stop_session(session_id)
        self.resources.unregister_session(session_id)

    async def clean_session(self, session_id: str) -> None:
        """See ``RuntimeCore.clean_session``."""
        self._require_started()
        check_name(session_id, "session")
        node = self._running.node_of(session_id)
        with network_errors(node.client.safe_url):
            if session_id in await node.protocol.active_sessions():
                await self.stop_session(session_id)
            while not await node.protocol.forget_session(session_id):
                await self.stop_session(session_id)

    async def active_sessions(self) -> list[str]:
        """See ``RuntimeCore.active_sessions``."""
        self._require_started()
        found = await self._running.each(lambda shard: shard.node.protocol.active_sessions())
        return sorted(name for names in found for name in names)

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
        return RuntimeStats(
            registered_processors=len(self._registry),
            waiting=sum(stats.waiting for stats in queues),
            active=sum(stats.active for stats in queues),
            running=self._running.running,
            completed=sum(stats.completed for stats in queues),
            failed=sum(stats.failed for stats in queues),
            active_sessions=len(await self.active_sessions()),
            uptime=self._uptime,
        )

    async def _counts(self, session_id: str | None) -> dict[str, QueueStats]:
        counts = await self._running.counts(session_id)
        return {name: QueueStats(**count._asdict()) for name, count in counts.items()}

    async def _idle_sessions(self) -> list[str]:
        found: list[str] = []
        for shard in self._running:
            try:
                found += await shard.node.protocol.expired_sessions(self.limits.session_ttl)
            except RECOVERABLE as error:  # the others are looked through all the same
                shard.node.log.warning("idle sessions could not be looked up: %s", error)
        return found


def _divide(redis_url: str | Sequence[str], shards: int | None) -> tuple[list[str], int]:
    """The servers, and the number of shards on them."""
    urls: list[Any] = list(redis_url) if isinstance(redis_url, list | tuple) else [redis_url]
    number = len(urls) if shards is None else shards
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST_SHARDS:
        raise ConfigurationError(f"shards is {number!r}; give a number from 1 to {MOST_SHARDS}")
    if len(urls) > number:
        raise ConfigurationError(
            f"{len(urls)} servers for {number} shard(s); leave `shards` out, or give at least as "
            "many as there are servers"
        )
    return urls, number
