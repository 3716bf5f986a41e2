"""The way from the command line to the conformance kit, which is an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from am2z.errors import ConfigurationError

__all__ = ["load"]


def load(module: str) -> Any:
    """A module of the kit; raises ``ConfigurationError`` where the extra is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("am2z", "harness"):
            raise
        raise ConfigurationError(
            f"the conformance kit needs {error.name}, which is not installed; "
            'run: pip install "am2z[harness]"'
        ) from error
