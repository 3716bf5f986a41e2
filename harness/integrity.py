"""Whether the kit that judged is the one that was installed.

Nothing stops a program from lying about itself in its own process. But a verdict that somebody
bent by accident, or with a patch or two in a ``conftest.py``, must not pass for the kit's.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import inspect
from collections.abc import Iterator
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import msgspec

from harness.fingerprint import code_fingerprint
from harness.report import Report
from harness.verdict import ALTERED, Verdict

__all__ = ["altered", "sealed", "signature"]

_JUDGES = (
    "catalogue",
    "kit",
    "outcome",
    "report",
    "rows",
    "rules",
    "session",
    "story",
    "trial",
    "verdict",
)
"""The modules by which a verdict comes to be."""


_expected: frozenset[str] = frozenset()
"""What the kit's own tests change."""


def signature(secret: bytes, text: str) -> str:
    """Shows that ``text`` was written by whoever knows ``secret``."""
    return hmac.digest(secret, text.encode(), hashlib.sha256).hex()


def sealed(report: Report) -> Report:
    """The report, with no verdict better than INCOMPLETE where the kit was changed."""
    if not (changed := altered()):
        return report
    reason = f"{ALTERED}: {', '.join(changed)}"
    runtimes = {}
    for name, found in report.runtimes.items():
        is_good = found.verdict is not Verdict.NON_CONFORMANT
        verdict = Verdict.INCOMPLETE if is_good else found.verdict
        runtimes[name] = msgspec.structs.replace(
            found, verdict=verdict, reasons=(*found.reasons, reason)
        )
    return msgspec.structs.replace(report, runtimes=runtimes)


def altered() -> list[str]:
    """The functions of the kit that are not those of its source files."""
    found = set()
    for module in map(import_module, (f"harness.{name}" for name in _JUDGES)):
        codes, borrowed = _written(module.__name__)
        names = [name for name, known in codes.items() if not _is_as_written(module, name, known)]
        names += [
            name
            for name, home in borrowed.items()
            if getattr(module, name, None) is not getattr(import_module(home), name)
        ]
        found |= {f"{module.__name__}.{name}" for name in names}
    return sorted(found - _expected)


@cache
def _written(module: str) -> tuple[dict[str, list[CodeType]], dict[str, str]]:
    """What the source of a module has: functions by name, and what it takes from where in the kit.

    Nothing, where there is no source.
    """
    path = Path(import_module(module).__file__ or "")
    try:
        source = path.read_text("utf-8")
        code = compile(source, str(path), "exec", dont_inherit=True)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError):
        return {}, {}
    found: dict[str, list[CodeType]] = {}
    for name, inner in _functions(code):
        found.setdefault(name, []).append(inner)
    borrowed = {
        alias.name: node.module
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("harness.")
        for alias in node.names
    }
    return found, {name: home for name, home in borrowed.items() if home}


def _functions(code: CodeType, prefix: str = "") -> Iterator[tuple[str, CodeType]]:
    """The functions of a module and the methods of its classes."""
    for constant in code.co_consts:
        if not isinstance(constant, CodeType) or constant.co_name.startswith("<"):
            continue
        name = f"{prefix}{constant.co_name}"
        if constant.co_flags & inspect.CO_OPTIMIZED:
            yield name, constant
        else:  # the body of a class
            yield from _functions(constant, f"{name}.")


def _is_as_written(module: ModuleType, name: str, codes: list[CodeType]) -> bool:
    owner: Any = module
    *classes, last = name.split(".")
    for part in classes:
        owner = getattr(owner, part, None)
    function = _bare(vars(owner).get(last)) if owner is not None else None
    if not isinstance(function, FunctionType):
        return False
    known = {_fingerprint(code) for code in codes}
    return _fingerprint(function.__code__) in known


def _bare(value: Any) -> Any:
    """The function inside of a property, a class method, a context manager or a cache."""
    for kind, inner in ((property, "fget"), (cached_property, "func")):
        if isinstance(value, kind):
            value = getattr(value, inner)
    value = getattr(value, "__func__", value)
    return inspect.unwrap(value) if callable(value) else value


def _fingerprint(code: CodeType) -> str:
    cells = tuple(CellType(None) for _ in code.co_freevars)
    return code_fingerprint(FunctionType(code, {}, closure=cells or None))
