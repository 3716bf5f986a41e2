"""What ``am2z diff`` is asked for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asked for; ``None`` means the default."""

    runtimes: tuple[str, ...]
    examples: int = 100
    seed: int | None = None
    program: str | None = None
    redis: str | None = None
    timeout_scale: float | None = None
    as_json: bool = False
