"""What a model says: what an operation shows, as plain data, and what is left open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from harness.oracle.program import Op

__all__ = ["ANY", "CLOSING", "Planned", "Seen"]

CLOSING = "afterwards"
"""What the last entry of a script is called: what is looked at when all is over."""

Seen = dict[str, Any]
"""What an operation shows, as plain data."""


class _Any:
    def __repr__(self) -> str:
        return "(anything)"


ANY: Final = _Any()
"""What the contract does not say."""


@dataclass(frozen=True)
class Planned:
    """An operation, and what it is to show. ``op`` is ``None`` for the look at the end."""

    op: Op | None
    expected: Seen

    @property
    def title(self) -> str:
        """The operation as text."""
        return CLOSING if self.op is None else str(self.op)
