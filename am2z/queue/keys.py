"""The names of Redis keys, and how a name from outside becomes a part of one.

Every key starts with ``{am2z:NAMESPACE:SHARD}:``. The braces are Redis Cluster's hash tag, so all
keys of a shard live in one slot and a script may touch them together. What follows is made of parts
between colons. Names of processors and sessions come from outside and may hold anything, so a part
is percent-encoded: it never holds a colon, a brace, a blank or a control character, different names
never give one part, and the part gives the name back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote_to_bytes
from zlib import crc32

from am2z.errors import ConfigurationError

__all__ = ["Keys", "decode", "encode", "shard_of", "validate_namespace"]

_PLAIN = re.compile(r"[A-Za-z0-9._~@/+=-]+")
_OTHER = re.compile(rb"[^A-Za-z0-9._~@/+=-]")
_PART = re.compile(r"(?:[A-Za-z0-9._~@/+=-]|%[0-9A-F]{2})+")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EMPTY = "%"  # an escape without digits: no other name is encoded so


@lru_cache(maxsize=4096)
def encode(name: str) -> str:
    """``name`` as a part of a key: letters, digits, ``._~@/+=-`` and percent signs, never empty.

    Any string may be encoded, the empty one and lone surrogates too.

    Example::

        encode("tenant:7")  # 'tenant%3A7'
    """
    if _PLAIN.fullmatch(name):
        return name
    data = name.encode("utf-8", "surrogatepass")
    return _OTHER.sub(lambda char: b"%%%02X" % char[0][0], data).decode("ascii") or _EMPTY


@lru_cache(maxsize=4096)
def decode(part: str) -> str:
    """The name that ``encode`` turned into ``part``.

    Raises ``ValueError`` for a string that ``encode`` never makes.
    """
    if part == _EMPTY:
        return ""
    if not _PART.fullmatch(part):
        raise ValueError(f"{part!r:.80} is not a part of a key made by am2z")
    if "%" not in part:
        return part
    name = unquote_to_bytes(part).decode("utf-8", "surrogatepass")
    if encode(name) != part:
        raise ValueError(f"{part!r:.80} is not a part of a key made by am2z")
    return name


def validate_namespace(namespace: str) -> str:
    """``namespace`` if it may be one: letters, digits, ``.``, ``_`` and ``-``, at most 64.

    Raises ``ConfigurationError`` otherwise.
    """
    if isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace):
        return namespace
    raise ConfigurationError(
        f"{namespace!r:.80} cannot be a namespace: give 1 to 64 of the characters A-Z a-z 0-9 . _ -"
    )


def shard_of(session_id: str, shards: int) -> int:
    """The shard that a session lives in wholly, from 0 to ``shards - 1``; the same everywhere.

    Raises ``ValueError`` for fewer than one shard.
    """
    if shards < 1:
        raise ValueError(f"there is at least one shard, not {shards}")
    return crc32(session_id.encode("utf-8", "surrogatepass")) % shards


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one shard of a namespace, for what is read without a script.

    Raises ``ConfigurationError`` for a namespace that cannot be one, ``ValueError`` for a negative
    shard.

    Example::

        Keys("shop").state("tenant:7")  # '{am2z:shop:0}:st:tenant%3A7'
    """

    namespace: str
    shard: int = 0
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        validate_namespace(self.namespace)
        if self.shard < 0:
            raise ValueError(f"a shard is 0 or more, not {self.shard}")
        object.__setattr__(self, "prefix", f"{{am2z:{self.namespace}:{self.shard:d}}}:")

    def inbox(self, runtime_id: str) -> str:
        """The list that a runtime blocks on: finished executions and orders to cancel."""
        return f"{self.prefix}in:{encode(runtime_id)}"

    def wake(self, processor: str) -> str:
        """The list that an idle worker blocks on: one token for each piece of new work."""
        return f"{self.prefix}wake:{encode(processor)}"

    def state(self, session_id: str) -> str:
        """The hash of a session's state: ``v``, ``data``, ``sum``, ``type``."""
        return f"{self.prefix}st:{encode(session_id)}"

    def session(self, session_id: str) -> str:
        """The hash of what is known of a session."""
        return f"{self.prefix}s:{encode(session_id)}"

    def job(self, execution_id: str) -> str:
        """The hash of an execution."""
        return f"{self.prefix}j:{encode(execution_id)}"

    @property
    def events(self) -> str:
        """The stream of events."""
        return f"{self.prefix}events"

    @property
    def sessions(self) -> str:
        """The sorted set of sessions by their last activity (0: being stopped)."""
        return f"{self.prefix}sessions"
