"""A plain, synchronous redis-py client of the same server, for use in a thread."""

from __future__ import annotations

from typing import Any

from redis import Redis

from .credentials import CredentialProvider
from .discovery import locator_for
from .locate import locate_blocking, plain_client
from .url import Target, parse_url

__all__ = ["plain_client_of", "sync_client"]

ASK_TIMEOUT = 0.5
"""So many seconds a sentinel or a node of a cluster has to tell where the server is."""


def sync_client(
    url: str,
    *,
    key: str | None = None,
    credential_provider: CredentialProvider | None = None,
    **options: Any,
) -> Redis:
    """A redis-py client of the Redis at ``url``; for ``fake://`` of the same in-process server.

    Its sockets give up after 2 s and it never sends a command twice by itself; ``options`` are
    redis-py's and go before these. Close it with ``close()``. Raises ``ConfigurationError`` for a
    malformed URL.

    Where sentinels or a cluster know the server they are asked at once, and the client stays with
    that server: after an error make another one. ``key`` is one of the keys that are wanted of a
    cluster. Raises ``redis.exceptions.ConnectionError`` if nobody knows the server.

    Example::

        client = sync_client("redis://localhost:6379")
        client.ping()
    """
    target = parse_url(url).identified_by(credential_provider)
    return plain_client_of(target, key, **options)


def plain_client_of(target: Target, key: str | None, **options: Any) -> Redis:
    """See ``sync_client``."""
    if target.is_fake:
        from .fake import fake_client  # noqa: PLC0415 - fakeredis is only for those who ask for it

        return fake_client(target, **options)
    server = locate_blocking(locator_for(target, key), timeout=ASK_TIMEOUT)
    return plain_client(server, **options)
