"""The child process of ``mutate.py``: runs the fast tests of the protocol on other scripts, often.

It reads one folder of scripts a line, and answers each with lines: ``at TEST`` as a test begins,
then ``failed TEST`` or ``passed``. The parent ends it when a script never ends.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from am2z.queue import library
from am2z.queue.client.script import Script
from am2z.queue.library import ScriptLibrary

HERE = Path(__file__).parent
FILES = (
    "execution", "checks", "sessions", "recovery", "locks", "bounds", "transcript", "garbage",
    "smoke",
)  # fmt: skip
"""The tests that are fast, the more telling ones first."""


class Changed:
    """Puts the scripts of a folder in the place of those that are shipped."""

    def __init__(self, folder: Path) -> None:
        def put_together(self: ScriptLibrary, name: str) -> Script:
            # Kept in the library: its overrides are its own, and its id may come again.
            made: dict[str, Script] = self.__dict__.setdefault(f"from {folder}", {})
            if name not in made:
                made[name] = Script(self._expand(library._read(name), set()), name=name)
            return made[name]

        library._read = lambda name: (folder / f"{name}.lua").read_text()  # type: ignore[assignment]
        ScriptLibrary.__getitem__ = put_together  # type: ignore[method-assign]


class Listener:
    """Tells the parent what happens."""

    def __init__(self, out: int) -> None:
        self._out = out
        self.failed = ""

    def tell(self, line: str) -> None:
        os.write(self._out, f"{line}\n".encode())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.tell(f"at {nodeid}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid


def main(ini: str) -> None:
    out = os.dup(1)
    os.dup2(2, 1)  # what tests print must not stand between the answers
    plugins = ["terminal", "cacheprovider", "faulthandler"]
    options = [f"-c{ini}", f"--rootdir={Path.cwd()}", f"--confcutdir={HERE}", "-x"]
    options += [f"-pno:{name}" for name in plugins]
    tests = [str(HERE / f"test_protocol_{name}.py") for name in FILES]
    for line in sys.stdin:
        Changed(Path(line.strip()))
        listener = Listener(out)
        code = pytest.main([*options, *tests], plugins=[listener])
        if code and not listener.failed:
            listener.failed = f"(pytest ended with {code})"
        listener.tell(f"failed {listener.failed}" if listener.failed else "passed")


if __name__ == "__main__":
    main(sys.argv[1])
