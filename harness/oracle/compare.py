"""What two runs of one program, or a run and the model, show differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.oracle.model import ANY, Planned, Seen

__all__ = ["Difference", "compare", "plain", "show", "text", "unlike_the_model"]

_ABSENT = "(nothing)"


@dataclass(frozen=True)
class Difference:
    """One value that is not the same. ``number`` counts the entries of the script from 1."""

    number: int
    title: str
    path: str
    values: tuple[Any, ...]
    expected: Any


def unlike_the_model(planned: Sequence[Planned], seen: Sequence[Seen]) -> list[Difference]:
    """Where a run shows what the model does not allow."""
    return [
        Difference(number, entry.title, path, (value,), expected)
        for number, (entry, one) in enumerate(zip(planned, seen, strict=True), 1)
        for path, expected, value in _unequal(entry.expected, one)
        if expected is not ANY
    ]


def compare(
    planned: Sequence[Planned], left: Sequence[Seen], right: Sequence[Seen]
) -> list[Difference]:
    """Where two runs differ in something that the contract does not leave open."""
    found = []
    for number, (entry, one, other) in enumerate(zip(planned, left, right, strict=True), 1):
        for path, *values in _unequal(one, other):
            expected = _at(entry.expected, path)
            if expected is not ANY:
                found.append(
                    Difference(number, entry.title, path, (values[0], values[1]), expected)
                )
    return found


def show(differences: Sequence[Difference], names: Sequence[str]) -> list[str]:
    """Differences as text, with a line for each of ``names`` and one for the model."""
    width = max(map(len, [*names, "model"]))
    lines: list[str] = []
    last = 0
    for one in differences:
        if one.number != last:
            lines.append(f"{one.number:>2}  {one.title}")
            last = one.number
        lines.append(f"      {one.path}")
        pairs = [*zip(names, one.values, strict=True), ("model", one.expected)]
        lines += [f"        {name:<{width}}  {text(value)}" for name, value in pairs]
    return lines


def text(value: Any) -> str:
    """A value in a line."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}={text(one)}" for key, one in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(text, value))}]"
    return repr(value)


def _unequal(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path and values of what is not the same, as deep inside as can be said."""
    if one is ANY or other is ANY or one == other:
        return
    one, other = _numbered(one, other), _numbered(other, one)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            inner = f"{path}.{key}" if path else str(key)
            yield from _unequal(one.get(key, _ABSENT), other.get(key, _ABSENT), inner)
    else:
        yield path, one, other


def _numbered(value: Any, other: Any) -> Any:
    """A list of mappings as a mapping, where it is compared with one of as many."""
    if not isinstance(value, list) or not isinstance(other, list) or len(value) != len(other):
        return value
    if not all(isinstance(one, Mapping) for one in [*value, *other]):
        return value
    return {str(number): one for number, one in enumerate(value, 1)}


def _at(value: Any, path: str) -> Any:
    for key in path.split("."):
        if value is ANY:
            return ANY
        value = _numbered(value, value)
        value = value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    return value


def plain(value: Any) -> Any:
    """A value for JSON."""
    if value is ANY:
        return "(anything)"
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
