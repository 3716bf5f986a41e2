"""What every runtime does now and then for all: there is no leader that could be missing."""

from __future__ import annotations

import logging

import trio

from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node
from am2z.registry import Registry

__all__ = ["Maintenance"]

_log = logging.getLogger("am2z.maintenance")

BATCH = 500
PRESENCE_MARGIN = 1.0
"""A runtime counts as present for a lease and so many seconds after it was last heard of,"""
LEAST_PRESENCE = 5.0
"""and for so many at least."""


class Maintenance:
    """Takes back what died with its worker, wakes what is due, and says that we are here."""

    def __init__(self, node: Node, registry: Registry, *, serves: bool) -> None:
        self._node = node
        self._registry = registry
        self._serves = serves
        self._announced: set[str] = set()
        self._announcing = trio.Lock()
        self._announce_now = trio.Event()
        node.client.on_reconnect.append(self._reconnected)

    async def reclaim(self) -> None:
        """Look for expired leases and due work, until cancelled."""
        pause = min(max(self._node.config.lease / 4, 0.02), 0.5)
        protocol = self._node.protocol
        while True:
            await trio.sleep(pause)
            try:
                while sum(await protocol.reclaim(BATCH)) >= BATCH:
                    pass
                while (await protocol.promote(BATCH))[0] >= BATCH:
                    pass
            except RECOVERABLE as error:
                _log.warning("leases could not be looked through: %s", error)
                await trio.sleep(RETRY_PAUSE)

    async def stay_present(self) -> None:
        """Say that we are here, until cancelled."""
        while True:
            self._announce_now = trio.Event()
            try:
                await self.announce()
            except RECOVERABLE as error:
                _log.warning("presence could not be told: %s", error)
                await trio.sleep(RETRY_PAUSE)
            else:
                with trio.move_on_after(self._presence / 3):
                    await self._announce_now.wait()

    def _reconnected(self) -> None:
        """Redis may have forgotten us, or have been away for longer than we count as present."""
        self._announce_now.set()

    @property
    def has_withdrawn(self) -> bool:
        """Whether others still believe that we serve what we do not serve any more."""
        return self._serves and not self._announced.issubset(self._registry.names())

    async def announce(self) -> None:
        """Say what this runtime serves now."""
        # One at a time: an older word that arrives after a newer one would undo it.
        async with self._announcing:
            names = set(self._registry.names()) if self._serves else set()
            gone = self._announced - names
            if gone:
                await self._node.protocol.leave(self._node.runtime_id, gone)
            self._announced |= names  # also true where the next reply is lost
            await self._node.protocol.presence(self._node.runtime_id, names, self._presence)
            self._announced = names
            self._node.announced(names, self._presence)

    async def leave(self) -> None:
        """Say goodbye, and see that what stays in Redis has an end."""
        await self._node.protocol.presence(self._node.runtime_id, (), self._presence)
        await self._node.protocol.leave(self._node.runtime_id)

    @property
    def _presence(self) -> float:
        return max(self._node.config.lease + PRESENCE_MARGIN, LEAST_PRESENCE)
