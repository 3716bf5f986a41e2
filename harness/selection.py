"""Which runtimes a test runs on."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from am2z import ConfigurationError
from harness.builtin import BUILTIN
from harness.subject import RuntimeUnderTest

__all__ = ["flatten", "resolve", "select"]


def resolve(spec: str, known: Sequence[RuntimeUnderTest] = ()) -> RuntimeUnderTest:
    """The runtime that ``spec`` names.

    A name of ``known`` or a built-in one, or ``module:attribute`` of a ``RuntimeUnderTest`` or of a
    function that takes an ``Environment``; the current folder is searched first, as ``python -m``
    does. Raises ``ConfigurationError`` that says what there is.
    """
    names = {subject.name: subject for subject in known} or {}
    if spec in names:
        return names[spec]
    if spec in BUILTIN:
        return BUILTIN[spec]
    if ":" in spec:
        return _load(spec)
    there_is = [*names, *BUILTIN]
    near = difflib.get_close_matches(spec, there_is, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigurationError(
        f"there is no runtime {spec!r}; {hint}there is {', '.join(dict.fromkeys(there_is))}, or "
        "give one of your own as module:attribute"
    )


def select(
    specs: Sequence[str], from_hooks: Sequence[RuntimeUnderTest], default: Sequence[str]
) -> list[RuntimeUnderTest]:
    """What ``--am2z-runtime`` names, else what the hooks gave, else the default names."""
    if specs:
        return _unique(resolve(spec, from_hooks) for spec in specs)
    return _unique(from_hooks) or [BUILTIN[name] for name in default]


def flatten(answers: Iterable[Any]) -> list[RuntimeUnderTest]:
    """What the implementations of ``pytest_am2z_runtimes`` gave, as one list."""
    found: list[RuntimeUnderTest] = []
    for answer in answers:
        names = set[str]()
        for subject in [answer] if isinstance(answer, RuntimeUnderTest) else answer:
            if not isinstance(subject, RuntimeUnderTest):
                raise ConfigurationError(
                    f"pytest_am2z_runtimes gave {subject!r:.100}; return a list of RuntimeUnderTest"
                )
            if subject.name in names:
                raise ConfigurationError(
                    f"pytest_am2z_runtimes gave two runtimes named {subject.name!r}; the second "
                    "would never be run, so give each a name of its own"
                )
            names.add(subject.name)
            found.append(subject)
    return found


def _unique(subjects: Iterable[RuntimeUnderTest]) -> list[RuntimeUnderTest]:
    """The first of each name: the conftest that is nearest to the test comes first."""
    found: dict[str, RuntimeUnderTest] = {}
    for subject in subjects:
        found.setdefault(subject.name, subject)
    return list(found.values())


def _load(spec: str) -> RuntimeUnderTest:
    module_name, _, attribute = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value: Any = import_module(module_name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"cannot load the runtime {spec!r}: {error}") from error
    if isinstance(value, RuntimeUnderTest):
        return value
    if callable(value):
        return RuntimeUnderTest(attribute, value)
    raise ConfigurationError(
        f"{spec!r} is {value!r:.100}; it has to be a RuntimeUnderTest, or a function of the "
        "environment that returns an async context manager"
    )
