"""The zoo: mutants, the workers that they live in, and the matrix."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from io import StringIO
from types import SimpleNamespace

import msgspec
import psutil
import pytest
from rich.console import Console

from am2z import ConfigurationError, cli
from am2z.queue.library import library
from harness.catalogue import load_catalogue
from harness.outcome import Status
from harness.zoo import load_mutants, runner
from harness.zoo.matrix import Control, Fate, Matrix
from harness.zoo.mutant import Mutant, all_mutants, mutant, patch, script
from harness.zoo.trial import BASES
from harness.zoo.worker import HUNG, Finding, Order
from tests.harness.command import ENVIRONMENT
from tests.harness.conftest import make_rule

ZOO = load_mutants()

MODULE = '''
"""A zoo of a test."""

import os
from contextlib import contextmanager

from am2z.local.sessions import SessionTable
from harness.zoo.mutant import mutant, patch


@mutant("test-killed", rule="SES-016")
@contextmanager
def killed():
    """Sessions are unsorted."""
    with patch(SessionTable, "names", lambda self: list(self._sessions)):
        yield


@mutant("test-survivor", rule="SES-016")
@contextmanager
def survivor():
    """Nothing is wrong."""
    yield


@mutant("test-moved", rule="SES-016")
@contextmanager
def moved():
    """Changes what is not there any more."""
    with patch(SessionTable, "moved", None):
        yield


@mutant("test-deadly", rule="SES-016")
@contextmanager
def deadly():
    """Ends its process."""
    with patch(SessionTable, "names", lambda self: os._exit(3)):
        yield
'''


@pytest.fixture
def zoo(tmp_path, monkeypatch, capsys):
    """Run some mutants of a zoo of its own against three rules; answers status and output."""
    (tmp_path / "zoo_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))

    def run(*names, **options):
        plan = runner.Plan(
            mutants=names,
            jobs=1,
            rules=("SES-016", "SES-003", "LIF-011"),
            modules=("zoo_of_a_test",),
            **options,
        )
        status = runner.run(plan)
        return SimpleNamespace(status=status, out=capsys.readouterr().out)

    yield run
    sys.modules.pop("zoo_of_a_test", None)
    for name in [name for name in all_mutants() if name.startswith("test-")]:
        del mutants_table()[name]


def mutants_table():
    from harness.zoo import mutant as module

    return module._mutants


def fate(*findings, name="a-mutant", rule="STA-001"):
    return Fate(Mutant(name, rule, "local", "Wrong.", "zoo", None), findings)


def lesson(rule="STA-001"):
    return Finding(rule, Status.FAIL, "seen", is_lesson=True)


def text_of(matrix):
    out = StringIO()
    matrix.print(Console(file=out, width=80))
    return out.getvalue()


RULES = {"STA-001": make_rule("STA-001"), "STA-002": make_rule("STA-002")}

# --- the mutants


def test_the_catalogue_and_the_zoo_name_the_same_mutants():
    assert runner.disagreements(ZOO, load_catalogue()) == []


def test_every_must_has_a_mutant_that_is_to_show_what_it_is_good_for():
    without = [r.id for r in load_catalogue().values() if r.level == "MUST" and not r.mutants]
    assert without == []


def test_every_mutant_can_be_made_and_leaves_everything_as_it_was():
    before = library()["ack"].sha
    for one in ZOO.values():
        with one.enter():
            pass
    assert library()["ack"].sha == before


def test_a_name_that_only_one_side_knows_is_a_disagreement():
    catalogue = {"STA-001": make_rule("STA-001", mutants=("a-mutant",))}
    assert runner.disagreements({}, catalogue) == [
        "STA-001 names a-mutant, which is not in the zoo"
    ]
    for rule in ("STA-002", "STA-003"):
        catalogue["STA-002"] = make_rule("STA-002")
        told = runner.disagreements({"a-mutant": fate(rule=rule).mutant}, catalogue)
        assert told == [f"a-mutant is to be killed by {rule}, which does not name it"]


def test_patch_refuses_what_is_not_there():
    class Thing:
        here = 1

    with pytest.raises(AssertionError, match="has no gone any more"), patch(Thing, "gone", 2):
        pass
    with patch(Thing, "here", 2):
        assert Thing.here == 2
    assert Thing.here == 1


def test_patch_puts_back_what_it_found_and_leaves_no_copy_of_what_was_inherited():
    class Parent:
        @staticmethod
        def plain():
            return "plain"

    class Child(Parent):
        pass

    with patch(Parent, "plain", staticmethod(lambda: "other")), patch(Child, "plain", None):
        assert Child.plain is None
        assert Parent().plain() == "other"
    assert Parent().plain() == "plain"
    assert "plain" not in vars(Child)


def test_a_script_is_changed_in_one_place_and_only_for_the_block():
    before = library()["ack"].sha
    with script("_finish", "local ended = 0", "local ended = 1"):
        assert "local ended = 1" in library()["ack"].text
        assert library()["ack"].sha != before
    assert library()["ack"].sha == before
    for wrong in ("no such text", "local"):
        with pytest.raises(AssertionError, match="times, not once"), script("_finish", wrong, ""):
            pass


def test_a_mutant_says_what_is_wrong_with_it_and_has_a_name_of_its_own():
    @contextmanager
    def mute():
        yield

    @contextmanager
    def told():
        """Wrong."""
        yield

    with pytest.raises(ValueError, match="docstring"):
        mutant("test-mute", rule="STA-001")(mute)
    with pytest.raises(ValueError, match="small letters"):
        mutant("Test Told", rule="STA-001")(told)
    taken = next(iter(ZOO))
    with pytest.raises(ValueError, match="two mutants"):
        mutant(taken, rule="STA-001")(told)


# --- a run


def test_a_mutant_that_no_rule_finds_is_named_and_the_status_is_1(zoo):
    run = zoo("test-survivor", "test-killed")
    assert run.status == 1
    assert "test-survivor  SES-016  SURVIVED" in run.out
    assert "test-killed    SES-016  killed" in run.out
    assert "control local: clean" in run.out
    assert "1 of 2 mutants killed by the rule that names them" in run.out


def test_where_every_mutant_is_found_the_status_is_0(zoo):
    run = zoo("test-killed")
    assert (run.status, "MUST rules find no mutant" in run.out) == (0, False)


def test_the_json_has_its_form_and_nothing_else_is_printed(zoo):
    run = zoo("test-killed", "test-survivor", as_json=True)
    found = json.loads(run.out)
    assert found["mutants"] == [
        {"name": "test-killed", "killed": True, "expected": "SES-016", "by": ["SES-016"]},
        {"name": "test-survivor", "killed": False, "expected": "SES-016", "by": []},
    ]
    assert found["rules_without_mutant"] == []
    assert found["controls"] == {"local": []}
    assert run.status == 1


def test_a_mutant_that_cannot_be_made_or_ends_its_process_spoils_no_other(zoo):
    run = zoo("test-moved", "test-deadly", "test-killed")
    assert run.status == 1
    assert "test-moved   SES-016  BROKEN: AssertionError: SessionTable has no moved" in run.out
    assert "test-deadly  SES-016  KILLED WITHOUT A LESSON" in run.out
    assert "SES-016 hung" in run.out
    assert "test-killed  SES-016  killed" in run.out


def test_a_mutant_that_is_not_there_is_refused_with_those_that_are_near(capsys):
    assert cli.main(["zoo", "sessions-unsortd"]) == 2
    assert "did you mean sessions-unsorted" in capsys.readouterr().err


def test_no_jobs_are_refused(capsys):
    assert cli.main(["zoo", "sessions-unsorted", "--jobs", "0"]) == 2
    assert "give at least 1" in capsys.readouterr().err


def test_a_broken_suite_is_said_once(monkeypatch):
    def broken():
        raise ConfigurationError("STA-001 is checked twice")

    monkeypatch.setattr(runner, "published_rules", broken)
    with pytest.raises(ConfigurationError, match="checked twice"):
        runner.run(runner.Plan())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_workers_too_and_what_they_have_started(number, status):
    process = subprocess.Popen(
        [sys.executable, "-m", "am2z", "zoo", "--jobs", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    me = psutil.Process(process.pid)
    try:
        # Two workers, and at least one mutant in a process of its own.
        while len(found := me.children(recursive=True)) < 3:
            assert process.poll() is None
        workers = {child.pid for child in me.children()}
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status, error
    found += [psutil.Process(pid) for pid in psutil.pids() if session_of(pid) in workers]
    assert psutil.wait_procs(found, timeout=30)[1] == []


def session_of(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return None


# --- which rules are asked


def asked(name, **options):
    return runner._asked(runner.Plan(**options), ZOO, load_catalogue(), ZOO[name])


@pytest.mark.parametrize("name", ["commit-forgotten", "redis-loses-the-ttl"])
def test_a_mutant_is_asked_some_rules_of_its_group_that_are_for_one_of_its_runtime(name):
    near = {one.name for one in ZOO.values() if one.base == ZOO[name].base}
    naming = {*asked(name, quick=True)}
    rules = load_catalogue().values()
    there = {rule.id for rule in rules if rule.group == "STA" and near.intersection(rule.mutants)}
    others = {*asked(name)} - naming
    assert len(others) == min(runner.OTHERS, len(there - naming))
    assert others <= there
    assert asked(name) == asked(name)
    assert asked(name, whole=True) == ()


@pytest.mark.parametrize("name", ["commit-forgotten", "redis-loses-the-ttl"])
def test_in_a_hurry_a_mutant_is_asked_only_the_rules_that_name_it(name):
    naming = [rule.id for rule in load_catalogue().values() if name in rule.mutants]
    assert list(asked(name, quick=True)) == naming


def test_a_correct_runtime_is_asked_every_rule_once():
    rules = tuple(load_catalogue())
    for base in BASES:
        parts = runner._control(base, rules, 0)
        assert sorted(rule for part in parts for rule in part.rules) == sorted(rules)
    assert len(runner._control("queue", rules[:2], 0)) == 2


# --- the same seed, the same matrix


def test_the_same_seed_gives_the_same_findings_whatever_the_order_of_hashes():
    orders = [
        Order(name, ZOO[name].base, ZOO[name].rule, 7, asked(name))
        for name in ("attempts-share-state", "lock-get-then-set")
    ]
    told = []
    for hashes in "12":
        worker = subprocess.run(
            [sys.executable, "-m", "harness.zoo.worker"],
            input=b"".join(msgspec.json.encode(order) + b"\n" for order in orders),
            env={**ENVIRONMENT, "PYTHONHASHSEED": hashes}, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        found = [msgspec.json.decode(line, type=Finding) for line in worker.stdout.splitlines()]
        told.append([(one.rule, one.status, one.is_lesson) for one in found])
    assert told[0] == told[1]
    assert {one.first for one in orders} <= {rule for rule, _, lesson in told[0] if lesson}


# --- what the matrix says


def test_a_must_that_finds_no_mutant_is_named():
    matrix = Matrix((fate(lesson()),), (), RULES)
    assert matrix.rules_without_mutant == ["STA-002"]
    assert not matrix.is_clean
    assert "1 MUST rules find no mutant: STA-002" in text_of(matrix)


def test_every_rule_that_names_a_mutant_has_to_find_it():
    rules = {**RULES, "STA-002": make_rule("STA-002", level="SHOULD", mutants=("a-mutant",))}
    blind = Matrix((fate(lesson()),), (), rules)
    assert not blind.is_clean
    assert "STA-002 names a-mutant, and does not find it" in text_of(blind)
    assert Matrix((fate(lesson(), lesson("STA-002")),), (), rules).is_clean


def test_a_should_need_not_find_a_mutant():
    rules = {**RULES, "STA-002": make_rule("STA-002", level="SHOULD")}
    assert Matrix((fate(lesson()),), (), rules).is_clean


@pytest.mark.parametrize(
    ("findings", "trouble"),
    [
        ([], "SURVIVED"),
        ([Finding("STA-001", Status.PASS)], "SURVIVED"),
        ([lesson("STA-002")], "NOT KILLED BY STA-001, which was not asked"),
        ([lesson("STA-002"), Finding("STA-001", Status.PASS)], "which said pass"),
        ([lesson("STA-002"), Finding("STA-001", Status.UNDECIDED)], "which said undecided"),
        ([Finding("STA-001", Status.UNDECIDED, "crashed")], "SURVIVED"),
        ([Finding("STA-001", Status.FAIL, "oh")], "KILLED WITHOUT A LESSON: STA-001 oh"),
        ([Finding("STA-001", HUNG, "oh")], "KILLED WITHOUT A LESSON: STA-001 oh"),
        ([Finding(ends=True, broken="gone")], "BROKEN: gone"),
        ([lesson(), Finding(ends=True)], ""),
    ],
)
def test_only_the_rule_that_names_a_mutant_and_says_so_kills_it(findings, trouble):
    one = fate(*findings)
    assert trouble in one.trouble
    assert bool(trouble) == bool(one.trouble)


def test_a_control_that_is_not_clean_is_told_and_fails_the_run():
    control = Control("queue", (Finding("STA-001", Status.FAIL, "lost"), Finding(ends=True)))
    matrix = Matrix((fate(lesson()), fate(lesson("STA-002"), rule="STA-002")), (control,), RULES)
    assert not matrix.is_clean
    assert "control queue: NOT CLEAN" in text_of(matrix)
    assert "STA-001 fail: lost" in text_of(matrix)


def test_what_was_left_out_or_undecided_is_noted():
    one = fate(lesson(), Finding("STA-002", Status.UNDECIDED, "why"), Finding(left_out=3))
    told = text_of(Matrix((one,), (), {}))
    assert "STA-002: why" in told
    assert "3 rules left out" in told


# --- the page


def test_the_page_of_the_matrix_counts_by_group():
    from tests.harness import kill_matrix

    matrix = {"mutants": [
        {"name": "commit-forgotten", "expected": "STA-001", "by": ["STA-001", "STA-003"]},
        {"name": "redis-loses-the-ttl", "expected": "STA-025", "by": ["STA-025"]},
        {"name": "lost-update", "expected": "STA-004", "by": []},
    ]}  # fmt: skip
    rows = kill_matrix.table(matrix).splitlines()
    state = next(row for row in rows if row.startswith("| STA"))
    assert state.endswith("| 3 | 1 | 2 | 1 |")
    assert rows[-1].endswith("| 3 | 1 | 2 | 1 |")
    page = f"a\n{kill_matrix.BEGIN}\nold\n{kill_matrix.END}\nb"
    once = kill_matrix.replaced(page, "new\n")
    assert "old" not in once
    assert kill_matrix.replaced(once, "new\n") == once
