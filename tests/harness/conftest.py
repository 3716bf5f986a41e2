"""Two views of the kit: one rule on one runtime, and a small world of rules inside pytest."""

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

# Loaded here, because pytester forgets the modules that a test was the first to import.
import harness.integrity
import harness.plugin
import harness.progress
import harness.rows
import harness.rules
import harness.scale
import harness.session
from am2z import Capability, LocalRuntime, cli
from harness import RuntimeUnderTest
from harness.catalogue import Catalogue, Rule
from harness.kit import Kit
from harness.rules import RuleCheck

HONEST = {
    "supports": {Capability.PRIORITY, Capability.VIRTUAL_TIME},
    "lacks": {
        Capability.DURABLE: "lives in memory",
        Capability.MULTI_WORKER: "is alone",
        Capability.NAMESPACES: "shares nothing",
    },
}


@asynccontextmanager
async def make_local(env):
    async with LocalRuntime(config=env.config, limits=env.limits) as runtime:
        yield runtime


@asynccontextmanager
async def make_interrupted(_env):
    raise KeyboardInterrupt
    yield


unknown_failure = RuntimeUnderTest("mine", make_local, known_failures={"EXE-999": "bug 12"})


def make_rule(rule_id="STA-004", **fields):
    texts = {"text": "The law.", "intent": "The reason.", "help": "Look at the lock."}
    return Rule(**{"id": rule_id, "level": "MUST", "strength": "exact", **texts, **fields})


@pytest.fixture
def check(monkeypatch):
    """Run a body as if it were a published rule, and give its outcome."""
    monkeypatch.setattr(RuleCheck, "is_published", True)

    def run(body, *, make=make_local, rule=None, probe=None, kit=None, **declared):
        subject = RuntimeUnderTest("mine", make, **{**HONEST, **declared})
        return Kit(subject, "am2z-test-kit", seed=7, **(kit or {})).check(
            RuleCheck(rule or make_rule(), body, probe)
        )

    return run


RULES = """
    from harness import TestState, create_counter_processor, rule

    counter = create_counter_processor("counter")

    @rule("LIF-001")
    async def test_it_starts(kit):
        async with kit.runtime() as runtime:
            assert runtime.is_started

    @rule("EXE-001")
    async def test_it_counts(kit):
        async with kit.runtime(counter) as runtime:
            result = await runtime.execute(counter, TestState(count=1))
        assert result.state.count == 2

    @rule("STA-001")
    async def test_it_loses_nothing(kit):
        async with kit.runtime(counter) as runtime:
            await runtime.execute(counter, TestState(), "session")
            assert (await runtime.state.get("session")).state.count == 1
"""

CONFTEST = """
    from tests.harness.conftest import HONEST, make_local
    from harness import Capability, RuntimeUnderTest
    import pytest

    pytest.register_assert_rewrite("small_kit")

    def pytest_am2z_runtimes():
        return [RuntimeUnderTest("mine", make_local, **{**HONEST, **DECLARED})]
"""


@pytest.fixture
def world(pytester, monkeypatch):
    """A kit with three rules of its own, and a project that runs them: fast to try things on."""
    catalogue = Catalogue(
        (rule.id, rule)
        for rule in (
            make_rule("LIF-001"),
            make_rule("EXE-001"),
            make_rule("STA-001", safety=True),
        )
    )
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for module in (harness.session, harness.rules):
        monkeypatch.setattr(module, "load_catalogue", lambda: catalogue)
    changed = frozenset({"harness.session.load_catalogue", "harness.rules.load_catalogue"})
    monkeypatch.setattr(harness.integrity, "_expected", changed)
    monkeypatch.setattr(harness.rules, "_published", {})
    monkeypatch.setattr(harness.rules, "_CONFORMANCE", pytester.path)
    pytester.syspathinsert()
    pytester.makepyfile(small_kit=RULES)
    pytester.makepyfile(test_conformance="from small_kit import *")

    def declare(text="{}"):
        pytester.makeconftest(CONFTEST.replace("DECLARED", text))

    def run(*arguments):
        options = ("-p", "harness.plugin", "-p", "no:cacheprovider", "--am2z-report=report")
        result = pytester.runpytest_inprocess(*options, "--am2z-seed=7", *arguments)
        path = pytester.path / "report" / "report.json"
        report = json.loads(path.read_text()) if path.exists() else None
        found = report["runtimes"].get("mine") if report else None
        return SimpleNamespace(
            pytest=result,
            text=result.stdout.str(),
            report=report,
            verdict=found and found["verdict"],
            rules=found and found["rules"],
            details=found and found["details"],
            reasons=" ".join(found["reasons"]) if found else "",
        )

    declare()
    return SimpleNamespace(declare=declare, run=run, pytester=pytester, catalogue=catalogue)


@pytest.fixture
def hurry(monkeypatch):
    """Limits in hundredths, for rules that run into them."""
    monkeypatch.setattr(harness.scale, "_scale", 0.02)


@pytest.fixture
def run(capsys):
    """The command in this process."""

    def call(*arguments):
        try:
            status = cli.main(arguments)
        except SystemExit as leaving:
            status = leaving.code
        out, err = capsys.readouterr()
        return status, out, err

    return call
