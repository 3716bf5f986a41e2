"""One factor for every time limit of the kit, for machines that are slow or busy."""

from __future__ import annotations

import os

__all__ = ["scaled", "set_scale"]

_scale = float(os.environ.get("AM2Z_TIMEOUT_SCALE") or 1.0)


def set_scale(factor: float) -> None:
    """Multiply every limit by ``factor`` from now on (``--am2z-timeout-scale``)."""
    global _scale  # noqa: PLW0603 - one option, one value for the process
    _scale = factor


def scaled(seconds: float) -> float:
    """``seconds`` times the factor in force."""
    return seconds * _scale
