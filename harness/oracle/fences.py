"""What has to be true of the fences and the keys of all attempts of a program."""

from __future__ import annotations

from am2z import Context

__all__ = ["Fences"]


class Fences:
    """Remembers what each attempt was given to guard its effects outside."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, str]] = {}
        self._steps: dict[tuple[str, str], str] = {}
        self._fences: dict[str, int] = {}

    def look(self, ctx: Context) -> None:
        """Raise an ``AssertionError`` where a context breaks the law of the others."""
        own = ctx.execution_id, ctx.path
        key = ctx.idempotency_key
        assert self._keys.setdefault(key, own) == own, f"two steps have the key {key!r}"
        assert self._steps.setdefault(own, key) == key, f"one step has two keys, {key!r}"
        before = self._fences.get(ctx.execution_id, 0)
        grows = ctx.fence >= before if ctx.path else ctx.fence > before
        assert grows, f"the fence goes from {before} to {ctx.fence}"
        self._fences[ctx.execution_id] = ctx.fence
