"""The report of a run, as an object and as JSON."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from harness.catalogue import GROUPS, SPEC, Catalogue
from harness.fingerprint import kit_fingerprint
from harness.outcome import Status
from harness.verdict import RuntimeVerdict, Verdict

__all__ = ["Declaration", "Report", "write_json"]

_VERSIONS = ("am2z", "trio", "msgspec", "redis", "hiredis", "fakeredis", "pytest")


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What the author of a runtime says about it."""

    supports: tuple[str, ...] = ()
    lacks: dict[str, str] = {}
    known_failures: dict[str, str] = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run found, and what it takes to repeat it."""

    catalogue: Catalogue
    seed: int
    redis: str
    replay: str
    seconds: float
    runtimes: dict[str, RuntimeVerdict]
    declarations: dict[str, Declaration] = {}

    @property
    def is_conformant(self) -> bool:
        """Whether there is a verdict, and every one is CONFORMANT."""
        verdicts = [found.verdict for found in self.runtimes.values()]
        return bool(verdicts) and all(verdict is Verdict.CONFORMANT for verdict in verdicts)

    @property
    def is_refuted(self) -> bool:
        """Whether some runtime broke a rule, or a check was replaced, changed or undecided."""
        bad = (Status.FAIL, Status.FIXED, Status.UNDECIDED, Status.OVERRIDDEN)
        return any(
            outcome.status in bad
            for found in self.runtimes.values()
            for outcome in found.outcomes.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data; the keys are a public format, to which keys may be added."""
        return {
            "spec": SPEC,
            "seed": self.seed,
            "kit_hash": kit_fingerprint(),
            "versions": versions(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "redis": self.redis,
            "replay": self.replay,
            "seconds": round(self.seconds, 3),
            "runtimes": {name: self._runtime(name) for name in self.runtimes},
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "groups": GROUPS,
            "catalogue": {
                rule_id: {**msgspec.to_builtins(rule), "group": rule.group}
                for rule_id, rule in self.catalogue.items()
            },
        }

    def _runtime(self, name: str) -> dict[str, Any]:
        found = self.runtimes[name]
        declared = self.declarations.get(name, Declaration())
        return {
            "verdict": str(found.verdict),
            "reasons": list(found.reasons),
            "supports": list(declared.supports),
            "lacks": declared.lacks,
            "known_failures": declared.known_failures,
            "rules": {rule_id: str(o.status) for rule_id, o in found.outcomes.items()},
            "details": {
                rule_id: {
                    key: value
                    for key, value in (
                        ("seconds", round(o.seconds, 4)),
                        ("reason", o.reason),
                        ("lesson", o.lesson),
                        ("story", o.story),
                    )
                    if value
                }
                for rule_id, o in found.outcomes.items()
                if o.status is not Status.NOT_RUN
            },
        }


def write_json(report: Report, folder: Path) -> Path:
    """Write ``report.json`` into ``folder``, made where it is missing; answers its path."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "report.json"
    target.write_bytes(msgspec.json.format(msgspec.json.encode(report.to_dict()), indent=2) + b"\n")
    return target


def versions() -> dict[str, str]:
    """The versions of what took part, as far as it is installed."""
    found: dict[str, str] = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            module = sys.modules.get(name)
            if (own := getattr(module, "__version__", None)) is not None:
                found[name] = str(own)
    return found
