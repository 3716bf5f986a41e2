"""A plain, synchronous redis-py client of the same server, for use in a thread."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .url import parse_url

__all__ = ["sync_client"]


def sync_client(url: str, **options: Any) -> Redis:
    """A redis-py client of the Redis at ``url``; for ``fake://`` of the same in-process server.

    Its sockets give up after 2 s and it never sends a command twice by itself; ``options`` are
    redis-py's and go before these. Close it with ``close()``. Raises ``ConfigurationError`` for a
    malformed URL.

    Example::

        client = sync_client("redis://localhost:6379")
        client.ping()
    """
    target = parse_url(url)
    if target.is_fake:
        from .fake import fake_client  # noqa: PLC0415 - fakeredis is only for those who ask for it

        return fake_client(target, **options)
    defaults: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": 2.0,
        "socket_timeout": 2.0,
    }
    client: Redis = Redis.from_url(url, **(defaults | options))
    return client
