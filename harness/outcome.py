"""How one rule ended on one runtime."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Moment", "Outcome", "Status", "Story", "Undecided"]


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


class Moment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event of the runtime under test: ``at`` is in seconds since the first one of the rule."""

    at: float
    type: str
    runtime: str = ""
    """Which runtime told it, where the rule made several: ``r1``, ``r2``, …"""
    processor: str = ""
    execution: str = ""
    session: str = ""
    data: str = ""


class Story(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a failure was made of, in parts: a report draws them, ``Outcome.lesson`` tells them."""

    seen: tuple[str, ...] = ()
    program: str = ""
    """The shrunk program that broke the rule, where it was checked by generated programs."""
    expected: str = ""
    actual: str = ""
    events: tuple[Moment, ...] = ()
    events_left_out: int = 0
    replay: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a rule ended: the reason is one line, the lesson a whole explanation of a failure."""

    rule: str
    runtime: str
    status: Status
    reason: str = ""
    lesson: str = ""
    seconds: float = 0.0
    story: Story | None = None
