"""What a rule left behind in this process: tasks, threads, descriptors, child processes."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]  # not everybody has its stubs
import trio

__all__ = ["ProcessSnapshot", "running_tasks", "where_tasks_are"]

_IDLE_TRIO_THREAD = re.compile(r"Trio thread \d+")
"""Trio keeps idle worker threads for ten seconds, and names them so; a busy one bears a job."""

_FD_FOLDERS = (Path("/proc/self/fd"), Path("/dev/fd"))


@dataclass
class ProcessSnapshot:
    """The threads, descriptors and children of this process at one moment."""

    threads: set[threading.Thread] = field(
        default_factory=lambda: _threads()  # noqa: PLW0108 - defined below
    )
    descriptors: dict[int, str] = field(
        default_factory=lambda: _descriptors()  # noqa: PLW0108 - defined below
    )
    children: set[int] = field(default_factory=lambda: set(_children()))

    @contextmanager
    def allowing(self) -> Iterator[None]:
        """What comes to be inside the block (a server that is started) counts as there before."""
        inner = ProcessSnapshot()
        yield
        after = ProcessSnapshot()
        self.threads |= after.threads - inner.threads
        self.children |= after.children - inner.children
        self.descriptors |= dict(after.descriptors.items() - inner.descriptors.items())

    def leaks(self, patience: float) -> list[str]:
        """What is there now and was not then, in words; waits ``patience`` seconds for it to go."""
        deadline = time.monotonic() + patience
        while (found := self._compare()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return found

    def _compare(self) -> list[str]:
        found = [f"thread {thread.name!r} still runs" for thread in _threads() - self.threads]
        found += [
            f"{'socket' if target.startswith('socket') else 'descriptor'} {fd} is still open "
            f"({target})"
            for fd, target in _descriptors().items()
            if self.descriptors.get(fd) != target
        ]
        found += [
            f"child process {pid} still runs ({name})"
            for pid, name in _children().items()
            if pid not in self.children
        ]
        return found


def running_tasks() -> set[trio.lowlevel.Task]:
    """Every task of this trio run but the one that asks, system tasks too."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found: set[trio.lowlevel.Task] = set()
    todo = [root]
    while todo:
        task = todo.pop()
        found.add(task)
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found - {trio.lowlevel.current_task()}


def where_tasks_are() -> list[str]:
    """A line for each task of this trio run, with the innermost places that are not trio's."""
    lines = []
    for task in sorted(running_tasks(), key=lambda task: task.name):
        places = [
            f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
            for frame, line in task.iter_await_frames()
            if "/trio/" not in frame.f_code.co_filename
        ]
        if places:
            lines.append(f"  {task.name}: {' > '.join(places[-4:])}")
    return lines


def _threads() -> set[threading.Thread]:
    # An idle thread of trio's does not count as there before: it takes the next job, and keeps it.
    return {
        thread for thread in threading.enumerate() if not _IDLE_TRIO_THREAD.fullmatch(thread.name)
    }


def _descriptors() -> dict[int, str]:
    for folder in _FD_FOLDERS:
        if folder.is_dir():
            found: dict[int, str] = {}
            for name in os.listdir(folder):  # noqa: PTH208 - names, not paths, are wanted
                # The listing's own descriptor is closed again by now.
                with suppress(OSError):
                    found[int(name)] = os.readlink(folder / name)  # noqa: PTH115 - text
            return found
    return {}  # pragma: no cover - a system that does not list its descriptors


def _children() -> dict[int, str]:
    with suppress(ChildProcessError):
        # One cheap call tells that there are none at all, which is the rule.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        found: dict[int, str] = {}
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found[child.pid] = child.name()
        return found
    return {}
