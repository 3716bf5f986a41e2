"""What a verdict takes, and the ways in which one could try to get it without deserving it."""

import pytest

from harness.outcome import Outcome, Status
from harness.verdict import Verdict, judge
from tests.harness.conftest import make_rule

CATALOGUE = {rule_id: make_rule(rule_id) for rule_id in ("LIF-001", "EXE-001", "STA-001")}


def verdict_of(**statuses):
    names = dict(zip(("first", "second", "third"), CATALOGUE, strict=True))
    outcomes = [
        Outcome(rule=names[name], runtime="mine", status=status)
        for name, status in statuses.items()
    ]
    return judge(CATALOGUE, ["mine"], outcomes)["mine"].verdict


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((Status.PASS, Status.PASS, Status.PASS), Verdict.CONFORMANT),
        ((Status.PASS, Status.SKIP, Status.PASS), Verdict.CONFORMANT),
        ((Status.PASS, Status.KNOWN, Status.PASS), Verdict.PARTIAL),
        ((Status.PASS, Status.FAIL, Status.PASS), Verdict.NON_CONFORMANT),
        ((Status.PASS, Status.FIXED, Status.PASS), Verdict.NON_CONFORMANT),
        ((Status.PASS, Status.UNDECIDED, Status.PASS), Verdict.INCOMPLETE),
        ((Status.PASS, Status.OVERRIDDEN, Status.PASS), Verdict.INCOMPLETE),
        ((Status.PASS, Status.NOT_RUN, Status.PASS), Verdict.INCOMPLETE),
        ((Status.UNDECIDED, Status.FAIL, Status.PASS), Verdict.NON_CONFORMANT),
        ((Status.UNDECIDED, Status.KNOWN, Status.PASS), Verdict.INCOMPLETE),
        ((Status.SKIP, Status.SKIP, Status.SKIP), Verdict.INCOMPLETE),
    ],
)
def test_the_worst_end_of_a_rule_makes_the_verdict(statuses, expected):
    assert verdict_of(**dict(zip(("first", "second", "third"), statuses, strict=True))) == expected


def test_a_rule_without_an_outcome_leaves_the_verdict_incomplete():
    assert verdict_of(first=Status.PASS, second=Status.PASS) == Verdict.INCOMPLETE


def test_a_runtime_that_nothing_was_asked_of_is_incomplete():
    assert judge(CATALOGUE, ["mine"], [])["mine"].verdict == Verdict.INCOMPLETE


def test_an_empty_catalogue_makes_nobody_conformant():
    assert judge({}, ["mine"], [])["mine"].verdict == Verdict.INCOMPLETE


@pytest.mark.parametrize("order", [1, -1])
def test_a_rule_that_ran_twice_counts_as_its_worse_end(order):
    ends = [Outcome(rule="EXE-001", runtime="mine", status=s) for s in (Status.PASS, Status.FAIL)]
    found = judge(CATALOGUE, ["mine"], ends[::order])["mine"]
    assert found.outcomes["EXE-001"].status is Status.FAIL


def test_an_outcome_of_a_rule_that_is_not_in_the_catalogue_counts_for_nothing():
    strange = Outcome(rule="XXX-001", runtime="mine", status=Status.PASS)
    found = judge(CATALOGUE, ["mine"], [strange])["mine"]
    assert set(found.outcomes) == set(CATALOGUE)
    assert found.verdict is Verdict.INCOMPLETE
