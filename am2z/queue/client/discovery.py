"""Who is the server of our keys now? Sentinels and the nodes of a cluster know.

A ``Locator`` only thinks: its ``search`` yields questions and is sent the answers. So the client on
trio (``locate``) and the plain one for threads (``locate_blocking``) ask alike.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, NamedTuple, Protocol

from redis.crc import key_slot
from redis.exceptions import AuthenticationError, AuthorizationError
from redis.exceptions import ConnectionError as RedisConnectionError

from am2z.errors import ConfigurationError

from .url import Address, Target

__all__ = ["Locator", "Question", "Search", "locator_for"]


class Question(NamedTuple):
    """A command for the server at ``target``."""

    target: Target
    command: tuple[str, ...]


Search = Generator[Question, Any, Target]
"""Yields questions; is sent replies, or the exception for want of one; returns the server."""


class Locator(Protocol):
    """Finds the server, each time that it is dialled."""

    needs_master: bool
    """Whether the server that was found must be asked for its role: it may just have lost it."""
    follows: bool
    """Whether ``MOVED`` and ``ASK`` mean something here."""
    chances: int
    """How many answers are worth trying, one after the other."""

    def search(self) -> Search:
        """Look for the server. Raises ``redis.exceptions.ConnectionError`` if nobody knows it."""

    def failed(self) -> None:
        """What the last search found was of no use: ask somebody else first next time."""

    def moved(self, address: Address) -> None:
        """The server said that the keys are at ``address`` now."""


def locator_for(target: Target, key: str | None) -> Locator:
    """The locator that suits ``target``; ``key`` is one of the keys that are wanted.

    Raises ``ConfigurationError`` for a cluster without a key.
    """
    if target.found_by == "sentinel":
        return Sentinels(target)
    if target.found_by == "cluster":
        if key is None:
            raise ConfigurationError(
                f"a client of the cluster {target.safe_url} serves the keys of one slot: "
                "give key=, one of them"
            )
        return ClusterNodes(target, key_slot(key.encode()))
    return Fixed(target)


class Fixed:
    """The server that the URL names."""

    needs_master = False
    follows = False
    chances = 1

    def __init__(self, target: Target) -> None:
        self._target = target

    def search(self) -> Search:
        """See ``Locator``."""
        yield from ()
        return self._target

    def failed(self) -> None:
        """See ``Locator``."""

    def moved(self, address: Address) -> None:
        """See ``Locator``."""


class Sentinels:
    """The master of a service, as one sentinel after the other knows it."""

    needs_master = True
    follows = False

    def __init__(self, target: Target) -> None:
        self._target = target
        self._sentinels = list(target.seeds)
        self.chances = len(target.seeds)

    def search(self) -> Search:
        """See ``Locator``."""
        service, reasons = self._target.service, []
        for sentinel in tuple(self._sentinels):
            asked = self._target.sentinel_at(sentinel)
            answer = yield Question(asked, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service))
            if (address := _address(answer, asked.host)) is not None:
                _put_first(self._sentinels, sentinel)
                return self._target.at(address)
            reasons.append(f"{asked.place}: {_why(answer, f'it knows no {service!r}')}")
        raise RedisConnectionError(
            f"no sentinel tells where the master of {service!r} is ({'; '.join(reasons)})"
        )

    def failed(self) -> None:
        """See ``Locator``."""
        self._sentinels.append(self._sentinels.pop(0))

    def moved(self, address: Address) -> None:
        """See ``Locator``."""


class ClusterNodes:
    """The node that holds one slot, as any node of the cluster knows it."""

    needs_master = False  # a replica says MOVED
    follows = True

    def __init__(self, target: Target, slot: int) -> None:
        self._target = target
        self._slot = slot
        self._nodes = list(target.seeds)
        self._told: Address | None = None
        self.chances = max(2, len(target.seeds))

    def search(self) -> Search:
        """See ``Locator``."""
        if (told := self._told) is not None:
            self._told = None
            return self._target.at(told)
        reasons = []
        for node in tuple(self._nodes):
            asked = self._target.at(node)
            answer = yield Question(asked, ("CLUSTER", "SLOTS"))
            if isinstance(answer, AuthenticationError | AuthorizationError):
                raise answer  # every node has the same users
            owner, others = self._read(answer, asked.host)
            if owner is not None:
                # Those that the URL names stay known: a cluster may change every address.
                known = dict.fromkeys((*others, *self._target.seeds))
                self._nodes = list(known)
                _put_first(self._nodes, node)
                return self._target.at(owner)
            reasons.append(f"{asked.place}: {_why(answer, f'nobody serves slot {self._slot}')}")
        raise RedisConnectionError(
            f"no node of the cluster tells who serves slot {self._slot} ({'; '.join(reasons)})"
        )

    def failed(self) -> None:
        """See ``Locator``."""
        self._nodes.append(self._nodes.pop(0))

    def moved(self, address: Address) -> None:
        """See ``Locator``."""
        self._told = address if _is_sound(address) else None

    def _read(self, answer: Any, asked: str) -> tuple[Address | None, list[Address]]:
        """The master of our slot in a reply to ``CLUSTER SLOTS``, and every node in it."""
        owner, nodes = None, []
        for span in answer if isinstance(answer, list) else ():
            if not isinstance(span, list) or len(span) < 3:
                continue
            found = [place for raw in span[2:] if (place := _address(raw, asked)) is not None]
            nodes += found
            first, last = span[:2]
            numbers = isinstance(first, int) and isinstance(last, int)
            if numbers and first <= self._slot <= last:
                owner = _address(span[2], asked)
        return owner, nodes


_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,253}")


def _is_sound(address: Address) -> bool:
    """Whether this can be an address at all: it comes from outside."""
    return _HOST.fullmatch(address[0]) is not None and 0 < address[1] < 65536


def _address(raw: Any, asked: str) -> Address | None:
    """A host and a port at the head of a list; without a host it is the one that was asked."""
    if not isinstance(raw, list) or len(raw) < 2:
        return None
    host, port = raw[:2]
    try:
        name = host.decode() if isinstance(host, bytes) else ""
        address = (asked if name in ("", "?") else name), int(port)
    except (TypeError, ValueError):
        return None
    return address if _is_sound(address) else None


def _put_first(addresses: list[Address], address: Address) -> None:
    if address in addresses:
        addresses.remove(address)
    addresses.insert(0, address)


def _why(answer: Any, otherwise: str) -> str:
    if not isinstance(answer, Exception):
        return otherwise
    return str(answer) or type(answer).__name__
