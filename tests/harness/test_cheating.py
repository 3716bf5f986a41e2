"""Ways to look conformant without being it. None works, and each is named in the report."""

import json

import pytest

import harness.integrity
import harness.kit
import harness.rules
import harness.session
import harness.trial
import harness.verdict

ALL_PASS = {"LIF-001": "pass", "EXE-001": "pass", "STA-001": "pass"}


def test_an_honest_runtime_that_keeps_every_rule_is_conformant(world):
    found = world.run()
    found.pytest.assert_outcomes(passed=3)
    assert found.verdict == "CONFORMANT"
    assert found.rules == ALL_PASS
    assert "mine: CONFORMANT  3 of 3 rules hold" in found.text


def test_deselecting_a_rule_is_seen(world):
    found = world.run("-k", "not EXE-001")
    assert found.verdict == "INCOMPLETE"
    assert found.rules == {**ALL_PASS, "EXE-001": "not-run"}
    assert "1 not run: EXE-001" in found.reasons


def test_deselecting_every_rule_is_seen(world):
    found = world.run("-k", "nothing_is_called_like_this")
    assert found.verdict == "INCOMPLETE"
    assert set(found.rules.values()) == {"not-run"}


def test_stopping_at_the_first_failure_leaves_the_rest_not_run(world):
    world.pytester.makepyfile(
        test_conformance="def test_first(): assert False\nfrom small_kit import *"
    )
    found = world.run("-x")
    assert found.verdict == "INCOMPLETE"


def test_removing_a_rule_is_seen(world):
    world.pytester.makepyfile(test_conformance="from small_kit import *\ndel test_it_counts")
    found = world.run()
    assert found.verdict == "INCOMPLETE"
    assert "EXE-001" in found.reasons


def test_a_test_of_the_same_name_does_not_replace_a_rule(world):
    world.pytester.makepyfile(
        test_conformance="from small_kit import *\ndef test_it_counts(am2z_kit): pass"
    )
    found = world.run()
    assert found.verdict == "INCOMPLETE"
    assert found.rules["EXE-001"] == "not-run"


def test_a_rule_of_ones_own_under_the_same_id_is_named_as_overridden(world):
    sub = world.pytester.path.parent / f"{world.pytester.path.name}-elsewhere"
    sub.mkdir()
    (sub / "mine.py").write_text(
        "from harness import rule\n@rule('EXE-001')\nasync def test_it_counts(kit): pass\n"
    )
    world.pytester.makepyfile(
        test_conformance="from small_kit import *\n"
        f"import sys; sys.path.insert(0, {str(sub)!r})\nfrom mine import test_it_counts"
    )
    found = world.run()
    found.pytest.assert_outcomes(passed=3)
    assert found.verdict == "INCOMPLETE"
    assert found.rules["EXE-001"] == "overridden"
    assert "1 replaced by something else: EXE-001" in found.reasons
    assert "EXE-001 MUST" in found.text


@pytest.mark.parametrize(
    "trick",
    [
        "test_it_counts.am2z_check.body.__code__ = nothing.__code__",
        "object.__setattr__(test_it_counts.am2z_check, 'body', nothing)",
        "test_it_counts.am2z_check = RuleCheck(test_it_counts.am2z_check.rule, nothing)",
    ],
)
def test_changing_the_code_of_a_rule_in_place_is_seen(world, trick):
    # The third leaves the test itself as it was, so that the kit's own check still runs.
    world.pytester.makepyfile(
        test_conformance="from small_kit import *\nfrom harness.rules import RuleCheck\n"
        f"async def nothing(kit): pass\n{trick}"
    )
    found = world.run()
    if "RuleCheck(" in trick:
        assert found.rules == ALL_PASS
    else:
        assert found.verdict == "INCOMPLETE"
        assert found.rules["EXE-001"] == "overridden"


def test_a_kit_of_ones_own_that_checks_nothing_says_nothing(world):
    world.pytester.makeconftest(
        (world.pytester.path / "conftest.py").read_text()
        + "\nimport pytest\nclass Yes:\n    def run(self, check): pass\n"
        "@pytest.fixture\ndef am2z_kit(request): return Yes()\n"
    )
    found = world.run()
    found.pytest.assert_outcomes(passed=3)
    assert found.verdict == "INCOMPLETE"
    assert set(found.rules.values()) == {"not-run"}


@pytest.mark.parametrize("mark", ["skip", "xfail(strict=False)"])
def test_marks_of_pytest_do_not_excuse_a_rule(world, mark):
    world.pytester.makeconftest(
        (world.pytester.path / "conftest.py").read_text()
        + "\nimport pytest\ndef pytest_collection_modifyitems(items):\n"
        f"    for item in items: item.add_marker(pytest.mark.{mark})\n"
    )
    world.pytester.makepyfile(small_kit=BROKEN)
    found = world.run()
    expected = ("INCOMPLETE", "not-run") if mark == "skip" else ("NON-CONFORMANT", "fail")
    assert (found.verdict, found.rules["EXE-001"]) == expected


BROKEN = """
    from harness import rule

    @rule("EXE-001")
    async def test_it_counts(kit):
        assert 1 + 1 == 3

    @rule("STA-001")
    async def test_it_loses_nothing(kit):
        assert not "lost"

    @rule("LIF-001")
    async def test_it_starts(kit): pass
"""


def test_swallowing_the_failure_around_a_rule_does_not_hide_it(world):
    world.pytester.makepyfile(small_kit=BROKEN)
    world.pytester.makeconftest(
        (world.pytester.path / "conftest.py").read_text()
        + "\nimport pytest\n@pytest.hookimpl(wrapper=True)\ndef pytest_pyfunc_call(pyfuncitem):\n"
        "    try: return (yield)\n    except BaseException: return True\n"
    )
    found = world.run()
    found.pytest.assert_outcomes(passed=3)
    assert found.verdict == "NON-CONFORMANT"
    assert found.rules == {"LIF-001": "pass", "EXE-001": "fail", "STA-001": "fail"}


def test_a_known_failure_makes_partial_and_is_told_with_its_reason(world):
    world.pytester.makepyfile(small_kit=BROKEN.replace('assert not "lost"', "pass"))
    world.declare("{'known_failures': {'EXE-001': 'cannot add, bug 12'}}")
    found = world.run()
    found.pytest.assert_outcomes(passed=2, xfailed=1)
    assert found.verdict == "PARTIAL"
    assert found.rules["EXE-001"] == "known-failure"
    assert "cannot add, bug 12" in found.text


def test_a_known_failure_that_holds_fails(world):
    world.declare("{'known_failures': {'EXE-001': 'cannot add, bug 12'}}")
    found = world.run()
    found.pytest.assert_outcomes(passed=2, failed=1)
    assert found.verdict == "NON-CONFORMANT"
    assert found.rules["EXE-001"] == "unexpected-pass"
    assert "remove the declaration" in found.text


def test_a_safety_rule_cannot_be_declared_away(world):
    world.pytester.makepyfile(small_kit=BROKEN)
    world.declare("{'known_failures': {'EXE-001': 'bug 12', 'STA-001': 'who needs data'}}")
    found = world.run()
    assert found.verdict == "NON-CONFORMANT"
    assert found.rules["STA-001"] == "fail"
    assert "a safety rule cannot be declared a known failure" in found.text


def test_a_known_failure_of_a_rule_that_does_not_exist_is_an_error(world):
    world.declare("{'known_failures': {'EXE-999': 'bug 12'}}")
    found = world.run()
    assert found.report is None
    assert "there is no rule 'EXE-999'" in found.text


def test_lacking_everything_excuses_from_no_rule_that_requires_nothing(world):
    world.pytester.makepyfile(small_kit=BROKEN)
    world.declare("{'supports': (), 'lacks': {c: 'no' for c in Capability}}")
    assert world.run().verdict == "NON-CONFORMANT"


def test_a_runtime_that_answers_always_the_same_is_not_conformant(world):
    world.pytester.makeconftest("""
        from contextlib import asynccontextmanager
        from harness import RuntimeUnderTest

        class Constant:
            capabilities = frozenset()
            is_started = True
            def __getattr__(self, name):
                async def answer(*args, **kwargs):
                    return self
                return answer
            def register(self, *processors): pass
            def on(self, *args): pass

        @asynccontextmanager
        async def make(env):
            yield Constant()

        def pytest_am2z_runtimes():
            return [RuntimeUnderTest("mine", make)]
    """)
    assert world.run().verdict == "NON-CONFORMANT"


@pytest.mark.parametrize(
    "body",
    [
        "from harness import Undecided; raise Undecided('too many histories')",
        "from harness.servers import choose; choose('nonsense')",
    ],
)
def test_a_checker_that_crashes_or_cannot_decide_is_never_green(world, body):
    world.pytester.makepyfile(small_kit=BROKEN.replace("assert 1 + 1 == 3", body))
    world.pytester.makepyfile(test_conformance="from small_kit import *\ndel test_it_loses_nothing")
    found = world.run()
    assert found.verdict == "INCOMPLETE"
    assert found.rules["EXE-001"] == "undecided"


def test_a_failure_while_setting_up_is_never_green(world):
    world.pytester.makeconftest(
        (world.pytester.path / "conftest.py").read_text()
        + "\nimport pytest\n@pytest.fixture(autouse=True)\ndef broken(): raise OSError('no disk')\n"
    )
    found = world.run()
    assert found.verdict == "INCOMPLETE"
    assert set(found.rules.values()) == {"undecided"}
    assert "no disk" in found.text


def test_a_failure_while_tearing_down_is_never_green(world):
    world.pytester.makeconftest(
        (world.pytester.path / "conftest.py").read_text()
        + "\nimport pytest\n@pytest.fixture(autouse=True)\ndef broken():\n"
        "    yield\n    raise OSError('no disk')\n"
    )
    assert world.run().verdict == "INCOMPLETE"


def test_a_runtime_skipped_by_a_fixture_is_not_run(world):
    world.pytester.makeconftest(
        (world.pytester.path / "conftest.py").read_text()
        + "\nimport pytest\n@pytest.fixture(autouse=True)\ndef away(): pytest.skip('not today')\n"
    )
    found = world.run()
    assert found.verdict == "INCOMPLETE"
    assert "not today" in found.text


def test_a_rule_that_skips_itself_has_decided_nothing(world):
    body = "import pytest; pytest.skip('hard to say')"
    world.pytester.makepyfile(small_kit=BROKEN.replace("assert 1 + 1 == 3", body))
    assert world.run().rules["EXE-001"] == "undecided"


def append(world, text):
    """Add to the project's conftest."""
    world.pytester.makeconftest((world.pytester.path / "conftest.py").read_text() + text)


PATCHES = {
    "verdict._judge_one": "import harness.verdict as v; v._judge_one = type(v._judge_one)",
    "session.judge": "import harness.session as s; s.judge = lambda *a: {}",
    "kit.Kit.check": "from harness.kit import Kit; old = Kit.check; Kit.check = lambda *a: old(*a)",
    "kit.Trial": (
        "import harness.kit as k\n"
        "class Trial(k.Trial):\n    def outcome(self): return super().outcome()\n"
        "k.Trial = Trial"
    ),
    "trial.Trial.outcome": (
        "from harness.trial import Trial; old = Trial.outcome; Trial.outcome = lambda *a: old(*a)"
    ),
    "rules.RuleCheck.is_published": (
        "import harness.rules as r; r.RuleCheck.is_published = property(lambda self: True)"
    ),
    "verdict.judge": (
        "import harness.verdict as v; old = v.judge.__code__\n"
        "v.judge.__code__ = (lambda catalogue, runtimes, outcomes: {}).__code__"
    ),
}


@pytest.mark.parametrize(("named", "patch"), PATCHES.items(), ids=PATCHES)
def test_a_kit_that_was_changed_by_a_conftest_gives_no_good_verdict(
    world, patch, named, monkeypatch
):
    for module, name in (
        (harness.verdict, "_judge_one"),
        (harness.session, "judge"),
        (harness.kit.Kit, "check"),
        (harness.kit, "Trial"),
        (harness.trial.Trial, "outcome"),
        (harness.rules.RuleCheck, "is_published"),
    ):
        monkeypatch.setattr(module, name, vars(module)[name])  # to be put back afterwards
    monkeypatch.setattr(harness.verdict.judge, "__code__", harness.verdict.judge.__code__)
    append(world, f"\n{patch}\n")
    found = world.run()
    assert found.verdict != "CONFORMANT"
    assert "mine: CONFORMANT" not in found.text
    if found.verdict is not None:
        assert f"the kit was changed while it ran: harness.{named}" in found.reasons
        assert "the kit was changed while it ran" in found.text


def test_a_smaller_catalogue_gives_no_good_verdict(world, monkeypatch):
    monkeypatch.setattr(harness.integrity, "_expected", frozenset())
    found = world.run()  # the world itself has a catalogue of three
    assert found.verdict == "INCOMPLETE"
    assert "harness.session.load_catalogue" in found.reasons


def test_changing_an_outcome_on_its_way_is_seen(world):
    world.pytester.makepyfile(small_kit=BROKEN)
    append(
        world,
        "\n@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_runtest_makereport(item):\n"
        "    report = yield\n    report.outcome = 'passed'\n"
        "    report.user_properties = [\n"
        "        (name, str(value).replace('\"fail\"', '\"pass\"'))\n"
        "        for name, value in report.user_properties\n    ]\n    return report\n",
    )
    found = world.run()
    assert found.verdict == "INCOMPLETE"
    assert found.rules["EXE-001"] == "undecided"
    assert "changed on its way" in found.text
    assert found.pytest.ret == 1


def test_dropping_an_outcome_on_its_way_leaves_the_rule_not_run(world):
    world.pytester.makepyfile(small_kit=BROKEN)
    append(
        world,
        "\n@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_runtest_makereport(item):\n"
        "    report = yield\n    report.outcome = 'passed'\n"
        "    report.user_properties = []\n    return report\n",
    )
    found = world.run()
    assert found.verdict == "INCOMPLETE"
    assert set(found.rules.values()) == {"not-run"}


def test_making_every_test_pass_does_not_make_the_run_pass(world):
    world.pytester.makepyfile(small_kit=BROKEN)
    append(
        world,
        "\n@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_makereport(item):\n"
        "    report = yield\n    report.outcome = 'passed'\n    return report\n",
    )
    found = world.run()
    assert (found.verdict, found.pytest.ret) == ("NON-CONFORMANT", 1)


@pytest.mark.parametrize("option", ["-x", "--maxfail=1"])
def test_stopping_early_leaves_the_rest_not_run(world, option):
    world.pytester.makepyfile(small_kit=BROKEN)
    found = world.run(option, "-p", "no:randomly")
    assert found.verdict == "NON-CONFORMANT"
    assert "not run" in found.reasons


def test_running_only_what_failed_last_time_is_seen(world):
    flag = world.pytester.path / "mended"
    world.pytester.makepyfile(
        small_kit=BROKEN.replace(
            "assert 1 + 1 == 3", "import os; assert os.path.exists('mended')"
        ).replace('assert not "lost"', "pass")
    )
    assert world.run("-p", "cacheprovider").verdict == "NON-CONFORMANT"
    flag.touch()
    found = world.run("-p", "cacheprovider", "--lf")
    assert found.rules["EXE-001"] == "pass"
    assert found.verdict == "INCOMPLETE"


def test_collecting_alone_says_nothing(world):
    found = world.run("--collect-only")
    assert found.verdict in (None, "INCOMPLETE")
    assert "CONFORMANT  3" not in found.text


def test_a_capability_that_is_neither_declared_nor_lacking_leaves_the_verdict_open(world):
    from tests.harness.conftest import make_rule

    world.catalogue["EXE-001"] = make_rule("EXE-001", requires=("PRIORITY",))
    world.declare(
        "{'supports': {Capability.VIRTUAL_TIME}, "
        "'lacks': {c: 'no' for c in Capability if c not in ('priority', 'virtual_time')}}"
    )
    found = world.run()
    assert found.verdict == "INCOMPLETE"
    assert found.rules["EXE-001"] == "not-run"


def test_a_lack_that_is_none_is_found_out(world):
    world.declare("{'supports': (), 'lacks': {c: 'no' for c in Capability}}")
    found = world.run()
    assert found.verdict == "NON-CONFORMANT"
    assert "declared to lack" in found.text


def test_two_runtimes_of_one_name_are_an_error(world):
    world.pytester.makeconftest("""
        from tests.harness.conftest import HONEST, make_local
        from harness import RuntimeUnderTest
        import pytest

        def pytest_am2z_runtimes():
            return [RuntimeUnderTest("mine", make_local, **HONEST) for _ in range(2)]
    """)
    found = world.run()
    assert found.report is None
    assert "two runtimes named 'mine'" in found.text


def test_a_worker_process_that_dies_with_a_rule_leaves_it_undecided(pytester):
    pytester.makeconftest("""
        import os
        from contextlib import asynccontextmanager
        from am2z import LocalRuntime
        from harness import RuntimeUnderTest
        from tests.harness.conftest import HONEST

        @asynccontextmanager
        async def make(env):
            os._exit(3)
            yield

        def pytest_am2z_runtimes():
            return [RuntimeUnderTest("mine", make, **HONEST)]
    """)
    pytester.makepyfile(test_it="from harness.conformance.registration import *")
    found = pytester.runpytest_subprocess(
        "-p", "harness.plugin", "-p", "xdist", "-n", "1", "--max-worker-restart=0",
        "--am2z-report=report", "-k", "REG-001 or REG-002", timeout=60,
    )  # fmt: skip
    assert found.ret != 0
    written = pytester.path / "report" / "report.json"
    if written.exists():
        [runtime] = json.loads(written.read_text())["runtimes"].values() or [{"verdict": "none"}]
        assert runtime["verdict"] != "CONFORMANT"
    assert "mine: CONFORMANT" not in found.stdout.str()
