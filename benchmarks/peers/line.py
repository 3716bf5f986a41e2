"""How the programs of this folder are spoken to: one JSON object in a line, on their two ends.

``python -m benchmarks.peers.NAME client URL`` reads ``{"verb": …, arguments}`` and answers each
with ``{"ok": …}`` or ``{"error": …}``. ``… worker URL {"marks": […]}`` says ``{"ready": …}`` and
then, each time that so many jobs have begun, ``{"mark": n, "at": seconds, "cpu": seconds}``. Both
end with their standard input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from typing import Any

__all__ = ["Counter", "Timer", "end_with_input", "main_arguments", "payload", "read", "say"]

_out = sys.stdout
_lock = threading.Lock()


def own_stdout() -> None:
    """Keep what libraries print away from the line."""
    global _out  # noqa: PLW0603 - one process, one line
    _out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)


def say(**what: Any) -> None:
    """Write one line."""
    with _lock:
        _out.write(json.dumps(what) + "\n")
        _out.flush()


def read() -> dict[str, Any] | None:
    """The next line, ``None`` at the end; blocks."""
    text = sys.stdin.readline()
    found: dict[str, Any] | None = json.loads(text) if text.strip() else None
    return found


def failed() -> None:
    """Answer with the exception that is handled now."""
    say(error=traceback.format_exc())


def main_arguments() -> tuple[str, str, dict[str, Any]]:
    """The role, the URL of Redis and the options that this program was started with."""
    own_stdout()
    role, url, *options = sys.argv[1:]
    return role, url, json.loads(options[0]) if options else {}


def end_with_input() -> None:
    """Leave the process, at once, as soon as nobody holds the other end."""

    def wait() -> None:
        while sys.stdin.readline():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def payload(number: int, size: int) -> str:
    """The text that job ``number`` carries: ``size`` characters, each job's its own."""
    head = f"{number}:"
    return (head + "x" * size)[:size]


class Counter:
    """Counts jobs as they begin, in one process, and tells of the marks."""

    def __init__(self, marks: Iterable[int]) -> None:
        self.count = 0
        self._marks = frozenset(marks)
        self._counting = threading.Lock()

    def add(self) -> None:
        """One more job."""
        self.count += 1
        if self.count in self._marks:
            self._tell()

    def add_from_thread(self) -> None:
        """``add`` where jobs run in several threads."""
        with self._counting:
            self.add()

    def _tell(self) -> None:
        say(mark=self.count, at=time.monotonic(), cpu=time.process_time())


class Timer:
    """``with Timer() as t: …`` and then ``t.told``: seconds of the clock and of this process."""

    def __enter__(self) -> Timer:
        self._cpu = time.process_time()
        self._at = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._at
        self.told = {"seconds": seconds, "cpu": time.process_time() - self._cpu}
