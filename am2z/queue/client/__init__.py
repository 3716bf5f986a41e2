"""A Redis client for trio: redis-py's commands over a small pipelining transport.

``open_client`` gives a ``RedisClient`` for the length of a block, ``sync_client`` a plain redis-py
client for the same URL, for use in a thread. ``fake://name`` is an in-process fakeredis.
"""

from .client import RedisClient, open_client
from .faults import ClientClosedError, ConnectionLostError
from .pipeline import Pipeline
from .script import Script
from .sync import sync_client
from .url import hide_password, parse_url

__all__ = [
    "ClientClosedError",
    "ConnectionLostError",
    "Pipeline",
    "RedisClient",
    "Script",
    "hide_password",
    "open_client",
    "parse_url",
    "sync_client",
]
