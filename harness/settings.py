"""What a rule sets for its runtime, and whether the runtime's maker took it."""

from __future__ import annotations

from msgspec.structs import asdict

from am2z import ResourceLimits, RuntimeConfig
from harness.outcome import Undecided

__all__ = ["Settings"]


class Settings:
    """The ``config`` and the ``limits`` of one runtime under test.

    A runtime that was made without what the rule sets is no worse for it, and no better: such a
    rule cannot be decided.
    """

    def __init__(self, config: RuntimeConfig | None, limits: ResourceLimits | None) -> None:
        self.config = config or RuntimeConfig()
        self.limits = limits or ResourceLimits()
        self._left = {
            name: changed
            for name, changed in (
                ("config", _changed(self.config, RuntimeConfig())),
                ("limits", _changed(self.limits, ResourceLimits())),
            )
            if changed
        }

    def take_config(self) -> RuntimeConfig:
        """What ``make`` gets as ``env.config``."""
        self._left.pop("config", None)
        return self.config

    def take_limits(self) -> ResourceLimits:
        """What ``make`` gets as ``env.limits``."""
        self._left.pop("limits", None)
        return self.limits

    def check_taken(self) -> None:
        """Raise ``Undecided`` where something is set that nobody has asked for."""
        for name, changed in self._left.items():
            raise Undecided(
                f"this rule sets {changed}, but make(env) did not read env.{name}: hand it to "
                f"your runtime, as in MyRuntime(..., {name}=env.{name})"
            )


def _changed(given: RuntimeConfig | ResourceLimits, usual: RuntimeConfig | ResourceLimits) -> str:
    before = asdict(usual)
    changed = {name: value for name, value in asdict(given).items() if value != before[name]}
    return ", ".join(f"{name}={value!r}" for name, value in changed.items())
