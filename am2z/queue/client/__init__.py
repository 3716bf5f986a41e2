"""A Redis client for trio: redis-py's commands over a small pipelining transport.

``open_client`` gives a ``RedisClient`` for the length of a block, ``sync_client`` a plain redis-py
client for the same URL, for use in a thread. ``fake://name`` is an in-process fakeredis.

One client has one server at a time. A ``Locator`` says which: the URL's own, the master that the
sentinels name, or the node of a cluster that holds our slot.
"""

from .client import RedisClient, open_client
from .credentials import CredentialProvider
from .faults import ClientClosedError, ConnectionLostError, CredentialsError
from .pipeline import Pipeline
from .script import Script
from .sync import sync_client
from .url import hide_password, parse_url

__all__ = [
    "ClientClosedError",
    "ConnectionLostError",
    "CredentialProvider",
    "CredentialsError",
    "Pipeline",
    "RedisClient",
    "Script",
    "hide_password",
    "open_client",
    "parse_url",
    "sync_client",
]
