"""How much a runtime may use, and the picture of what it uses."""

from __future__ import annotations

import msgspec

from am2z.errors import ConfigurationError
from am2z.policy import check_duration

__all__ = [
    "ConnectionUsage",
    "LargestQueue",
    "MemoryUsage",
    "OldestSession",
    "QueueUsage",
    "ResourceLimits",
    "ResourceStats",
    "SessionUsage",
]


class ResourceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one runtime may use. Reaching a limit is fine, going over it is refused.

    ``max_connections``: open connections. ``max_memory_mb``: resident memory of the process in MB
    (1,048,576 bytes), ``math.inf`` for no limit. ``max_queue_size``: executions that wait in one
    queue. ``session_ttl``: seconds after which an idle session is stopped. ``memory_threshold`` and
    ``connection_threshold``: the shares of their limits (over 0, up to 1) that call for a warning.

    Raises ``ConfigurationError`` for a value that makes no sense.

    Example: ``ResourceLimits(max_memory_mb=512, max_queue_size=1_000)``.
    """

    max_connections: int = 50
    max_memory_mb: float = 1024.0
    max_queue_size: int = 10_000
    session_ttl: float = 86_400.0
    memory_threshold: float = 0.8
    connection_threshold: float = 0.9

    def __post_init__(self) -> None:
        for name in ("max_connections", "max_queue_size"):
            value = getattr(self, name)
            if not _is_number(value) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name} is {value!r}; give a whole number of at least 1")
        if not _is_number(self.max_memory_mb) or not self.max_memory_mb > 0:
            raise ConfigurationError(
                f"max_memory_mb is {self.max_memory_mb!r}; "
                "give a number of MB more than 0, or math.inf for no limit"
            )
        check_duration("session_ttl", self.session_ttl)
        for name in ("memory_threshold", "connection_threshold"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value <= 1:
                raise ConfigurationError(
                    f"{name} is {value!r}; give a share of the limit, more than 0 and at most 1"
                )


class MemoryUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory: ``used`` and ``total`` (the limit) in MB, ``percentage`` a share of 1."""

    used: float
    total: float
    percentage: float


class ConnectionUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Open connections: ``active`` of at most ``max``; ``percentage`` is a share of 1."""

    active: int
    max: int
    percentage: float


class LargestQueue(msgspec.Struct, frozen=True, kw_only=True):
    """The queue in which most work waits, and how much."""

    name: str
    size: int


class QueueUsage(msgspec.Struct, frozen=True, kw_only=True):
    """``total`` counts the known queues; ``max_size`` is the size of the largest (0: none)."""

    total: int
    max_size: int
    largest_queue: LargestQueue | None


class OldestSession(msgspec.Struct, frozen=True, kw_only=True):
    """The session that was registered first; ``age`` is in seconds since then."""

    session_id: str
    age: float


class SessionUsage(msgspec.Struct, frozen=True, kw_only=True):
    """``active`` counts the registered sessions."""

    active: int
    oldest: OldestSession | None


class ResourceStats(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen picture of one moment."""

    memory: MemoryUsage
    connections: ConnectionUsage
    queues: QueueUsage
    sessions: SessionUsage


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
