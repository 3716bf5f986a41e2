"""Whether two values are the same, and where they differ."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from am2z import AM2ZError, AppState
from am2z.authoring import Outcome, copy_state

__all__ = ["changed_by_the_wire", "difference", "differing_outcomes"]


def changed_by_the_wire(state: AppState) -> str:
    """The path of the first part of ``state`` that comes back different; empty: none does."""
    try:
        back = copy_state(state)
    except AM2ZError:
        return ""  # the runtime itself refuses it, with the path
    return difference(state, back)


def differing_outcomes(
    one: Outcome[Any], two: Outcome[Any], ignore: Collection[str] = (), *, ids: tuple[str, str]
) -> str:
    """Where two outcomes of the same work differ; empty: they are the same."""
    if (one.error is None) != (two.error is None):
        return f"once {_ended(one)}, once {_ended(two)}"
    if one.error is not None and two.error is not None:
        same = (type(one.error), one.error.code) == (type(two.error), two.error.code)
        return "" if same else f"once {_ended(one)}, once {_ended(two)}"
    path = difference(one.state, two.state, ignore, ids)
    return f"at path {path}" if path else ""


def difference(
    one: Any, two: Any, ignore: Collection[str] = (), ids: tuple[str, str] = ("", "")
) -> str:
    """The path of the first difference, with both values; empty: there is none.

    Metadata and the fields named in ``ignore`` may differ. ``ids`` are the ids of the executions
    that made the values: text that holds them is no difference.
    """
    found = next(_differences(one, two, "", frozenset({"metadata", *ignore}), ids), None)
    if found is None:
        return ""
    path, left, right = found
    return f"{path.lstrip('.') or 'state'}: {left!r:.60} and {right!r:.60}"


def _differences(
    one: Any, two: Any, path: str, ignore: frozenset[str], ids: tuple[str, str]
) -> Iterator[tuple[str, Any, Any]]:
    if _are_numbers(one, two):  # 49 in a field of floats is 49.0 afterwards
        is_same = one == two or (math.isnan(one) and math.isnan(two))
    elif type(one) is not type(two):
        is_same = False
    elif isinstance(one, str) and ids[0]:
        is_same = one.replace(ids[0], "") == two.replace(ids[1], "")
    elif (parts := _parts(one, two, ignore if not path else frozenset({"metadata"}))) is not None:
        for step, left, right in parts:
            yield from _differences(left, right, path + step, ignore, ids)
        return
    else:
        is_same = one == two
    if not is_same:
        yield path, one, two


def _parts(one: Any, two: Any, ignore: frozenset[str]) -> list[tuple[str, Any, Any]] | None:
    """The parts of two containers that belong together; ``None`` where there are none."""
    if isinstance(one, msgspec.Struct):
        names = [name for name in one.__struct_fields__ if name not in ignore]
        return [(f".{name}", getattr(one, name), getattr(two, name)) for name in names]
    if isinstance(one, Mapping) and one.keys() == two.keys():
        return [(f"[{key!r}]", one[key], two[key]) for key in one]
    if isinstance(one, list | tuple) and len(one) == len(two):
        return [(f"[{i}]", *pair) for i, pair in enumerate(zip(one, two, strict=True))]
    return None


def _are_numbers(*values: object) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _ended(outcome: Outcome[Any]) -> str:
    if outcome.error is None:
        return "a success"
    return f"{type(outcome.error).__name__}: {outcome.error}"
