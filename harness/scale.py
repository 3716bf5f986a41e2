"""One factor for every time limit of the kit, for machines that are slow or busy."""

from __future__ import annotations

import os

__all__ = ["scaled", "set_scale"]

_scale = float(os.environ.get("AM2Z_TIMEOUT_SCALE") or 1.0)


def set_scale(factor: float) -> float:
    """Multiply every limit by ``factor`` from now on; answers the factor until now."""
    global _scale
    before, _scale = _scale, factor
    return before


def scaled(seconds: float) -> float:
    """``seconds`` times the factor in force."""
    return seconds * _scale
