"""What is around a processor: the variables that it can reach, and what it leaves running."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import trio

from am2z import Processor
from harness.leaks import running_tasks
from harness.strict.copies import Copy, copy_of

__all__ = ["Running", "Surroundings"]

_PLAIN = (int, float, complex, str, bytes, type(None))
_DEPTH, _SIZE = 6, 10_000
_TRIO = ("trio._core", "trio._threads", "trio._signals", "trio.testing")
_OF_TRIO = re.compile(r"Trio thread \d+")


class Surroundings:
    """The plain values that processors can reach outside of their states, as they were once.

    Plain: numbers, text and the built-in containers. What a client or a connection has inside is
    its own affair. Functions of the same module are looked into, too.
    """

    def __init__(
        self, processors: Collection[Processor[Any]], allowed: Collection[str], *seen: object
    ) -> None:
        self._before: dict[str, dict[str, object]] = {}
        self._reach: dict[str, dict[str, Callable[[], object]]] = {}
        skipped = {id(value) for value in seen}
        for processor in processors:
            reach = {
                name: get
                for name, get in _reachable(processor.fn)
                if name not in allowed and id(get()) not in skipped
            }
            self._reach[processor.name] = reach
        self.renew()

    def renew(self) -> None:
        """From now on count changes from how it is now."""
        self._before = {
            processor: {name: _print(get()) for name, get in reach.items()}
            for processor, reach in self._reach.items()
        }

    def changed(self) -> Iterator[tuple[str, str]]:
        """Processor and variable for each that is not as it was."""
        for processor, reach in self._reach.items():
            for name, get in reach.items():
                if _print(get()) != self._before[processor][name]:
                    yield processor, name


class Running:
    """The threads and the tasks of nobody that there were before a copy began."""

    def __init__(self) -> None:
        self._threads = set(_threads())
        self._tasks = set(_system_tasks())

    def since(self, copy: Copy) -> list[str]:
        """What a copy left running although it returned."""
        tasks = {task for task in running_tasks() if copy_of(task) is copy}
        tasks |= set(_system_tasks()) - self._tasks
        left = [f"task {task.name!r}" for task in tasks]
        return left + [f"thread {t.name!r}" for t in _threads() if t not in self._threads]


def _threads() -> list[threading.Thread]:
    """The threads there are, without trio's own."""
    return [thread for thread in threading.enumerate() if not _is_of_trio(thread)]


def _system_tasks() -> list[trio.lowlevel.Task]:
    """The tasks that belong to no nursery of a program, without trio's own."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return [
        task
        for nursery in root.child_nurseries
        for task in nursery.child_tasks
        if not _module(task).startswith(_TRIO)
    ]


def _module(task: trio.lowlevel.Task) -> str:
    frame = getattr(task.coro, "cr_frame", None)
    return str(frame.f_globals.get("__name__", "")) if frame else "trio._core"


def _is_of_trio(thread: threading.Thread) -> bool:
    owner = getattr(getattr(thread, "_target", None), "__self__", None)
    return type(owner).__module__.startswith("trio.") or bool(_OF_TRIO.fullmatch(thread.name))


def _reachable(fn: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    """Names and getters of the plain variables that a function and its neighbours use."""
    todo, seen = [fn], set[int]()
    while todo:
        function = todo.pop()
        function = getattr(function, "__func__", function)
        if id(function) in seen or not isinstance(function, FunctionType):
            continue
        seen.add(id(function))
        for name, get in _variables(function):
            value = get()
            if isinstance(value, FunctionType) and value.__module__ == function.__module__:
                todo.append(value)
            elif _is_plain(value):
                yield name, get


def _variables(function: FunctionType) -> Iterator[tuple[str, Callable[[], object]]]:
    """The variables outside of a function that it uses: those of its module, and of functions."""
    space = function.__globals__
    for name in _names(function.__code__) & space.keys():
        yield name, partial(space.get, name)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        yield name, partial(_content, cell)


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _is_plain(value: object) -> bool:
    return isinstance(value, (*_PLAIN, dict, list, set, deque, bytearray))


def _print(value: object, depth: int = 0) -> object:
    """Something that changes when the value does."""
    below = partial(_print, depth=depth + 1)
    match value:
        case bytearray():
            return bytes(value)
        case _ if isinstance(value, _PLAIN):
            return type(value), value
        case Mapping() if depth <= _DEPTH:
            return [(below(key), below(part)) for key, part in _some(value.items())]
        case list() | tuple() | deque() if depth <= _DEPTH:
            return len(value), [below(part) for part in _some(value)]
        case set() | frozenset():
            return len(value), sorted(map(repr, _some(value)))
        case _:
            return id(value)


def _some(values: Any) -> list[Any]:
    return [value for value, _ in zip(values, range(_SIZE), strict=False)]
