"""One shard of a namespace, as a running runtime uses it: a connection, and every part on it.

Each session lives in one shard wholly, and each execution in that of its session. So a shard knows
nothing of the others, and a runtime with one shard is not a special case.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from am2z.admission import Admission
from am2z.bus import EventBus
from am2z.config import RuntimeConfig
from am2z.context import RuntimeEmitter
from am2z.errors import ConfigurationError
from am2z.queue.client import CredentialProvider, RedisClient, open_client
from am2z.queue.dispatch import Dispatch
from am2z.queue.inbox import Inbox
from am2z.queue.inflight import InFlight
from am2z.queue.keys import Keys
from am2z.queue.leases import Leases
from am2z.queue.locks import QueueLocks
from am2z.queue.maintenance import Maintenance
from am2z.queue.node import FAREWELL, RECOVERABLE, Node, network_errors
from am2z.queue.outbox import Outbox
from am2z.queue.protocol import Protocol
from am2z.queue.sender import Sender
from am2z.queue.stream import EventReader, Heard
from am2z.queue.wants import Wants
from am2z.queue.worker import Worker
from am2z.registry import Registry
from am2z.resources import ResourceLimits, ResourceMonitor
from am2z.slots import Slots

__all__ = ["Common", "Shard", "open_shard"]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What the shards of one runtime share; ``slots`` is ``None`` where it does no work itself."""

    runtime_id: str
    config: RuntimeConfig
    limits: ResourceLimits
    registry: Registry
    admission: Admission
    bus: EventBus
    heard: Heard
    resources: ResourceMonitor
    slots: Slots | None
    emitter: RuntimeEmitter
    shards: int
    on_connection: Callable[[int], None]
    credential_provider: CredentialProvider | None


class Shard:
    """The parts on one connection. Made by ``open_shard``."""

    def __init__(
        self, common: Common, client: RedisClient, keys: Keys, nursery: trio.Nursery
    ) -> None:
        config, registry = common.config, common.registry
        protocol = Protocol(
            client, keys, result_ttl=config.result_ttl, session_ttl=common.limits.session_ttl
        )
        self.node = node = Node(common.runtime_id, client, protocol, config)
        self.leases = Leases(node)
        self.locks = QueueLocks(node)
        self.inbox = Inbox(node, self.leases, self.locks)
        self.events = EventReader(node, common.bus, common.heard)
        self.outbox = Outbox(node, nursery)
        self.maintenance = Maintenance(node, registry, serves=common.slots is not None)
        self.sender = Sender(node)
        self.dispatch = Dispatch(
            node,
            self.sender,
            self.inbox,
            self.events,
            registry,
            common.admission,
            common.resources,
            self.maintenance,
            shards=common.shards,
        )
        self.worker: Worker | None = None
        if common.slots is not None:
            slots = common.slots
            self.worker = Worker(
                node,
                slots,
                Wants(registry, slots),
                InFlight(node, registry, slots, self.leases, self.dispatch, common.emitter),
                shards=common.shards,
            )
        self._shards = common.shards

    async def check_layout(self) -> None:
        """Raise ``ConfigurationError`` where others divide the namespace in another way."""
        keys = self.node.protocol.keys
        divided = await self.node.protocol.layout(self._shards)
        if divided != self._shards:
            raise ConfigurationError(
                f"namespace {keys.namespace!r} has {divided} shard(s), and this runtime was given "
                f"{self._shards}; give every runtime of a namespace the same number, with the same "
                "servers in the same order"
            )

    @asynccontextmanager
    async def at_work(self, nursery: trio.Nursery) -> AsyncIterator[None]:
        """Every part does its work, for as long as the block runs; ``nursery`` is of the shard."""
        for loop in (
            self.sender.run,
            self.inbox.run,
            self.inbox.sweep,
            self.events.run,
            self.locks.keep,
            self.maintenance.reclaim,
            self.maintenance.stay_present,
        ):
            nursery.start_soon(loop)
        try:
            if self.worker is None:
                yield
            else:
                async with self.leases.beating(), trio.open_nursery() as work:
                    work.start_soon(self.worker.run)
                    yield
                    work.cancel_scope.cancel()
        finally:
            self.node.leave()
            await self.locks.give_back()
            await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        with trio.CancelScope(shield=True, deadline=self.node.until(FAREWELL)):
            self.dispatch.close()
            await self.dispatch.answer_callers()
            try:
                await self.outbox.flush()
                await self.maintenance.leave()
            except RECOVERABLE as error:
                self.node.log.warning("could not say goodbye to Redis: %s", error)


@asynccontextmanager
async def open_shard(common: Common, url: str, keys: Keys) -> AsyncIterator[Shard]:
    """Connect to one shard and take part in it, for the length of the block."""
    async with trio.open_nursery() as nursery:
        closing = trio.Event()
        farewell = trio.CancelScope()
        client: RedisClient = await nursery.start(_connection, common, url, keys, closing, farewell)
        try:
            async with _running(common, client, keys) as shard:
                yield shard
        finally:
            # The connection outlives what uses it, also when everything is cancelled: what is held
            # must be given back. It does so for a bounded time only.
            farewell.deadline = trio.current_time() + FAREWELL
            closing.set()


async def _connection(
    common: Common,
    url: str,
    keys: Keys,
    closing: trio.Event,
    farewell: trio.CancelScope,
    task_status: trio.TaskStatus[RedisClient],
) -> None:
    with farewell:
        async with open_client(
            url,
            name=f"am2z-{keys.namespace}",
            on_connection=common.on_connection,
            key=keys.prefix,
            credential_provider=common.credential_provider,
        ) as client:
            farewell.shield = True
            task_status.started(client)
            await closing.wait()


@asynccontextmanager
async def _running(common: Common, client: RedisClient, keys: Keys) -> AsyncIterator[Shard]:
    async with trio.open_nursery() as nursery:
        shard = Shard(common, client, keys, nursery)
        with network_errors(client.safe_url):
            await shard.check_layout()
            await shard.maintenance.announce()
        if common.bus.is_listening:
            shard.events.want()
        try:
            async with shard.at_work(nursery):
                yield shard
        finally:
            nursery.cancel_scope.cancel()
