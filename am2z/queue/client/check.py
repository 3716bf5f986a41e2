"""What a server must be before work is entrusted to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import trio
from redis.exceptions import AskError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from am2z.errors import ConfigurationError, NetworkError

from .detour import describe

if TYPE_CHECKING:
    from .client import RedisClient

__all__ = ["MINIMUM_VERSION", "check_server", "elsewhere"]

MINIMUM_VERSION = (6, 2)


async def check_server(client: RedisClient, timeout: float) -> None:
    """Refuse a server that is too old, evicts work, or is the wrong node of a cluster.

    What the server does not tell (fakeredis has no ``INFO``, an access list may forbid it) is not
    held against it. Raises ``ConfigurationError``; ``NetworkError`` when the connection breaks or
    the answer takes longer than ``timeout`` seconds.
    """
    facts: dict[str, str] = {}
    with trio.move_on_after(timeout) as scope:
        facts = await _facts(client)
        if facts.get("cluster_enabled") == "1" and client.probe is not None:
            await _check_node(client, client.probe)
    if scope.cancelled_caught:
        raise NetworkError(
            f"Redis at {client.safe_url} took the connection and did not answer INFO "
            f"within {timeout:g} s",
            client.safe_url,
        )
    version = facts.get("redis_version", "")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if len(numbers) == 2 and numbers < MINIMUM_VERSION:
        wanted = ".".join(map(str, MINIMUM_VERSION))
        raise ConfigurationError(
            f"the Redis at {client.safe_url} is version {version}: use {wanted} or newer"
        )
    policy = facts.get("maxmemory_policy", "noeviction")
    # volatile-… too: a result that vanishes is an execution that may run, and commit, twice.
    if policy != "noeviction":
        raise ConfigurationError(
            f"the Redis at {client.safe_url} has maxmemory-policy {policy}: when its memory is "
            "full it would evict work, results or states. Set it to noeviction (CONFIG SET "
            "maxmemory-policy noeviction, and in redis.conf), or use another server"
        )


async def _check_node(client: RedisClient, key: str) -> None:
    """Ask for a key of ours: the wrong node says whose it is."""
    try:
        await client.call("EXISTS", key, idempotent=True)
    except AskError as error:  # MOVED too
        raise ConfigurationError(elsewhere(error, client.safe_url)) from error
    except RedisError:
        return  # what may be wrong with it will be seen soon


def elsewhere(error: AskError, safe_url: str) -> str:
    """What it means that a server, reached by an URL that names no cluster, sends us elsewhere."""
    scheme, _, place = safe_url.partition("://")
    scheme = "rediss" if scheme == "rediss" else "redis"
    return (
        f"the Redis at {safe_url} is a node of a cluster, and {describe(error)}; give the cluster "
        f"as {scheme}+cluster://{place.partition('/')[0]}, and its nodes are followed"
    )


async def _facts(client: RedisClient) -> dict[str, str]:
    """The lines of ``INFO``, and the eviction policy where only ``CONFIG GET`` tells it."""
    facts: dict[str, str] = {}
    pipe = client.pipeline()
    pipe.call("INFO").call("CONFIG", "GET", "maxmemory-policy")
    try:
        info, config = await pipe.execute(idempotent=True)
    except RedisConnectionError as error:
        raise NetworkError(
            f"Redis at {client.safe_url} went away while the client started: {error}",
            client.safe_url,
        ) from error
    if isinstance(info, bytes):
        for line in info.decode("utf-8", "replace").splitlines():
            name, separator, value = line.partition(":")
            if separator:
                facts[name] = value
    if not isinstance(config, RedisError) and config:
        facts["maxmemory_policy"] = config[1].decode()
    return facts
