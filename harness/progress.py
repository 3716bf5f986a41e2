"""What is seen while the suite runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Self

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from harness.outcome import Outcome, Status
from harness.plugin import REWRITTEN, ROW, conformance_report
from harness.report import Report
from harness.rows import outcome_of
from harness.session import Replay

__all__ = ["Progress"]

_BAD = (Status.FAIL, Status.FIXED, Status.UNDECIDED, Status.OVERRIDDEN)


class Progress:
    """A pytest plugin that shows how far each runtime is, and keeps what is told at the end."""

    def __init__(self, console: Console, names: list[str], replay: Replay) -> None:
        self.report: Report | None = None
        self.lessons: list[str] = []
        self.interrupted = False
        self.collection_failed = False
        self.left_behind: list[str] = []
        self._console = console
        self._names = names
        self._replay = replay
        self._left: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._started = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            redirect_stdout=False,  # pytest captures them
            redirect_stderr=False,
            disable=not console.is_terminal,
        )
        self._tasks = {
            name: self._bars.add_task(name, start=False, total=None, note="") for name in names
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Say how a run is repeated, before anybody asks, and what asserts are to be told."""
        # The plugin asked for it when it was imported, but that was before there was a pytest.
        pytest.register_assert_rewrite(*(name for name in REWRITTEN if name not in sys.modules))
        config.pluginmanager.register(self._replay, "am2z-replay")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """One runtime after the other."""
        items.sort(key=self._position)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn how much there is to do."""
        self._left.update(name for item in session.items if (name := _runtime_of(item)))
        for name, task in self._tasks.items():
            self._bars.update(task, total=self._left[name])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A suite that cannot be collected is no suite."""
        self.collection_failed |= report.failed

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """The clock of a runtime begins with its first rule."""
        for name, task in self._tasks.items():
            if nodeid.endswith(f"[{name}]"):
                self._bars.start_task(task)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Show an outcome."""
        for name, value in report.user_properties:
            if name == ROW:
                self._take(outcome_of(str(value)))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Ctrl-C: everything is closed in order; only the status says it."""
        # pytest comes here too when it gives up by itself, with a subclass.
        self.interrupted = excinfo.type is KeyboardInterrupt

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Keep the report."""
        self.report = conformance_report(config)

    def _take(self, outcome: Outcome) -> None:
        name = outcome.runtime
        self._left[name] -= 1
        if outcome.status in _BAD:
            self._bad[name] += 1
            if outcome.lesson:
                self.lessons.append(outcome.lesson)
        if name in self._tasks:
            note = f"{self._bad[name]} broken" if self._bad[name] else ""
            self._bars.update(self._tasks[name], advance=1, note=note)
        if not self._console.is_terminal:
            self._say(outcome)

    def _say(self, outcome: Outcome) -> None:
        if outcome.status in _BAD:
            line = f"{outcome.runtime}: {outcome.rule} {outcome.status}: {outcome.reason}"
            self._console.print(line, markup=False, soft_wrap=True)
        if not self._left[outcome.runtime]:
            seconds = time.monotonic() - self._started
            line = f"{outcome.runtime}: done ({seconds:.1f} s)"
            self._console.print(line, markup=False)

    def _position(self, item: pytest.Item) -> int:
        name = _runtime_of(item)
        return self._names.index(name) if name in self._names else len(self._names)


def _runtime_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    subject = None if callspec is None else callspec.params.get("am2z_kit")
    return getattr(subject, "name", None)
