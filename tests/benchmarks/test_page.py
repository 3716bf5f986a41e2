"""The page of results, and what the next run is compared with."""

from benchmarks import record, table
from benchmarks.figures import summarize_run
from benchmarks.growth import AXES, BEND, Point


def results(before, ratio, form="full"):
    """A run in which we drain ``ratio`` times as fast as SAQ."""
    run = summarize_run({"am2z": [{"drain": 10.0 * ratio}], "saq": [{"drain": 10.0}]})
    about = {"commit": "c0ffee", "cores": 2}
    found = record.results(
        before,
        form,
        about,
        run,
        {"am2z": "defaults"},
        {"rq": "boom\nit broke"},
        {},
        {"drain": ratio},
    )
    return found, run


def page(found, run, before):
    return table.page(found, run, record.growth_of(found), record.all_ratios(run, {}), before)


def test_a_run_survives_its_file(tmp_path):
    found, run = results({}, 5.0)
    record.write(tmp_path / "deep" / "results.json", found)
    assert record.run_of(record.read(tmp_path / "deep" / "results.json")) == run


def test_no_file_is_an_empty_one(tmp_path):
    assert record.read(tmp_path / "none.json") == {}
    assert record.baseline({}) == {}


def test_a_run_is_compared_with_the_last_of_the_same_form():
    found, _ = results({}, 5.0)
    assert record.baseline(found) == {}
    found, _ = results(found, 7.0, form="quick")
    assert record.baseline(found) == {}
    found, _ = results(found, 6.0)
    assert record.baseline(found) == {"drain": 5.0}


def test_a_page_that_is_written_again_is_compared_with_the_same_run():
    found, _ = results({}, 8.0)
    found, _ = results(found, 5.0)
    again = {**found, "growth": {"workers": []}}
    assert record.baseline(again) == record.baseline(found) == {"drain": 8.0}


def test_the_history_is_bounded():
    found = {}
    for number in range(record.HISTORY + 5):
        found, _ = results(found, float(number))
    assert len(found["history"]) == record.HISTORY
    assert found["history"][0]["ratios"] == {"drain": 5.0}


def test_what_became_slower_stands_at_the_head_of_the_page():
    text = page(*results({}, 5.0), {"drain": 8.0})
    head, _, rest = text.partition("## The goals")
    assert "⚠ drain: 8.00 → 5.00" in head
    assert "Slower" not in rest


def test_what_did_not_is_said_too_and_a_first_run_says_neither():
    assert "No ratio is more than 20 % worse" in page(*results({}, 5.0), {"drain": 5.5})
    first = page(*results({}, 5.0), {})
    assert "Slower" not in first
    assert "No ratio" not in first


def test_the_page_names_goals_settings_and_who_failed():
    text = page(*results({}, 4.0), {})
    assert "✗ drain: 5 times the best Python peer; it is 4.00 times" in text
    assert "- **AM2Z**: defaults" in text
    assert "- RQ **failed**: `it broke`" in text
    assert "<sub>40-40</sub>" in text


def test_a_bend_upward_is_flagged():
    axis = AXES[0]
    flat = [Point(1_000, 50, 50), Point(1_000_000, 60, 60)]
    bent = [Point(1_000, 50, 50), Point(1_000_000, 60, 61)]
    assert axis.bend(flat) == BEND
    assert "flat enough" in "\n".join(table.growth_lines({axis.name: flat}))
    assert "bends upward" in "\n".join(table.growth_lines({axis.name: bent}))


def test_the_end_of_an_axis_is_compared_with_its_reference():
    sessions = next(axis for axis in AXES if axis.name == "sessions")
    points = [Point(1, 10, 0), Point(1_000, 50, 0), Point(100_000, 55, 0)]
    assert sessions.bend(points) == 1.1
