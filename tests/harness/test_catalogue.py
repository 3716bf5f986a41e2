"""The catalogue: what an entry may be, and that every rule has its check."""

import ast
from pathlib import Path

import pytest

import harness
from am2z import ConfigurationError
from harness.catalogue import GROUPS, load_catalogue, read_catalogue
from harness.conformance import MODULES
from harness.fingerprint import code_fingerprint
from harness.rules import published_rules, rule
from harness.specification import specification
from tests.harness.conftest import make_rule

SEED = Path(__file__).parent / "seed_scenarios.txt"

ENTRY = """
[[rule]]
id = "STA-004"
level = "MUST"
text = "The law."
intent = "The reason."
strength = "exact"
help = "Look at it."
"""


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, name="state.toml"):
        (tmp_path / name).write_text(text)
        return read_catalogue(sorted(tmp_path.glob("*.toml")))

    return write_and_read


def test_an_entry_needs_no_more_than_its_texts(read):
    entry = read(ENTRY)["STA-004"]
    assert (entry.since, entry.requires, entry.seed, entry.safety) == ("1.0", (), (), False)
    assert entry.group == "STA"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"STA-004"', '"STATE-4"'), "three digits"),
        (('"STA-004"', '"XYZ-004"'), "give one of LIF"),
        (('"MUST"', '"MAY"'), "MAY"),
        (('"The law."', '" "'), "text is empty"),
        (('"exact"', '"mostly"'), "mostly"),
        (("help =", "hlep ="), "hlep"),
        (("help =", "requires = ['WINGS']\nhelp ="), "WINGS"),
        (("help =", "safety = true\nrequires = ['DURABLE']\nhelp ="), "requires no capability"),
        (('"MUST"', '"SHOULD"\nsafety = true'), "a safety rule is a MUST"),
        (("id =", "id"), "state.toml"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_file(read, change, words):
    with pytest.raises(ConfigurationError, match=r"state\.toml: ") as caught:
        read(ENTRY.replace(*change))
    assert words in str(caught.value)


def test_an_id_is_given_once(read):
    with pytest.raises(ConfigurationError, match="STA-004 is there twice"):
        read(ENTRY + ENTRY)


def test_a_file_holds_one_group(read):
    with pytest.raises(ConfigurationError, match="more than one group"):
        read(ENTRY + ENTRY.replace("STA-004", "EXE-001"))


def test_rules_come_group_by_group(read, tmp_path):
    (tmp_path / "a.toml").write_text(ENTRY)
    assert list(read(ENTRY.replace("STA-004", "LIF-009"), "b.toml")) == ["LIF-009", "STA-004"]


def test_an_unknown_id_is_answered_with_near_ones(read):
    catalogue = read(ENTRY)
    assert catalogue.find(" sta-004 ").id == "STA-004"
    with pytest.raises(ConfigurationError, match="did you mean STA-004"):
        catalogue.find("STA-04")
    with pytest.raises(ConfigurationError, match="`am2z rules` lists them"):
        catalogue.find("wings")


# --- the rules that are shipped


def test_every_rule_of_the_catalogue_is_checked_and_every_check_is_in_the_catalogue():
    assert published_rules().keys() == load_catalogue().keys()


def test_every_group_has_rules():
    assert {entry.group for entry in load_catalogue().values()} == set(GROUPS)


def test_every_scenario_of_the_test_plan_is_in_exactly_one_rule():
    scenarios = SEED.read_text().splitlines()
    found = [line for entry in load_catalogue().values() for line in entry.seed]
    assert len(scenarios) == 83
    assert sorted(found) == sorted(scenarios)


def test_every_check_is_the_published_one():
    assert all(check.is_published for check in published_rules().values())


def test_the_star_import_brings_every_rule_and_nothing_else():
    import harness.conformance as all_rules

    tests = [getattr(all_rules, name) for name in all_rules.__all__]
    assert {test.am2z_check.rule.id for test in tests} == set(load_catalogue())
    assert all(name.startswith("test_") for name in all_rules.__all__)


@pytest.mark.parametrize("folder", ["local", "distributed"])
def test_every_module_of_rules_is_run_on_both_runtimes(folder):
    files = Path(__file__).parents[1].joinpath(folder).glob("test_*.py")
    run = {
        node.module.removeprefix("harness.conformance.")
        for file in files
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    }
    assert run == set(MODULES)


def test_no_rule_names_an_implementation():
    for path in (Path(harness.__file__).parent / "conformance").rglob("*.py"):
        names = {
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Name | ast.Attribute)
        }
        assert not names & {"LocalRuntime", "QueueRuntime"}, path


def test_the_kit_uses_only_public_names_of_am2z_outside_of_its_mutants():
    root = Path(harness.__file__).parent
    for path in set(root.rglob("*.py")) - set((root / "zoo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("am2z"):
                public = ("am2z", "am2z.authoring")
                assert node.module in public, f"{path}:{node.lineno}"
            if isinstance(node, ast.Import):
                assert not [a for a in node.names if a.name.startswith("am2z.")], path


def test_every_rule_says_all_that_there_is_to_say():
    for entry in load_catalogue().values():
        assert entry.level in ("MUST", "SHOULD")
        assert entry.strength in ("exact", "model", "history", "stochastic")
        for name in ("text", "intent", "help", "since", "mutants"):
            assert getattr(entry, name), f"{entry.id}: {name}"
        for name in ("text", "intent", "help"):
            said = getattr(entry, name).strip()
            assert said[-1] in ".?!`)", f"{entry.id}: {name} is no sentence"


def test_an_old_rule_does_not_change_its_age_with_the_specification(read, monkeypatch):
    monkeypatch.setattr("harness.catalogue.SPEC", "2.0")
    assert read(ENTRY)["STA-004"].since == "1.0"


def test_the_specification_is_what_the_catalogue_says():
    page = Path(__file__).parents[2] / "docs" / "spec.md"
    made = specification(load_catalogue())
    assert page.read_text() == made, "run: am2z rules --markdown > docs/spec.md"


def test_the_specification_tells_everything_about_a_rule():
    entry = make_rule(
        requires=("DURABLE",), mutants=("a-fault",), safety=False, text="`*` and a *star*."
    )
    told = specification({entry.id: entry})
    assert told.count("### STA-004") == 1
    for words in (
        *("**MUST.** `*` and a \\*star\\*.", "Why: The reason.", "Requires: `DURABLE`"),
        *("Checked: `exact`, since 1.0", "Finds: `a-fault`", "If it fails: Look at the lock."),
        *("in 1 rules", "[State](#sta-state): STA-004 to STA-004"),
    ):
        assert words in told


def test_the_command_prints_the_specification(run):
    assert run("rules", "--markdown") == (0, specification(load_catalogue()), "")
    assert run("rules", "--markdown", "--json")[0] == 2


# --- the decorator


def test_a_rule_that_is_not_in_the_catalogue_cannot_be_checked():
    with pytest.raises(ConfigurationError, match="there is no rule 'XYZ-001'"):
        rule("XYZ-001")


def test_a_rule_is_checked_by_one_function_only(monkeypatch):
    monkeypatch.setattr("harness.rules._published", {})
    monkeypatch.setattr("harness.rules._CONFORMANCE", Path(__file__).parent)
    first_id = next(iter(load_catalogue()))

    async def one(kit):
        pass

    async def two(kit):
        pass

    rule(first_id)(one)
    rule(first_id)(one)
    with pytest.raises(ConfigurationError, match="is checked twice"):
        rule(first_id)(two)


def test_the_fingerprint_of_code_changes_with_what_it_does():
    def one(kit, limit=1):
        return {"a", "b", "c"} & {kit, limit}

    def other(kit, limit=1):
        return {"a", "b", "d"} & {kit, limit}

    def with_default(kit, limit=2):
        return {"a", "b", "c"} & {kit, limit}

    prints = {code_fingerprint(f) for f in (one, other, with_default)}
    assert len(prints) == 3
    assert code_fingerprint(one) == code_fingerprint(one)
    assert "not a function" in code_fingerprint(make_rule)[:0] + code_fingerprint(print)
