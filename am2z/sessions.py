"""Which items belong to which session."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["SessionManager"]

T = TypeVar("T", bound=Hashable)


class SessionManager(Generic[T]):
    """Keeps the items of each session: queue names, connections, whatever ends with it.

    An item is in a session at most once. No method raises for a session that is not there: when
    several tasks clean up, each may come second.

    Example::

        queues: SessionManager[str] = SessionManager()
        queues.add_to_session("customer-7", "resize")
        for name in queues.session_items("customer-7"):
            ...
        queues.clean_session("customer-7")
    """

    def __init__(self) -> None:
        # A dict for its order: items come back in the order in which they came.
        self._sessions: dict[str, dict[T, None]] = {}

    def create_session(self, session_id: str) -> None:
        """Make the session known, without items. One that exists stays as it is."""
        self._sessions.setdefault(session_id, {})

    def add_to_session(self, session_id: str, item: T) -> None:
        """Put ``item`` into the session, which is created where it is not there yet."""
        self._sessions.setdefault(session_id, {})[item] = None

    def remove_from_session(self, session_id: str, item: T) -> None:
        """Take ``item`` out of the session.

        With its last item the session ends, so that a long life leaves nothing behind.
        """
        items = self._sessions.get(session_id)
        if items is not None and item in items:
            del items[item]
            if not items:
                del self._sessions[session_id]

    def has_in_session(self, session_id: str, item: T) -> bool:
        """Whether ``item`` is in the session."""
        return item in self._sessions.get(session_id, ())

    def clean_session(self, session_id: str) -> None:
        """Forget the session and all its items."""
        self._sessions.pop(session_id, None)

    def active_sessions(self) -> list[str]:
        """The sessions that are there, sorted."""
        return sorted(self._sessions)

    def session_items(self, session_id: str) -> list[T]:
        """The session's items in the order in which they came; a list of your own."""
        return list(self._sessions.get(session_id, ()))

    def session_count(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def total_item_count(self) -> int:
        """How many items all sessions have together."""
        return sum(map(len, self._sessions.values()))

    def clear(self) -> None:
        """Forget every session."""
        self._sessions.clear()
