"""Runs the suite for the command line: pytest in this process, in an empty folder."""

from __future__ import annotations

import io
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console

from am2z import ConfigurationError
from harness.builtin import BUILTIN
from harness.catalogue import load_catalogue
from harness.lesson import leaves
from harness.progress import Progress
from harness.redis import hide_password
from harness.report import Report
from harness.seed import seed_of
from harness.selection import resolve
from harness.servers import choose
from harness.terminal import print_report

__all__ = ["Plan", "run"]

CONFORMANT, NOT_CONFORMANT, USAGE_ERROR, INTERRUPTED = 0, 1, 2, 130

_IGNORED = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
"""Settings of a project's own tests, which are not to change what is run here."""

_SUITE = "test_am2z_conformance"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asked for; ``None`` means the default."""

    runtimes: tuple[str, ...] = ()
    report: Path | None = None
    seed: int | None = None
    redis: str | None = None
    timeout_scale: float | None = None
    keyword: str | None = None


def run(plan: Plan) -> int:
    """Run the suite, print what was found, and answer the exit status.

    Raises ``ConfigurationError`` for a runtime or server that is not there.
    """
    redis = plan.redis or os.environ.get("AM2Z_REDIS") or "auto"
    specs = plan.runtimes or _default_runtimes(redis)
    names = _check(specs, redis)
    seed = seed_of(plan.seed)
    with _own_stdout() as out:
        console = Console(file=out, highlight=False)
        intro = f"{', '.join(names)}; Redis: {choose(redis).description}; seed {seed}"
        console.print(intro, markup=False, soft_wrap=True)
        progress = Progress(
            console, names, _Replay(plan, dict(zip(names, specs, strict=True)), seed)
        )
        noise = io.StringIO()
        with _empty_folder() as folder, _own_environment():
            arguments = [*_arguments(folder), f"--am2z-seed={seed}", f"--am2z-redis={redis}"]
            arguments += [f"--am2z-runtime={spec}" for spec in specs]
            if plan.report is not None:
                arguments.append(f"--am2z-report={plan.report.absolute()}")
            if plan.timeout_scale is not None:
                arguments.append(f"--am2z-timeout-scale={plan.timeout_scale}")
            if plan.keyword is not None:
                arguments += ["-k", plan.keyword]
            with redirect_stdout(noise), redirect_stderr(noise), progress:
                status = _pytest(progress, [*arguments, str(folder)])
        return _finish(plan, console, progress, status, noise.getvalue())


def _finish(plan: Plan, console: Console, progress: Progress, status: int, noise: str) -> int:
    """Print the end of the story and choose the exit status."""
    if status == pytest.ExitCode.USAGE_ERROR:
        # Before its error pytest tells the whole story of a run that ran nothing.
        print(f"am2z: {noise.rpartition('ERROR: ')[2].strip()}", file=sys.stderr)
        return USAGE_ERROR
    report: Report | None = progress.report
    if progress.collection_failed or status == pytest.ExitCode.INTERNAL_ERROR or report is None:
        print(noise.strip(), file=sys.stderr)
        return INTERRUPTED if progress.interrupted else NOT_CONFORMANT
    for lesson in progress.lessons:
        console.rule(style="red")
        console.print(lesson, markup=False, soft_wrap=True)
    console.rule("AM2Z conformance")
    print_report(report, console)
    if plan.report is not None:
        console.print(f"report: {plan.report / 'report.html'}", markup=False)
    for what in progress.left_behind:
        console.print(f"left behind by one of the runtimes: {what}", markup=False, style="red")
    if progress.interrupted:
        return INTERRUPTED
    clean = report.is_conformant and not progress.left_behind
    return CONFORMANT if clean else NOT_CONFORMANT


def _pytest(progress: Progress, arguments: list[str]) -> int:
    """Run pytest. What is found unclosed only when all is over comes as a warning out of it."""
    try:
        return pytest.main(arguments, plugins=[progress])
    except Exception as error:
        warnings = [leaf for leaf in leaves(error) if isinstance(leaf, pytest.PytestWarning)]
        if not warnings:
            raise
        progress.left_behind = [str(warning).partition("\n")[0] for warning in warnings]
        return pytest.ExitCode.TESTS_FAILED


def _default_runtimes(redis: str) -> tuple[str, ...]:
    has_server = choose(redis).start is not None
    return tuple(s.name for s in BUILTIN.values() if s.redis != "server" or has_server)


def _check(specs: tuple[str, ...], redis: str) -> list[str]:
    """The names of the runtimes; raises ``ConfigurationError`` for what cannot be run."""
    subjects = [resolve(spec) for spec in specs]
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"one runtime is named twice: {', '.join(names)}")
    choice = choose(redis)
    for subject in subjects:
        for rule_id in subject.known_failures:
            load_catalogue().find(rule_id)
        if subject.redis == "server" and choice.start is None:
            raise ConfigurationError(f"{subject.name} needs a Redis server: {choice.description}")
    return names


def _arguments(folder: Path) -> list[str]:
    unclean = ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning",
               "pytest.PytestUnhandledThreadExceptionWarning")  # fmt: skip
    return [
        f"--rootdir={folder}",
        f"--config-file={folder / 'pytest.ini'}",
        "--import-mode=importlib",
        "--strict-markers",
        "--strict-config",
        *("-o", "verbosity_assertions=2"),  # what was compared is told in full
        *(argument for name in unclean for argument in ("-W", f"error::{name}")),
        *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # the plugin is imported by now
        *("-p", "no:cacheprovider", "-p", "harness.plugin"),
    ]


@contextmanager
def _empty_folder() -> Iterator[Path]:
    """A folder with the one-line test file, away from every project's settings."""
    with tempfile.TemporaryDirectory(prefix="am2z-conformance-") as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / f"{_SUITE}.py").write_text("from harness.conformance import *\n")
        try:
            yield folder
        finally:
            sys.modules.pop(_SUITE, None)


@contextmanager
def _own_environment() -> Iterator[None]:
    """No plugins and options but our own, so that two people get the same run."""
    before = {name: os.environ.pop(name, None) for name in _IGNORED}
    before["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _own_stdout() -> Iterator[TextIO]:
    """Standard output that stays ours while pytest captures it."""
    try:
        copy = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):  # somebody captures what we print, in this process
        yield sys.stdout
        return
    sys.stdout.flush()
    with open(copy, "w", encoding=sys.stdout.encoding, errors="replace", buffering=1) as out:  # noqa: PTH123 - no path
        yield out


@dataclass(frozen=True)
class _Replay:
    """How to run it again from the command line."""

    plan: Plan
    specs: dict[str, str]
    seed: int

    def one(self, runtime: str, rule_id: str, nodeid: str) -> str:  # noqa: ARG002 - `Replay`'s
        """See ``Replay``."""
        return self._command([self.specs.get(runtime, runtime)], rule_id)

    def all(self) -> str:
        """See ``Replay``."""
        return self._command([*self.specs.values()], self.plan.keyword)

    def _command(self, specs: list[str], keyword: str | None) -> str:
        words = ["am2z", "conformance", *specs]
        words += ["-k", keyword] if keyword else []
        words += ["--redis", hide_password(self.plan.redis)] if self.plan.redis else []
        return shlex.join([*words, "--seed", str(self.seed)])
