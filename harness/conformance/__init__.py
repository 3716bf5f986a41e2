"""Every rule of the catalogue as a test. In your project, one line is enough::

    from harness.conformance import *

Each group is a module of its own, which can be imported alone: ``harness.conformance.state``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

MODULES = (
    "lifecycle",
    "registration",
    "execution",
    "sessions",
    "state",
    "errors",
    "events",
    "resources",
    "behind",
    "generated",
)
"""The groups of rules, in the order of the catalogue."""


def _tests() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in MODULES:
        for key, value in vars(import_module(f"{__name__}.{name}")).items():
            if hasattr(value, "am2z_check"):
                if key in found:
                    raise ImportError(f"two rules are called {key}; rename the one in {name}")
                found[key] = value
    return found


_found = _tests()
globals().update(_found)
__all__ = list(_found)
