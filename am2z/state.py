"""States: immutable values with a version, and what keeps them for a session."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, Self, TypeVar, cast, dataclass_transform, overload

import msgspec

from am2z.typenames import type_name

__all__ = [
    "AppState",
    "StateManager",
    "StateMetadata",
    "StateT",
    "Versioned",
    "create_app_state",
    "find_state_class",
    "in_session",
]


class StateMetadata(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a state comes from and how often it changed.

    ``version`` grows with each change of the value; ``created_at`` and ``last_updated`` are
    wall-clock times in seconds since the epoch. ``session_id`` is empty until a runtime fills it.
    """

    version: int = 1
    session_id: str = ""
    created_at: float = msgspec.field(default_factory=time.time)
    last_updated: float = msgspec.field(default_factory=time.time)


class _StateMeta(msgspec.StructMeta):
    """Makes every subclass frozen and keyword-only, which msgspec asks for class by class."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **kw: Any) -> Any:
        kw.setdefault("kw_only", True)
        if not kw.setdefault("frozen", True):
            raise TypeError(f"{name}: a state is immutable; leave frozen=False out, use evolve()")
        new = super().__new__(cls, name, bases, body, **kw)
        _classes[type_name(new)] = cast("type[AppState]", new)
        return new


_classes: dict[str, type[AppState]] = {}


def find_state_class(name: str) -> type[AppState] | None:
    """The state class known on the wire as ``name``, if this process has defined or imported it."""
    return _classes.get(name)


# Once for the classes below it (type checkers look here before they look at the metaclass).
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class AppState(msgspec.Struct, frozen=True, metaclass=_StateMeta):
    """The base of every state: an immutable record that you subclass with fields of your own.

    Fields may hold whatever msgspec can encode: numbers, strings, lists, dataclasses, other
    structs, dates, UUIDs, enums, mappings with string keys, sets of values that can be sorted. ::

        class Order(AppState):
            items: list[str] = []
            total: float = 0.0

        order = Order(items=["chair"])
        order = order.evolve(total=49.0)
    """

    metadata: StateMetadata = msgspec.field(default_factory=StateMetadata)

    def evolve(self, **changes: Any) -> Self:
        """A copy with ``changes``, its version and ``last_updated`` moved on.

        Raises ``TypeError`` for a field that the state does not have, and for ``metadata``, which
        the library keeps itself.
        """
        if "metadata" in changes:
            raise TypeError("evolve() keeps the metadata itself; leave metadata out of the changes")
        old = self.metadata
        metadata = StateMetadata(
            version=old.version + 1,
            session_id=old.session_id,
            created_at=old.created_at,
            last_updated=max(time.time(), old.last_updated),
        )
        return msgspec.structs.replace(self, metadata=metadata, **changes)


StateT = TypeVar("StateT", bound=AppState)
StateT_co = TypeVar("StateT_co", bound=AppState, covariant=True)


def create_app_state(cls: type[StateT], session_id: str, **fields: Any) -> StateT:
    """A new state of class ``cls`` that belongs to ``session_id``.

    Example: ``create_app_state(Order, "customer-7", items=["chair"])``.
    """
    return cls(metadata=StateMetadata(session_id=session_id), **fields)


def in_session(state: StateT, session_id: str) -> StateT:
    """``state`` as it enters a session: its metadata name the session."""
    if not isinstance(state, AppState) or state.metadata.session_id == session_id:
        return state  # what is no state is refused where it is encoded
    metadata = msgspec.structs.replace(state.metadata, session_id=session_id)
    return msgspec.structs.replace(state, metadata=metadata)


class Versioned(msgspec.Struct, Generic[StateT_co], frozen=True):
    """A committed state as a ``StateManager`` keeps it.

    ``version`` counts the commits of the session: 1 for the first. ``checksum`` is the SHA-256 of
    the canonical bytes, as 64 hex digits.
    """

    state: StateT_co
    version: int
    checksum: str


class StateManager(Protocol):
    """Keeps one committed state for each session. Every write is one atomic step.

    Every method may raise ``NetworkError`` where the store is elsewhere.
    """

    @overload
    async def get(self, session_id: str) -> Versioned[AppState] | None: ...
    @overload
    async def get(self, session_id: str, cls: type[StateT]) -> Versioned[StateT] | None: ...

    async def set(
        self,
        session_id: str,
        state: AppState,
        ttl: float | None = None,
        *,
        expected_version: int | None = None,
    ) -> int:
        """Commit ``state`` and answer its version.

        ``ttl`` is in seconds (``None``: the runtime's ``state_ttl``). With ``expected_version`` the
        write happens only if that is the version now (0: there is none), else
        ``StateConflictError`` is raised. A state that cannot cross the wire raises
        ``ValidationError``, one that is too large ``PayloadTooLargeError``.
        """
        ...

    async def update(
        self, session_id: str, fn: Callable[[StateT], StateT | Awaitable[StateT]]
    ) -> StateT:
        """Read, change with ``fn``, write back if nobody else wrote meanwhile, else try again.

        ``fn`` may run several times. The state's time to live stays what it is, unless the runtime
        has a ``state_ttl``, which begins anew with each write. Raises ``StateNotFoundError`` where
        there is no state, ``StateConflictError`` when others keep winning, ``ValidationError``
        where ``fn`` returns no state, and what ``fn`` raises.
        """
        ...

    async def delete(self, session_id: str) -> None:
        """Forget the session's state. No error where there is none."""
        ...

    async def exists(self, session_id: str) -> bool:
        """Whether the session has a state."""
        ...

    async def version(self, session_id: str) -> int:
        """How often the session's state was committed; 0 where there is none."""
        ...
