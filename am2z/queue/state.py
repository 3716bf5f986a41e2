"""Committed states in Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from am2z.errors import NetworkError, StateCorruptError
from am2z.ids import check_name
from am2z.queue.keys import encode
from am2z.queue.node import Node, network_errors
from am2z.queue.protocol import StateWrite
from am2z.statestore import BaseStateManager, StateRecord, conflict

__all__ = ["RedisStateManager"]


class RedisStateManager(BaseStateManager):
    """One hash for each session: version, bytes, class and checksum. Made by ``QueueRuntime``."""

    def __init__(self, *, max_bytes: int, ttl: float | None) -> None:
        super().__init__(max_bytes=max_bytes, ttl=ttl)
        self._nodes: Callable[[str], Node] | None = None

    def attach(self, nodes: Callable[[str], Node] | None) -> None:
        """Use these connections, each for its sessions (``None``: none any more)."""
        self._nodes = nodes

    def _node_of(self, session_id: str) -> Node:
        if self._nodes is None:
            raise NetworkError(
                "these states are not connected; use them inside `async with runtime:`"
            )
        return self._nodes(session_id)

    async def read(self, session_id: str) -> StateRecord | None:
        """See ``BaseStateManager.read``."""
        node = self._node_of(session_id)
        with network_errors(node.client.safe_url):
            fields: list[Any] = await node.client.call(
                "HMGET", node.key(f"st:{encode(session_id)}"), "v", "type", "data", "sum",
                idempotent=True,
            )  # fmt: skip
        version, name, data, digest = fields
        if version is None:
            return None
        try:
            return StateRecord(int(version), name.decode(), data, digest.decode())
        except (AttributeError, ValueError) as error:
            raise StateCorruptError(
                f"the record of session {session_id!r} is incomplete; clean the session"
            ) from error

    async def write(
        self,
        session_id: str,
        data: bytes,
        name: str,
        digest: str,
        *,
        ttl: float | None,
        expected: int | None,
        seen: str | None = None,
        keeps_ttl: bool = False,
    ) -> int:
        """See ``BaseStateManager.write``."""
        node = self._node_of(session_id)
        record = StateWrite(data, digest, name, None if keeps_ttl else ttl or 0)
        with network_errors(node.client.safe_url):
            written, version = await node.protocol.state_set(
                session_id, record, expected=expected, seen=seen
            )
        if not written:
            raise conflict(session_id, expected, version)
        return version

    async def delete(self, session_id: str) -> None:
        """See ``BaseStateManager.delete``."""
        check_name(session_id, "session")
        node = self._node_of(session_id)
        with network_errors(node.client.safe_url):
            await node.client.call("DEL", node.key(f"st:{encode(session_id)}"), idempotent=True)
