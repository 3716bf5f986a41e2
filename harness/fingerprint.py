"""Tells whether the kit, or one of its rules, is the one that was published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

__all__ = ["code_fingerprint", "kit_fingerprint"]

_HOME = Path(__file__).parent


@cache
def kit_fingerprint() -> str:
    """A SHA-256 over every source and data file of the kit, as 64 hex digits."""
    digest = hashlib.sha256()
    for path in sorted(p for p in _HOME.rglob("*") if p.suffix in (".py", ".toml")):
        digest.update(path.relative_to(_HOME).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def code_fingerprint(function: Callable[..., Any]) -> str:
    """A SHA-256 over what a function does: its instructions, names, constants and defaults."""
    digest = hashlib.sha256()
    code = getattr(function, "__code__", None)
    if code is None:
        return f"not a function: {type(function).__qualname__}"
    _add(digest, code)
    digest.update(repr((function.__defaults__, function.__kwdefaults__)).encode())
    return digest.hexdigest()


def _add(digest: Any, code: CodeType) -> None:
    digest.update(code.co_code + repr((code.co_names, code.co_varnames)).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add(digest, constant)
        elif isinstance(constant, frozenset):  # its order is chance
            digest.update(repr(sorted(map(repr, constant))).encode())
        else:
            digest.update(repr(constant).encode())
