"""One runtime among the others of its namespace: its id, its connection, its protocol."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import trio
from redis.exceptions import (
    AskError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from am2z.config import RuntimeConfig
from am2z.errors import NetworkError
from am2z.queue.client import RedisClient
from am2z.queue.client.check import elsewhere
from am2z.queue.protocol import Protocol
from am2z.queue.wire import WireError

__all__ = ["FAREWELL", "RECOVERABLE", "RETRY_PAUSE", "Node", "network_errors", "will_pass"]

RECOVERABLE = (RedisError, WireError)
"""What a loop that must go on survives: it logs, waits a moment and tries again."""

RETRY_PAUSE = 0.25
"""Seconds that such a loop waits; the client itself reconnects with back-off below it."""


FAREWELL = 2.5
"""Seconds that a runtime which leaves has for everything that Redis must still be told."""
LAST_WORD = 0.5
"""Seconds that each of it may take when those are over: enough where Redis does answer."""

_PASSING = (
    AskError,  # MOVED too
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisConnectionError,
    RedisTimeoutError,
    TryAgainError,
)
_PASSING_CODE = re.compile(r"(^|: -)(BUSY|MISCONF|NOREPLICAS|OOM|READONLY) ")
"""At the head; or later, as a server before 7.0 reports what happened in a script."""


def will_pass(error: Exception) -> bool:
    """Whether asking again can help: the server is away, full, or not the right one just now.

    Whatever else it answers it will answer again.
    """
    return isinstance(error, _PASSING) or _PASSING_CODE.search(str(error)) is not None


class Node:
    """What the parts of a running ``QueueRuntime`` share."""

    __slots__ = (
        "_leaves_by",
        "_served",
        "_served_at",
        "_served_for",
        "client",
        "config",
        "log",
        "protocol",
        "runtime_id",
    )

    def __init__(
        self, runtime_id: str, client: RedisClient, protocol: Protocol, config: RuntimeConfig
    ) -> None:
        self.runtime_id = runtime_id
        self.client = client
        self.protocol = protocol
        self.config = config
        self.log = logging.getLogger("am2z.queue_runtime")
        self._leaves_by = math.inf
        self._served: frozenset[str] = frozenset()
        self._served_for = self._served_at = 0.0

    def announced(self, names: Iterable[str], presence: float) -> None:
        """It was said what we serve: that counts for ``presence`` seconds."""
        self._served, self._served_for = frozenset(names), presence
        self._served_at = time.monotonic()

    def overdue(self) -> tuple[frozenset[str], float]:
        """What a thread has to say again, because the event loop does not; how long it counts."""
        is_overdue = time.monotonic() - self._served_at > self._served_for / 2
        return self._served if is_overdue else frozenset(), self._served_for

    def leave(self) -> None:
        """We stop: from now on all that still has to be told shares ``FAREWELL`` seconds."""
        self._leaves_by = min(self._leaves_by, trio.current_time() + FAREWELL)
        self.client.leave(self._leaves_by)

    def until(self, limit: float) -> float:
        """The deadline of something that may take ``limit`` seconds, and less while we leave."""
        now = trio.current_time()
        return min(now + limit, max(self._leaves_by, now + LAST_WORD))

    def key(self, name: str) -> str:
        """A key of this namespace."""
        return f"{self.protocol.keys.prefix}{name}"


@contextmanager
def network_errors(endpoint: str) -> Iterator[None]:
    """Turn what the connection raises into a ``NetworkError`` that names the server."""
    try:
        yield
    except RECOVERABLE as error:
        what = (
            f"Redis at {endpoint} did not do its part: {error}; check that it runs and can be "
            "reached"
        )
        if isinstance(error, AskError):  # MOVED too
            what = elsewhere(error, endpoint)
        raise NetworkError(what, endpoint) from error
