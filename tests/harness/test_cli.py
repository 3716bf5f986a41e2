"""The command line: the catalogue, the help, and what is a mistake."""

import json
import subprocess
import sys

import pytest

from harness.catalogue import GROUPS, load_catalogue
from tests.harness.command import ENVIRONMENT


def test_rules_as_json_have_the_promised_fields(run):
    status, out, _ = run("rules", "--json")
    rows = json.loads(out)
    assert status == 0
    assert [row["id"] for row in rows] == list(load_catalogue())
    assert set(rows[0]) == {"id", "level", "group", "text", "seed"}
    assert {row["group"] for row in rows} == set(GROUPS)
    assert len([line for row in rows for line in row["seed"].split(" | ") if line]) == 83


def test_rules_as_text_name_each_rule(run):
    status, out, _ = run("rules")
    assert status == 0
    assert all(rule_id in out for rule_id in load_catalogue())


def test_rules_may_be_piped_into_something_that_stops_reading():
    done = subprocess.run(
        f"{sys.executable} -m am2z rules --json | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True, capture_output=True, text=True, env=ENVIRONMENT, executable="/bin/bash",
        check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "["
    assert "Traceback" not in done.stderr


def test_explain_tells_everything_about_a_rule(run):
    rule_id, rule = next((i, r) for i, r in load_catalogue().items() if r.seed and r.mutants)
    status, out, _ = run("explain", rule_id.lower())
    assert status == 0
    flat = " ".join(out.split())
    for text in (rule_id, rule.text, rule.intent, rule.help, *rule.seed, *rule.mutants):
        assert " ".join(text.split()) in flat


def test_explain_of_an_unknown_rule_suggests_near_ones(run):
    status, out, err = run("explain", "STA-04")
    assert (status, out) == (2, "")
    assert "did you mean STA-0" in err


def test_help_has_examples_and_the_version_is_told(run):
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("am2z ")
    status, out, _ = run("conformance", "--help")
    assert status == 0
    assert "am2z conformance local --report report" in out
    assert "130 interrupted" in out


@pytest.mark.parametrize("arguments", [(), ("fly",), ("rules", "--yaml"), ("explain",)])
def test_a_command_that_makes_no_sense_ends_with_2_and_help(run, arguments):
    status, out, err = run(*arguments)
    assert status == 2
    assert "usage: am2z" in out + err


def test_a_missing_extra_is_named_with_the_command_that_installs_it(run, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'rich'", name="rich")

    monkeypatch.setattr("am2z.cli.kit.import_module", missing)
    status, _, err = run("conformance")
    assert status == 2
    assert 'pip install "am2z[harness]"' in err
    assert "rich" in err


def test_a_fault_of_our_own_is_not_taken_for_a_missing_extra(run, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'harness.x'", name="harness.x")

    monkeypatch.setattr("am2z.cli.kit.import_module", missing)
    with pytest.raises(ModuleNotFoundError):
        run("conformance")
