"""The state that the rules and the helpers work with."""

from __future__ import annotations

from typing import Any

from am2z import AppState, create_app_state

__all__ = ["TestState", "create_test_state"]


class TestState(AppState, frozen=True, kw_only=True):
    """A state with a field of each common kind."""

    __test__ = False  # pytest collects classes of this name otherwise

    count: int = 0
    message: str = ""
    processed: bool = False
    error: str = ""
    items: list[str] = []  # noqa: RUF012 - msgspec copies it
    total: float = 0.0


def create_test_state(session_id: str = "", **fields: Any) -> TestState:
    """A ``TestState`` with the message ``"test"`` and what ``fields`` say.

    Example: ``create_test_state(count=3, items=["a"])``.
    """
    return create_app_state(TestState, session_id, **{"message": "test", **fields})
