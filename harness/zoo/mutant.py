"""What a mutant is, and the tools to write one.

A mutant is a context manager that changes one step of our own runtime while it is entered::

    @mutant("commit-forgotten", rule="STA-001")
    @contextmanager
    def commit_forgotten() -> Iterator[None]:
        \"\"\"A successful execution leaves the session's state as it was.\"\"\"
        with patch(LocalStateManager, "commit", lambda *_: 1):
            yield

Its name stands in the ``mutants`` of that rule in the catalogue, its docstring says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

__all__ = ["Base", "Mutant", "all_mutants", "mutant", "patch", "script"]

Base = Literal["local", "queue"]
"""Whose step is changed: ``LocalRuntime``'s, or ``QueueRuntime``'s on in-process fakeredis."""

Enter = Callable[[], AbstractContextManager[None]]
F = TypeVar("F", bound=Enter)


@dataclass(frozen=True)
class Mutant:
    """A runtime that is wrong in one way; ``rule`` must find out."""

    name: str
    rule: str
    base: Base
    text: str
    module: str
    enter: Enter


_mutants: dict[str, Mutant] = {}


def all_mutants() -> Mapping[str, Mutant]:
    """Every mutant of the modules that were imported, by name."""
    return MappingProxyType(_mutants)


def mutant(name: str, *, rule: str, base: Base = "local") -> Callable[[F], F]:
    """Enter a context manager into the zoo, under the name that the catalogue has for it.

    Raises ``ValueError`` for a name that is taken or no name, and where nothing says what is wrong.
    """

    def enter_into_the_zoo(enter: F) -> F:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            raise ValueError(f"{name!r}: give small letters and digits with hyphens between them")
        text = " ".join((enter.__doc__ or "").split())
        if not text:
            raise ValueError(f"{name}: write a docstring that says what is wrong with it")
        found = Mutant(name, rule, base, text, enter.__module__, enter)
        known = _mutants.get(name)
        if known is not None and known.enter.__qualname__ != enter.__qualname__:
            raise ValueError(f"two mutants are called {name!r}")
        _mutants[name] = found
        return enter

    return enter_into_the_zoo


@contextmanager
def patch(target: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a class, module or object for the length of a block.

    It must be there: a refactoring that moves it is to break its mutant, not to disarm it.
    """
    assert hasattr(target, name), (
        f"{getattr(target, '__name__', target)} has no {name} any more; what the mutant changes "
        "has moved: change it where it is now"
    )
    own = vars(target)
    was_own, before = name in own, own.get(name)  # not getattr: a staticmethod is to stay one
    setattr(target, name, value)
    try:
        yield
    finally:
        if was_own:
            setattr(target, name, before)
        else:
            delattr(target, name)


@contextmanager
def script(name: str, old: str, new: str) -> Iterator[None]:
    """Change the text of one Lua script, or include (``_finish``), for the length of a block.

    ``old`` must be there exactly once.
    """
    from am2z.queue import library  # noqa: PLC0415 - brings redis, which local does without

    text = library._read(name)
    count = text.count(old)
    assert count == 1, f"{name}.lua has {old!r} {count} times, not once; mend the mutant"
    changed = text.replace(old, new)

    def read(asked: str) -> str:
        return changed if asked == name else original(asked)

    original = library._read
    shipped = library.library()
    # The parts of a runtime hold on to the one library: it is emptied, not replaced.
    shipped._scripts.clear()
    try:
        with patch(library, "_read", read):
            yield
    finally:
        shipped._scripts.clear()
