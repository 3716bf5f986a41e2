"""From the ends of single rules to one word for a runtime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from harness.catalogue import Rule
from harness.outcome import Outcome, Status

__all__ = ["ALTERED", "RuntimeVerdict", "Verdict", "judge"]

ALTERED = "the kit was changed while it ran"
"""How the reason begins that ``harness.integrity`` gives."""


class Verdict(StrEnum):
    """What the kit says of a runtime."""

    CONFORMANT = "CONFORMANT"
    """Every rule holds, or asks for something that the runtime declares to lack."""
    PARTIAL = "PARTIAL"
    """As declared: some rules are known failures, each with its reason."""
    NON_CONFORMANT = "NON-CONFORMANT"
    """A rule is broken, or a declaration is not true."""
    INCOMPLETE = "INCOMPLETE"
    """Not every rule was decided: nobody can say."""


class RuntimeVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one runtime; ``reasons`` is empty for CONFORMANT."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    outcomes: dict[str, Outcome]


# Where a rule ran twice on one runtime the worse end counts; the worst comes first.
_WORST_FIRST = (
    Status.FAIL,
    Status.FIXED,
    Status.UNDECIDED,
    Status.OVERRIDDEN,
    Status.KNOWN,
    Status.PASS,
    Status.SKIP,
    Status.NOT_RUN,
)

_BROKEN = {Status.FAIL: "broken", Status.FIXED: "declared as failing, but holding"}
_OPEN = {
    Status.OVERRIDDEN: "replaced by something else",
    Status.UNDECIDED: "undecided",
    Status.NOT_RUN: "not run",
}


def judge(
    catalogue: Mapping[str, Rule], runtimes: Iterable[str], outcomes: Iterable[Outcome]
) -> dict[str, RuntimeVerdict]:
    """The verdict on each runtime: those that have an outcome and those that should have one."""
    by_runtime: dict[str, dict[str, Outcome]] = defaultdict(dict)
    for name in runtimes:
        by_runtime[name] = {}
    for outcome in outcomes:
        known = by_runtime[outcome.runtime].get(outcome.rule)
        if known is None or _rank(outcome) < _rank(known):
            by_runtime[outcome.runtime][outcome.rule] = outcome
    return {name: _judge_one(catalogue, name, found) for name, found in by_runtime.items()}


def _judge_one(
    catalogue: Mapping[str, Rule], runtime: str, found: Mapping[str, Outcome]
) -> RuntimeVerdict:
    complete = {
        rule_id: found.get(rule_id)
        or Outcome(
            rule=rule_id,
            runtime=runtime,
            status=Status.NOT_RUN,
            reason="deselected, removed, or not reached",
        )
        for rule_id in catalogue
    }
    by_status: dict[Status, list[str]] = defaultdict(list)
    for rule_id, outcome in complete.items():
        by_status[outcome.status].append(rule_id)
    if broken := _say(by_status, _BROKEN):
        verdict = Verdict.NON_CONFORMANT
    elif not by_status[Status.PASS] or _say(by_status, _OPEN):
        verdict = Verdict.INCOMPLETE
    elif by_status[Status.KNOWN]:
        verdict = Verdict.PARTIAL
    else:
        verdict = Verdict.CONFORMANT
    reasons = [*broken, *_say(by_status, _OPEN), *_say(by_status, {Status.KNOWN: "known to fail"})]
    if not by_status[Status.PASS]:
        reasons.append("no rule passed")
    return RuntimeVerdict(verdict=verdict, reasons=tuple(reasons), outcomes=complete)


def _say(by_status: Mapping[Status, list[str]], words: Mapping[Status, str]) -> list[str]:
    return [
        f"{len(by_status[status])} {word}: {', '.join(by_status[status])}"
        for status, word in words.items()
        if by_status.get(status)
    ]


def _rank(outcome: Outcome) -> int:
    return _WORST_FIRST.index(outcome.status)
