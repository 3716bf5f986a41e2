"""A Lua script: its text, its SHA-1 and a name for messages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

__all__ = ["Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that ``RedisClient.run_script`` and pipelines run by its SHA-1.

    ``sha`` is worked out from ``text``; ``name`` is only for messages.

    Example::

        BUMP = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])", name="bump")
        total = await client.run_script(BUMP, ["hits"], [3])
    """

    text: str
    sha: str = field(init=False)
    name: str = "script"

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)
