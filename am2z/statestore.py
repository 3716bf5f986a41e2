"""The part of a state manager that does not depend on where the bytes are."""

from __future__ import annotations

import inspect
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

import trio

from am2z.codec import checksum, decode_named_state, decode_state, encode_state
from am2z.errors import (
    AM2ZError,
    ConfigurationError,
    StateConflictError,
    StateCorruptError,
    StateNotFoundError,
    ValidationError,
)
from am2z.ids import check_name
from am2z.policy import check_duration
from am2z.state import AppState, StateT, Versioned, in_session
from am2z.typenames import type_name

__all__ = ["BaseStateManager", "StateRecord"]

UPDATE_ATTEMPTS = 64
"""How often ``update`` tries before it says that others keep winning."""


class StateRecord(NamedTuple):
    """A committed state as it is stored."""

    version: int
    type_name: str
    data: bytes
    checksum: str


class BaseStateManager(ABC):
    """Encodes, checks and retries; a subclass reads and writes records."""

    def __init__(self, *, max_bytes: int, ttl: float | None) -> None:
        self._max_bytes = max_bytes
        self._ttl = ttl

    @abstractmethod
    async def read(self, session_id: str) -> StateRecord | None:
        """The record of a session."""

    @abstractmethod
    async def write(
        self,
        session_id: str,
        data: bytes,
        name: str,
        digest: str,
        *,
        ttl: float | None,
        expected: int | None,
        seen: str | None = None,
        keeps_ttl: bool = False,
    ) -> int:
        """Store a record and answer its version, all in one step.

        ``seen``: the checksum of the record that it is to replace. A version alone does not tell
        it: after a ``delete`` they begin at 1 again. ``keeps_ttl``: the record lives as long as
        the one that it replaces would have.

        Raises ``StateConflictError`` where the version is not ``expected``, or the checksum not
        ``seen`` (``None``: any will do).
        """

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """Forget the session's state, after ``check_name``. No error where there is none."""

    async def get(self, session_id: str, cls: type[Any] | None = None) -> Versioned[Any] | None:
        """The committed state of a session, or ``None``.

        It is decoded into ``cls``, or into the class under whose name it was stored. Raises
        ``StateCorruptError`` where the bytes do not match their checksum, ``ValidationError`` where
        they do not fit the class or the class is unknown here.
        """
        check_name(session_id, "session")
        record = await self.read(session_id)
        return None if record is None else _verified(session_id, record, cls)

    async def set(
        self,
        session_id: str,
        state: AppState,
        ttl: float | None = None,
        *,
        expected_version: int | None = None,
    ) -> int:
        """Commit a state and answer its version; see ``StateManager.set``."""
        check_name(session_id, "session")
        if ttl is not None:
            check_duration("ttl", ttl)
        if expected_version is not None and expected_version < 0:
            raise ConfigurationError(f"expected_version is {expected_version}; give 0 or more")
        return await self._set(
            session_id, state, self._ttl if ttl is None else ttl, expected_version
        )

    async def _set(
        self,
        session_id: str,
        state: AppState,
        ttl: float | None,
        expected: int | None,
        *,
        seen: str | None = None,
        keeps_ttl: bool = False,
    ) -> int:
        data = encode_state(in_session(state, session_id), self._max_bytes)
        decode_state(type(state), data)  # what cannot be read back is refused now, not later
        return await self.write(
            session_id,
            data,
            type_name(type(state)),
            checksum(data),
            ttl=ttl,
            expected=expected,
            seen=seen,
            keeps_ttl=keeps_ttl,
        )

    async def update(
        self, session_id: str, fn: Callable[[StateT], StateT | Awaitable[StateT]]
    ) -> StateT:
        """Read, change, write back if nobody wrote meanwhile; see ``StateManager.update``."""
        for round_ in range(UPDATE_ATTEMPTS):
            current = await self.get(session_id)
            if current is None:
                raise StateNotFoundError(
                    f"session {session_id!r} has no state to update; call set() first"
                )
            answer = fn(cast("StateT", current.state))
            new = await answer if inspect.isawaitable(answer) else answer
            if not isinstance(new, AppState):
                raise ValidationError("state", f"the update returned a {type(new).__name__}")
            new = in_session(new, session_id)  # what is answered is what is stored
            try:
                await self._set(
                    session_id,
                    new,
                    self._ttl,
                    current.version,
                    seen=current.checksum,
                    keeps_ttl=self._ttl is None,
                )
            except StateConflictError:
                # Waiting a random while, longer with each round, lets one of many through.
                longest = 0.001 * min(2**round_, 32)
                await trio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret
            else:
                return new
        raise StateConflictError(
            f"others changed the state of session {session_id!r} in each of {UPDATE_ATTEMPTS} tries"
        )

    async def exists(self, session_id: str) -> bool:
        """Whether the session has a state."""
        return await self.version(session_id) > 0

    async def version(self, session_id: str) -> int:
        """How often the session's state was committed; 0 where there is none."""
        check_name(session_id, "session")
        record = await self.read(session_id)
        return 0 if record is None else record.version


def _verified(session_id: str, record: StateRecord, cls: type[Any] | None) -> Versioned[Any]:
    if checksum(record.data) != record.checksum:
        raise StateCorruptError(
            f"the state of session {session_id!r} (version {record.version}) does not match its "
            "checksum; restore it, or clean the session",
            context={"session_id": session_id, "version": record.version},
        )
    try:
        if cls is None:
            state = decode_named_state(record.type_name, record.data)
        else:
            state = decode_state(cls, record.data)
    except AM2ZError as error:
        error.context.setdefault("session_id", session_id)
        raise
    return Versioned(state, record.version, record.checksum)


def conflict(session_id: str, expected: int | None, actual: int) -> StateConflictError:
    """The error of a compare-and-set that lost."""
    return StateConflictError(
        f"the state of session {session_id!r} is at version {actual}, not {expected}; "
        "read it again, or use update()",
        context={"session_id": session_id, "expected": expected, "actual": actual},
    )
