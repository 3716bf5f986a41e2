"""Removes each check from each script in turn, and says which fast test fails for it.

    python -m tests.distributed.protocol.mutate                # all, into docs/script-checks.md
    python -m tests.distributed.protocol.mutate claim _finish  # only the sections of these
    python -m tests.distributed.protocol.mutate --new [claim]  # only what the page does not know

The fast tests of this folder run against each changed script until the first of them fails, in
two processes (``AM2Z_MUTATE_JOBS``); all scripts take about ten minutes. ``--new`` takes the page's
word for the lines that it has a test for, and tries the others.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from .checks_page import PAGE, Row, known, update, verdict
from .mutants import Mutant, mutants, texts

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
LIMIT = 60.0
"""Seconds for one test, of which the slowest needs two: then a script runs for ever."""

INI = "[pytest]\naddopts = --import-mode=importlib\nfilterwarnings = error\n"


class Runner:
    """A process that runs the tests again and again; a new one when it had to be ended."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, scripts: dict[str, str]) -> str:
        """The first test that fails with these scripts; empty where none does."""
        with tempfile.TemporaryDirectory(dir=self._tree) as folder:
            for name, text in scripts.items():
                (Path(folder) / f"{name}.lua").write_text(text)
            child = self._child = self._child or self._start()
            assert child.stdin is not None
            child.stdin.write(f"{folder}\n".encode())
            child.stdin.flush()
            test = ""
            for line in self._answers(child):
                word, _, name = line.partition(" ")
                if word == "passed":
                    return ""
                if word == "failed":
                    return name
                test = name
        self._end()
        return test or "(no test began)"

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.mutant_runner", str(self._tree / "mutate.ini")],
            cwd=self._tree,
            env={
                **os.environ,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTEST_ADDOPTS": "",
                "TMPDIR": str(self._tree),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the Redis server that it starts has to end with it
        )

    def _answers(self, child: subprocess.Popen[bytes]) -> Iterator[str]:
        """Its lines, until it is silent for too long or ends."""
        assert child.stdout is not None
        pipe, text = child.stdout.fileno(), b""
        while select.select([pipe], [], [], LIMIT)[0] and (data := os.read(pipe, 65536)):
            *lines, text = (text + data).split(b"\n")
            yield from (line.decode() for line in lines)

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            os.killpg(child.pid, signal.SIGKILL)
            with child:
                pass


def copy(tree: Path) -> None:
    """What the tests need of this repository, where nobody changes it meanwhile."""
    for name in ("am2z", "harness", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "mutate.ini").write_text(INI)


def tried(todo: list[Mutant], scripts: dict[str, str]) -> Iterator[tuple[Mutant, str]]:
    """Each change, with the first test that fails."""
    jobs = int(os.environ.get("AM2Z_MUTATE_JOBS", "2"))
    with ExitStack() as stack:
        tree = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="am2z-")))
        copy(tree)
        idle: SimpleQueue[Runner] = SimpleQueue()
        for _ in range(jobs):
            idle.put(stack.enter_context(Runner(tree)))

        def run(mutant: Mutant | None) -> str:
            changed = {} if mutant is None else {mutant.script: mutant.text(scripts[mutant.script])}
            runner = idle.get()
            try:
                return runner.run(scripts | changed)
            finally:
                idle.put(runner)

        if broken := run(None):
            sys.exit(f"without any change {broken} fails")
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        yield from zip(todo, pool.map(run, todo), strict=True)


def main(*names: str, new: bool) -> None:
    scripts = texts()
    if unknown := set(names) - scripts.keys():
        sys.exit(f"there is no script {', '.join(sorted(unknown))}")
    page = PAGE.read_text() if PAGE.exists() else ""
    chosen = [name for name in scripts if name in names or not names]
    every = [mutant for name in chosen for mutant in mutants(name, scripts[name])]
    verdicts = known(page, every) if new else {}
    todo = [mutant for mutant in every if mutant not in verdicts]
    for mutant, test in tried(todo, scripts) if todo else ():
        verdicts[mutant] = verdict(mutant, test)
        if not test:
            print(f"{mutant.script}: {mutant.code}\n    becomes {mutant.after.strip()}")
            print(f"    caught by {verdicts[mutant]}", flush=True)
    PAGE.write_text(update(page, chosen, [Row(mutant, verdicts[mutant]) for mutant in every]))


if __name__ == "__main__":
    main(*(name for name in sys.argv[1:] if name != "--new"), new="--new" in sys.argv)
