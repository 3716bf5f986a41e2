"""The arithmetic that the page of results rests on."""

import pytest

from benchmarks.figures import (
    SLOWER,
    Summary,
    advantages,
    judged,
    peers_best,
    slower,
    summarize,
    summarize_run,
)
from benchmarks.measures import GOALS, measure


def run(**subjects):
    """A run of one round: ``am2z={"drain": 10}``; ``node`` is BullMQ on Node."""
    names = {"node": "bullmq-node"}
    return summarize_run({names.get(name, name): [found] for name, found in subjects.items()})


def test_a_summary_is_the_median_with_the_lowest_and_the_highest():
    assert summarize([3, 100, 1]) == Summary(3, 1, 100, 3)
    assert summarize([1, 2]) == Summary(1.5, 1, 2, 2)
    assert summarize([4, 2, 6]).spread == 1.0


def test_nothing_has_no_summary():
    with pytest.raises(ValueError, match="nothing was measured"):
        summarize([])


def test_a_round_in_which_a_measure_is_missing_does_not_count_for_it():
    found = summarize_run({"saq": [{"drain": 1.0}, {"drain": 3.0, "p50": 2.0}]})
    assert found["saq"] == {"drain": Summary(2, 1, 3, 2), "p50": Summary(2, 2, 2, 1)}


def test_an_advantage_over_1_is_always_ours():
    assert measure("drain").advantage(10, 5) == 2
    assert measure("p50").advantage(5, 10) == 2
    assert measure("drain").advantage(5, 10) == 0.5


def test_the_best_peer_is_the_fastest_and_never_we_ourselves():
    found = run(
        am2z={"drain": 99, "p50": 0.1}, saq={"drain": 5, "p50": 2}, arq={"drain": 7, "p50": 3}
    )
    assert peers_best(found, "drain", "python") == ("arq", 7)
    assert peers_best(found, "p50", "python") == ("saq", 2)


def test_node_is_compared_apart_from_the_peers_on_python():
    found = run(am2z={"drain": 20}, saq={"drain": 5}, node={"drain": 40})
    assert advantages(found) == {"drain": 4}
    assert advantages(found, "node") == {"drain": 0.5}


def test_what_is_next_to_nothing_has_no_ratio():
    assert advantages(run(am2z={"idle": 0.3, "memory": 300}, saq={"idle": 0.01, "memory": 0})) == {}


def test_without_peers_there_are_no_ratios():
    assert advantages(run(am2z={"drain": 20})) == {}
    assert advantages(run(saq={"drain": 20})) == {}
    assert advantages(run(am2z={"drain": 20}, saq={"p50": 1})) == {}


@pytest.mark.parametrize(
    ("now", "is_told"),
    [(10.0, False), (10 / SLOWER, False), (10 / SLOWER - 0.01, True), (20.0, False)],
)
def test_a_ratio_is_told_that_fell_by_more_than_a_fifth(now, is_told):
    assert slower({"drain": now}, {"drain": 10.0}) == ({"drain": (10.0, now)} if is_told else {})


def test_a_ratio_without_a_past_is_not_slower():
    assert slower({"drain": 0.1}, {"p50": 5.0}) == {}


def test_goals_are_judged_by_ratio_or_by_bound():
    found = run(
        am2z={"drain": 26, "drain_two": 40, "full_redis": 41, "memory": 350},
        saq={"drain": 5},
        node={"drain": 30, "drain_two": 50},
    )
    told = {
        (goal.measure, goal.versus): (reached, is_met) for goal, reached, is_met in judged(found)
    }
    assert told == {
        ("drain", "python"): (5.2, True),
        ("drain_two", "node"): (0.8, False),
        ("full_redis", "bound"): (41, False),
        ("memory", "bound"): (350, True),
    }


def test_every_goal_is_about_a_known_measure_and_reads_well():
    for goal in GOALS:
        assert measure(goal.measure).label
        assert goal.text().split()[0] in {"ahead", "at", "5", "2", "3"}
