"""How an execution of the model ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.oracle.model.tables import CODES

__all__ = ["Outcome", "Value"]

Value = tuple[int, tuple[str, ...]]
"""``count`` and ``trail`` of a state."""


@dataclass(frozen=True)
class Outcome:
    """A value or an error. ``attempt`` is ``None`` where none ended the execution by itself.

    ``steps`` is how many steps of a composition were done, ``at`` the one that failed.
    """

    value: Value
    error: str = ""
    attempt: int | None = None
    steps: Any = 0
    at: str | None = None

    def seen(self) -> dict[str, Any]:
        """As the player writes down a result."""
        count, trail = self.value
        seen: dict[str, Any] = {"ok": not self.error, "count": count, "trail": list(trail)}
        if self.error:
            seen |= {"error": self.error, "code": CODES[self.error]}
        if self.attempt is not None:
            seen["attempt"] = self.attempt
            if self.error:
                seen |= {"steps": self.steps, "at": self.at}
        return seen
