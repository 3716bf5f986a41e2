"""The plugin as a guest in somebody's project."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest

REAL = """
    from harness import RuntimeUnderTest
    from harness.builtin import LOCAL

    def pytest_am2z_runtimes():
        return [LOCAL]
"""


def test_the_report_file_has_the_promised_form(world):
    found = world.run()
    assert list(found.report)[:2] == ["spec", "seed"]
    assert (found.report["spec"], found.report["seed"]) == ("1.0", 7)
    assert len(found.report["kit_hash"]) == 64
    assert found.report["versions"]["pytest"] == pytest.__version__
    assert found.report["replay"].endswith("--am2z-seed=7")
    mine = found.report["runtimes"]["mine"]
    assert mine["verdict"] == "CONFORMANT"
    assert mine["rules"] == dict.fromkeys(("LIF-001", "EXE-001", "STA-001"), "pass")
    assert mine["lacks"]["durable"] == "lives in memory"
    assert mine["details"]["LIF-001"]["seconds"] >= 0


@pytest.mark.parametrize("seed", [["--am2z-seed=5"], ["--am2z-seed", "5"]])
def test_the_line_that_replays_a_run_names_its_seed_once(world, seed):
    assert world.run(*seed).report["replay"].count("-seed") == 1


def test_a_failure_is_told_in_the_test_and_in_the_report(world):
    path = world.pytester.path / "small_kit.py"
    path.write_text(path.read_text().replace("count == 2", "count == 3"))
    found = world.run()
    assert "> assert result.state.count == 3" in found.text
    assert "Look at the lock." in found.text
    assert "pytest 'test_conformance.py::test_it_counts[mine]' --am2z-seed=7" in found.text
    assert "assert 2 == 3" in found.details["EXE-001"]["reason"]
    assert "The law." in found.details["EXE-001"]["lesson"]


def test_junit_gets_the_rule_ids(world):
    world.run("--junit-xml=junit.xml")
    tree = ElementTree.parse(world.pytester.path / "junit.xml")
    found = {p.get("value") for p in tree.iter("property") if p.get("name") == "am2z_rule"}
    assert found == {"LIF-001", "EXE-001", "STA-001"}


def test_a_rule_is_found_by_its_id_with_k(world):
    world.run("-k", "EXE-001").pytest.assert_outcomes(passed=1, deselected=2)


def test_the_nearest_conftest_names_the_runtimes(world):
    for folder, name in (("one", "first"), ("two", "second")):
        place = world.pytester.mkdir(folder)
        (place / "conftest.py").write_text(
            "from tests.harness.conftest import HONEST, make_local\n"
            "from harness import RuntimeUnderTest\n"
            "def pytest_am2z_runtimes():\n"
            f"    return [RuntimeUnderTest('{name}', make_local, **HONEST)]\n"
        )
        (place / f"test_{folder}.py").write_text("from small_kit import test_it_counts\n")
    (world.pytester.path / "conftest.py").unlink()
    (world.pytester.path / "test_conformance.py").unlink()
    found = world.run()
    found.pytest.assert_outcomes(passed=2)
    assert {n: r["rules"]["EXE-001"] for n, r in found.report["runtimes"].items()} == {
        "first": "pass",
        "second": "pass",
    }


def test_the_nearest_of_two_runtimes_with_one_name_counts(world):
    place = world.pytester.mkdir("near")
    (place / "conftest.py").write_text(
        "from tests.harness.conftest import HONEST, make_local\n"
        "from harness import RuntimeUnderTest\n"
        "def pytest_am2z_runtimes():\n"
        "    return [RuntimeUnderTest('mine', make_local, **HONEST,\n"
        "                             known_failures={'EXE-001': 'nearer'})]\n"
    )
    (place / "test_near.py").write_text("from small_kit import test_it_counts\n")
    found = world.run("near")
    found.pytest.assert_outcomes(failed=1)
    assert found.rules["EXE-001"] == "unexpected-pass"


def test_a_runtime_can_be_named_on_the_command_line(world):
    found = world.run("--am2z-runtime=local")
    assert list(found.report["runtimes"]) == ["local"]
    found = world.run("--am2z-runtime=local", "--am2z-runtime=mine")
    assert list(found.report["runtimes"]) == ["local", "mine"]


def test_a_runtime_of_ones_own_can_be_named_by_module_and_attribute(world):
    found = world.run("--am2z-runtime=tests.harness.conftest:make_local")
    assert found.report["runtimes"]["make_local"]["rules"]["EXE-001"] == "pass"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("locl", "did you mean local?"),
        ("nowhere.at_all:x", "cannot load the runtime 'nowhere.at_all:x'"),
        ("os:sep", "it has to be a RuntimeUnderTest"),
    ],
)
def test_an_unknown_runtime_is_refused_with_what_there_is(world, spec, words):
    found = world.run(f"--am2z-runtime={spec}")
    assert found.pytest.ret != 0
    assert words in found.text


def test_rules_without_a_runtime_say_what_is_missing(world):
    (world.pytester.path / "conftest.py").unlink()
    found = world.run()
    assert found.pytest.ret != 0
    assert "define pytest_am2z_runtimes() in a conftest.py" in found.text


def test_a_hook_that_gives_something_else_is_told_so(world):
    world.pytester.makeconftest("def pytest_am2z_runtimes(): return ['local']")
    assert "return a list of RuntimeUnderTest" in world.run().text


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--am2z-redis=postgres", "choose one of auto, url, server"),
        ("--am2z-redis=url", "set REDIS_URL"),
        ("--am2z-timeout-scale=0", "give a number above 0"),
    ],
)
def test_an_option_that_cannot_work_is_a_usage_error(world, monkeypatch, option, words):
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("REDIS_HOST", raising=False)
    found = world.run(option)
    assert found.pytest.ret == pytest.ExitCode.USAGE_ERROR
    assert words in found.pytest.stderr.str()


def test_every_limit_is_scaled_by_one_option(world):
    path = world.pytester.path / "small_kit.py"
    path.write_text(path.read_text().replace("assert runtime.is_started", "assert kit.limit == 90"))
    assert world.run("--am2z-timeout-scale=3").verdict == "CONFORMANT"


def test_the_header_names_the_server_where_the_kit_is_used(world):
    found = world.run("--am2z-redis=fake")
    assert "am2z: Redis: in-process fakeredis" in found.text
    assert "seed 7" in found.text


def test_the_environment_chooses_the_server_too(world, monkeypatch):
    monkeypatch.setenv("AM2Z_REDIS", "fake")
    assert "am2z: Redis: in-process fakeredis (as chosen" in world.run().text


def test_a_project_that_does_not_use_the_kit_does_not_notice_it(guest):
    guest.makepyfile("def test_one(): pass")
    result = guest.runpytest_subprocess("-p", "harness.plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    lines = [line for line in result.stdout.lines if not line.startswith("plugins:")]
    assert "am2z" not in "\n".join(lines).replace(str(guest.path), "")


def test_the_plugin_imports_nothing_heavy(pytester):
    script = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import harness.plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert all(name.startswith("harness") for name in told.stdout.split())
    assert len(told.stdout.split()) < 6


FIXTURES = """
    def test_namespaces_are_fresh(am2z_namespace, request):
        assert am2z_namespace.startswith("am2z-test-")

    def test_a_server(am2z_redis_url, am2z_namespace):
        import redis
        with redis.Redis.from_url(am2z_redis_url) as client:
            assert client.ping()
            client.set(f"{{am2z:{am2z_namespace}:0}}:x", 1)

    def test_it_was_cleaned(am2z_redis_url):
        import redis
        with redis.Redis.from_url(am2z_redis_url) as client:
            assert client.dbsize() == 0
"""


def test_fixtures_give_a_server_and_a_namespace_that_is_cleaned(world):
    world.pytester.makepyfile(test_fixtures=FIXTURES)
    options = ("-W", "error", "--strict-markers", "--strict-config")
    found = world.run("test_fixtures.py", "--am2z-redis=server", *options)
    found.pytest.assert_outcomes(passed=3)
    assert "am2z: Redis: redis-server" in found.text


def test_the_server_fixture_skips_with_a_reason_where_there_is_none(world):
    world.pytester.makepyfile(test_fixtures=FIXTURES)
    found = world.run("test_fixtures.py", "--am2z-redis=fake", "-rs")
    found.pytest.assert_outcomes(passed=1, skipped=2)
    assert "in-process fakeredis (as chosen, no Redis server)" in found.text


def test_a_runtime_that_needs_a_server_is_skipped_and_incomplete_without_one(world):
    world.declare("{'redis': 'server'}")
    found = world.run("--am2z-redis=fake")
    found.pytest.assert_outcomes(skipped=3)
    assert found.verdict == "INCOMPLETE"
    assert "no Redis server" in found.text


# --- in a process of its own, with the real rules, strict, together with other plugins


def run_strictly(pytester, *options):
    pytester.makeconftest(REAL)
    pytester.makepyfile(test_conformance="from harness.conformance import *")
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nxfail_strict = true")
    result = pytester.runpytest_subprocess(
        *("-p", "harness.plugin", "-p", "no:cacheprovider", "-W", "error", "-q"),
        *("--strict-markers", "--strict-config", "--am2z-seed=7", "--am2z-report=report"),
        *options,
    )
    report = json.loads((pytester.path / "report" / "report.json").read_text())
    return result, report["runtimes"]["local"]


@pytest.fixture
def guest(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    return pytester


def test_the_real_rules_run_strictly_under_xdist_in_random_order(guest):
    pytest.importorskip("pytest_randomly")
    result, found = run_strictly(guest, "-p", "xdist", "-n", "2", "-p", "pytest_randomly")
    assert result.ret == 0
    assert found["verdict"] == "CONFORMANT"
    assert "local: CONFORMANT" in result.stdout.str()


def test_workers_of_xdist_tell_what_was_deselected(guest):
    _, found = run_strictly(guest, "-p", "xdist", "-n", "2", "-k", "LIF-001 or STA-001")
    assert found["verdict"] == "INCOMPLETE"
    assert [r for r, status in found["rules"].items() if status == "pass"] == ["LIF-001", "STA-001"]
