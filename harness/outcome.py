"""How one rule ended on one runtime."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Outcome", "Status", "Undecided"]


class Status(StrEnum):
    """The possible ends of a rule. Only ``PASS`` and ``SKIP`` leave a verdict green."""

    PASS = "pass"  # noqa: S105 - a verdict, no secret
    SKIP = "skip"
    """Not asked, because the runtime declares to lack what the rule requires."""
    FAIL = "fail"
    KNOWN = "known-failure"
    """Fails, as declared."""
    FIXED = "unexpected-pass"
    """Holds, although declared as a known failure."""
    UNDECIDED = "undecided"
    """The checker could not tell, or crashed."""
    OVERRIDDEN = "overridden"
    """What ran under this id is not the kit's rule."""
    NOT_RUN = "not-run"


class Undecided(Exception):  # noqa: N818 - an answer rather than an error
    """Raised by a rule that could not decide, for instance within its budget. Never green."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a rule ended: the reason is one line, the lesson a whole explanation of a failure."""

    rule: str
    runtime: str
    status: Status
    reason: str = ""
    lesson: str = ""
    seconds: float = 0.0
