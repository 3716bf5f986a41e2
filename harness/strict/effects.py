"""A stand-in for what is outside: it counts what was done to it, and by which copy."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from harness.strict.copies import Copy, current_copy

__all__ = ["Effects"]


class Effects:
    """An outside system that a test gives to its processors.

    ``record(what)`` does something; with ``key=`` it refuses what was done under that key, with
    ``fence=`` it refuses a fence smaller than one that it has seen for the same effect. Give it to
    the fake of your gateway, or use it as the fake. ::

        if effects.record("charge 49", key=ctx.idempotency_key): ...
    """

    def __init__(self) -> None:
        self._done: list[str] = []
        self.clear()

    def record(self, what: str, *, key: str | None = None, fence: int | None = None) -> bool:
        """Do ``what``; answers whether it happened now."""
        copy = current_copy()
        if copy is not None:
            self._asked[copy.execution_id, what][copy] += 1
        if key is not None and (what, key) in self._keys:
            return False
        if fence is not None:
            if fence < self._fences.get(what, 0):
                return False
            self._fences[what] = fence
        if key is not None:
            self._keys.add((what, key))
        self._done.append(what)
        if copy is not None:
            self._performed[copy.execution_id, what] += 1
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._done.clear()
        self._keys: set[tuple[str, str]] = set()
        self._fences: dict[str, int] = {}
        self._asked: defaultdict[tuple[str, str], Counter[Copy]] = defaultdict(Counter)
        self._performed: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._done)

    def __iter__(self) -> Iterator[str]:
        return iter(self._done)

    def repeated(self) -> Iterator[tuple[str, str, int, int]]:
        """What was done more often than one copy of its execution wanted it.

        Processor, effect, how often it was done, how often it was wanted.
        """
        for (execution_id, what), number in self._performed.items():
            asked = self._asked[execution_id, what]
            if number > max(asked.values()):
                yield next(iter(asked)).processor, what, number, max(asked.values())
