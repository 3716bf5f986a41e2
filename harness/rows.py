"""How the outcome of a rule travels: as text in the ``user_properties`` of a test's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.outcome import Outcome, Status

if TYPE_CHECKING:
    from harness.kit import Kit

__all__ = ["outcome_of", "row", "tampered"]


def row(report: pytest.TestReport, rule_id: str, kit: Kit | None, runtime: str) -> str | None:
    """The outcome that belongs to one phase of a rule's test; ``None`` where there is none.

    Only the kit says that a rule holds: a test that passes without having asked the kit says
    nothing, and is found missing.
    """
    if report.when == "call":
        outcome = kit.outcome if kit is not None else None
        if outcome is not None and report.failed and outcome.status in (Status.PASS, Status.SKIP):
            outcome = msgspec.structs.replace(
                outcome, status=Status.UNDECIDED, reason=f"fails beside the rule: {_last(report)}"
            )
    elif report.failed:
        outcome = Outcome(
            rule=rule_id,
            runtime=runtime,
            status=Status.UNDECIDED,
            reason=f"{report.when} failed: {_last(report)}",
        )
    elif report.skipped:
        outcome = Outcome(
            rule=rule_id, runtime=runtime, status=Status.NOT_RUN, reason=_skip_reason(report)
        )
    else:
        outcome = None
    return None if outcome is None else msgspec.json.encode(outcome).decode()


def outcome_of(text: str) -> Outcome:
    """The outcome that ``row`` wrote down, with or without a signature before it."""
    return msgspec.json.decode(text[text.index("{") :], type=Outcome)


def tampered(outcome: Outcome) -> Outcome:
    """An outcome that is not what the kit sent."""
    reason = "the outcome was changed on its way to the report"
    return msgspec.structs.replace(outcome, status=Status.UNDECIDED, reason=reason, lesson="")


def _last(report: pytest.TestReport) -> str:
    lines = report.longreprtext.strip().splitlines()
    return lines[-1].strip()[:200] if lines else "no reason was given"


def _skip_reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return "skipped before it began"
