"""Starts the programs of ``peers`` and talks to them."""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

__all__ = ["Mark", "Program", "ProgramError", "started"]

ROOT = Path(__file__).parents[1]
START = 60.0
"""Seconds within which a program must say that it is ready."""


class ProgramError(Exception):
    """A program failed, ended or kept silent; the text has what it wrote to its error output."""


class Mark(NamedTuple):
    """So many jobs had begun ``at`` (monotonic clock), after ``cpu`` seconds of that process."""

    jobs: int
    at: float
    cpu: float


class Program:
    """One running program."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self._log = log
        self.began = time.monotonic()
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                words,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._stats = psutil.Process(self._process.pid)
        self.settings = ""

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def wait_until_ready(self) -> None:
        """Return when it is, with its ``settings``."""
        self.settings = str(self._next(START)["ready"])

    def ask(self, verb: str, *, within: float = 600.0, **arguments: Any) -> dict[str, Any]:
        """Say a verb, and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._next(within)
        if "error" in answer:
            raise ProgramError(f"{verb}: {answer['error']}")
        found: dict[str, Any] = answer["ok"]
        return found

    def mark(self, within: float = 600.0) -> Mark:
        """The next mark that it passes."""
        told = self._next(within)
        return Mark(told["mark"], told["at"], told["cpu"])

    def marks(self) -> list[Mark]:
        """Those that it passed since they were last asked for, without a wait."""
        return [self.mark() for _ in range(self._lines.qsize())]

    def cpu(self) -> float:
        """Seconds of the processor that it and its children have used."""
        return sum(map(_cpu, [self._stats, *self._stats.children(recursive=True)]))

    def memory(self) -> int:
        """Its resident bytes."""
        return int(self._stats.memory_info().rss)

    def files(self) -> int:
        """How many descriptors it has open."""
        return int(self._stats.num_fds())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, to it alone."""
        self._process.kill()
        self._process.wait()

    def _next(self, within: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=within)
        except queue.Empty:
            raise ProgramError(f"silent for {within:g} s\n{self._errors()}") from None
        if line is None:
            raise ProgramError(f"ended with status {self._process.wait()}\n{self._errors()}")
        return line

    def _errors(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def close(self) -> None:
        """End it: by the end of its input, or else by force."""
        family = []
        if self._process.poll() is None:
            family = self._stats.children(recursive=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in family:
            if child.is_running():
                child.kill()
        self._reader.join(5)
        self._process.stdout.close()


def _cpu(process: psutil.Process) -> float:
    """Seconds of the processor; to the nanosecond where Linux tells of each thread."""
    threads = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def started(words: Sequence[str]) -> Iterator[Program]:
    """A program for the time of the block, ready."""
    with tempfile.TemporaryDirectory(prefix="am2z-bench-") as folder:
        program = Program(words, Path(folder) / "stderr")
        try:
            program.wait_until_ready()
            yield program
        finally:
            program.close()
