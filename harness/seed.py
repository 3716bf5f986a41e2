"""The seed of a run that was given none."""

from __future__ import annotations

import random

__all__ = ["seed_of"]


def seed_of(given: int | None) -> int:
    """``given``, or one by chance; every report names it, so that the run can be repeated."""
    return random.randrange(2**31) if given is None else given  # noqa: S311 - no secret
