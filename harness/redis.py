"""The Redis side of the helpers: where the server is, whether it answers, cleaning up."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import trio

from am2z import ConfigurationError, NetworkError
from harness.scale import scaled

__all__ = ["TEST_REDIS_CONFIG", "RedisConfig", "cleanup_redis", "ensure_redis_connection"]


@dataclass(frozen=True)
class RedisConfig:
    """Where the Redis server for tests is."""

    host: str
    port: int
    url: str

    @classmethod
    def from_environment(cls) -> RedisConfig:
        """From ``REDIS_URL``, or ``REDIS_HOST`` and ``REDIS_PORT``, or ``localhost`` and 6379."""
        if url := os.environ.get("REDIS_URL"):
            parts = urlsplit(url)
            return cls(parts.hostname or "localhost", parts.port or 6379, url)
        host = os.environ.get("REDIS_HOST") or "localhost"
        port = os.environ.get("REDIS_PORT") or "6379"
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigurationError(f"REDIS_PORT is {port!r}; give a number from 1 to 65535")
        shown = f"[{host}]" if ":" in host else host
        return cls(host, int(port), f"redis://{shown}:{port}/0")


TEST_REDIS_CONFIG = RedisConfig.from_environment()
"""``host``, ``port`` and ``url`` of the server that the environment names."""


async def ensure_redis_connection(url: str | None = None, timeout: float = 2.0) -> None:
    """Return if the server at ``url`` (default: ``TEST_REDIS_CONFIG.url``) answers a PING.

    Raises ``NetworkError`` that names the URL, without its password, past ``timeout`` seconds or
    where the server refuses.
    """
    target = url or TEST_REDIS_CONFIG.url
    await trio.to_thread.run_sync(ping, target, scaled(timeout))


async def cleanup_redis(*patterns: str, url: str | None = None) -> int:
    """Delete the keys that match any of the shell-style ``patterns``; answers how many there were.

    Nothing is deleted without a pattern: a test never empties a server that it may share.
    Example: ``await cleanup_redis("*am2z-test-*")``.
    """
    target = url or TEST_REDIS_CONFIG.url

    def work() -> int:
        return sum(_delete(target, pattern) for pattern in patterns)

    return await trio.to_thread.run_sync(work)


def ping(url: str, timeout: float) -> None:
    """The plain function under ``ensure_redis_connection``."""
    import redis  # noqa: PLC0415 - costs 100 ms

    client = _client(url, timeout)
    try:
        client.ping()
    except redis.RedisError as error:
        raise NetworkError(
            f"no answer from Redis at {hide_password(url)} ({error}); start a server there, or "
            "choose another with REDIS_URL or --am2z-redis",
            endpoint=hide_password(url),
        ) from error
    finally:
        client.close()


def leftover_keys(url: str, namespace: str, permanent: tuple[str, ...] | None) -> list[str]:
    """The keys of a namespace without a TTL that match none of the ``permanent`` patterns."""
    if permanent is None:
        return []
    client = _client(url)
    try:
        found: list[str] = []
        for key in _keys(client, f"*{_literal(namespace)}*"):
            name = key.decode("utf-8", "backslashreplace")
            may_stay = any(fnmatchcase(name, pattern) for pattern in permanent)
            if not may_stay and client.pttl(key) == -1:
                found.append(name)
        return sorted(found)
    finally:
        client.close()


def remove_namespace(url: str, namespace: str) -> int:
    """Delete every key of a namespace; answers how many there were."""
    return _delete(url, f"*{_literal(namespace)}*")


def hide_password(url: str) -> str:
    """A URL that may be shown: up to its last @ everything may be the password."""
    url = re.sub(r"(://[^:@/]*:).*@", r"\1***@", url)
    return re.sub(r"([?&](?:sentinel_)?password=)[^&]*", r"\1***", url)


def _delete(url: str, pattern: str) -> int:
    client = _client(url)
    try:
        keys = list(_keys(client, pattern))
        return sum(
            int(client.unlink(*keys[start : start + 500])) for start in range(0, len(keys), 500)
        )
    finally:
        client.close()


def _keys(client: Any, pattern: str) -> set[bytes]:
    return set(client.scan_iter(match=pattern, count=1000))


def _literal(text: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


def _client(url: str, timeout: float = 5.0) -> Any:
    import redis  # noqa: PLC0415 - costs 100 ms
    from redis.backoff import NoBackoff  # noqa: PLC0415 - the same
    from redis.retry import Retry  # noqa: PLC0415 - the same

    return redis.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
    )
