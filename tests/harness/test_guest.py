"""The plugin in a project that is not ours: it takes no names, no time, and no side."""

import sys
from pathlib import Path

import pytest

import harness.plugin
from harness import hookspecs

HEAVY = ("am2z", "trio", "msgspec", "redis", "rich", "hypothesis", "fakeredis", "psutil")


@pytest.fixture
def guest(pytester, monkeypatch):
    """A project in which only the plugins that a test names are loaded, in a process of its own."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))

    def run(*arguments):
        return pytester.runpytest_subprocess(
            *("-p", "harness.plugin", "-p", "no:cacheprovider", "-W", "error"),
            *("--strict-markers", "--strict-config", *arguments),
        )

    pytester.run_guest = run
    return pytester


class _Parser:
    """Takes options as pytest's parser does."""

    def __init__(self):
        self.names = []

    def getgroup(self, name, description=""):
        self.names.append(name)
        return self

    def addoption(self, *names, **_):
        self.names += names

    def addini(self, name, *_, **__):
        self.names.append(name)


def _is_fixture(value):
    """pytest 8.4 gives fixtures a class of their own, older ones mark a function."""
    kind = type(value).__name__
    return kind == "FixtureFunctionDefinition" or hasattr(value, "_pytestfixturefunction")


def test_every_option_fixture_marker_and_hook_has_the_prefix():
    parser = _Parser()
    harness.plugin.pytest_addoption(parser)
    assert len(parser.names) > 4
    assert all(name.lstrip("-").startswith("am2z") for name in parser.names)
    fixtures = [name for name, value in vars(harness.plugin).items() if _is_fixture(value)]
    assert len(fixtures) > 3
    assert all(name.startswith("am2z_") for name in fixtures)
    hooks = [name for name in vars(hookspecs) if name.startswith("pytest_")]
    assert hooks
    assert all(name.startswith("pytest_am2z_") for name in hooks)


def test_markers_have_the_prefix(guest):
    ours = {line.partition(":")[0] for line in guest.run_guest("--markers").outlines}
    without = guest.runpytest_subprocess("--markers", "-p", "no:cacheprovider")
    added = ours - {line.partition(":")[0] for line in without.outlines}
    assert [line for line in added if line.startswith("@pytest.mark.")] == [
        "@pytest.mark.am2z_rule(id)"
    ]


def test_a_project_without_the_kit_loads_nothing_of_it(guest):
    guest.makepyfile(
        f"""
        import sys

        def test_nothing_is_loaded():
            assert not [name for name in {HEAVY} if name in sys.modules]
        """
    )
    guest.run_guest().assert_outcomes(passed=1)


def test_a_project_may_have_fixtures_and_options_of_the_same_meaning(guest):
    guest.makeconftest(
        """
        import pytest

        def pytest_addoption(parser):
            parser.addoption("--redis", default="mine")
            parser.addoption("--seed", type=int, default=3)
            parser.addoption("--report", default="mine")

        @pytest.fixture
        def runtime(request):
            return request.config.getoption("--redis")

        @pytest.fixture
        def kit(request):
            return request.config.getoption("--seed")

        def pytest_configure(config):
            config.addinivalue_line("markers", "rule(id): one of ours")
        """
    )
    guest.makepyfile(
        """
        import pytest

        @pytest.mark.rule("A-1")
        def test_ours(runtime, kit):
            assert (runtime, kit) == ("mine", 3)
        """
    )
    guest.run_guest().assert_outcomes(passed=1)


ASYNCIO = """
    import asyncio
    import pytest

    @pytest.fixture(scope="session")
    def event_loop():
        with asyncio.Runner() as runner:
            yield runner

    @pytest.fixture(autouse=True)
    def everything_has_a_loop(event_loop):
        event_loop.run(asyncio.sleep(0))
        yield
        event_loop.run(asyncio.sleep(0))

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(pyfuncitem):
        if asyncio.iscoroutinefunction(pyfuncitem.obj):
            runner = pyfuncitem.funcargs["event_loop"]
            runner.run(pyfuncitem.obj())
            return True

    from harness.builtin import LOCAL

    def pytest_am2z_runtimes():
        return [LOCAL]
"""


def test_rules_and_tests_of_processors_run_beside_a_conftest_of_asyncio(guest):
    guest.makeconftest(ASYNCIO)
    guest.makepyfile(
        test_rules="from harness.conformance.lifecycle import *",
        test_own="""
            import asyncio
            from am2z import processor
            from harness import TestState, on_every_runtime

            @processor
            async def double(state: TestState, ctx) -> TestState:
                return state.evolve(count=2 * state.count)

            @on_every_runtime(double)
            async def test_on_trio(runtime):
                result = await runtime.execute(double, TestState(count=21))
                assert result.unwrap().count == 42

            async def test_on_asyncio():
                await asyncio.sleep(0)
                assert asyncio.get_running_loop()
        """,
    )
    result = guest.run_guest("-q", "--am2z-report=report", "-k", "LIF-001 or LIF-007 or own")
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 4
    assert (guest.path / "report" / "report.html").exists()


def test_the_plugin_can_be_switched_off(guest):
    guest.makepyfile("def test_one(): pass")
    result = guest.runpytest_subprocess("-p", "no:harness.plugin", "--am2z-seed=1")
    assert "unrecognized arguments: --am2z-seed=1" in result.stderr.str()


def test_a_conftest_of_fifteen_lines_is_enough():
    folder = Path(__file__).parents[1] / "wheel"
    lines = (folder / "conftest.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 15
    [line] = (folder / "test_conformance.py").read_text().splitlines()
    assert line.startswith("from harness.conformance import *")
