"""The rules as data: one TOML file for each group, an entry for each rule.

An entry is a table ``[[rule]]`` with

- ``id``: permanent, never used again, the group's letters and three digits (``"STA-004"``)
- ``level``: ``"MUST"`` or ``"SHOULD"``
- ``text``: the rule as one sentence of law; ``intent``: why it is there
- ``requires``: names of capabilities without which the rule is not asked (default: none)
- ``strength``: how it is checked: ``"exact"``, ``"model"``, ``"history"`` or ``"stochastic"``
- ``since``: the version of the specification that brought it (default: the first one)
- ``seed``: the scenarios of the original test plan that it stands for, word for word
- ``mutants``: names of the faults that it must find
- ``help``: what to look at when it fails
- ``clock``: ``"virtual"`` where the rule speaks of times: it is run under trio's ``MockClock`` on
  runtimes with ``Capability.VIRTUAL_TIME`` (``kit.virtual_time`` tells), in real time elsewhere
- ``safety``: true where a breach loses or mixes up somebody's data; such a rule is a MUST, requires
  nothing, and no declaration excuses from it
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from am2z import Capability, ConfigurationError

__all__ = ["GROUPS", "SPEC", "Catalogue", "Rule", "load_catalogue"]

SPEC = "1.0"
"""The version of the specification that this kit checks."""

FIRST = "1.0"
"""The version that brought every rule which does not name another."""

GROUPS = {
    "LIF": "Lifecycle",
    "REG": "Registration",
    "EXE": "Execution",
    "SES": "Sessions",
    "STA": "State",
    "ERR": "Errors and retry",
    "EVT": "Events",
    "RES": "Resources",
}
"""The groups, in the order of every report."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the catalogue; the fields are explained at the top of this module."""

    id: str
    level: Literal["MUST", "SHOULD"]
    text: str
    intent: str
    strength: Literal["exact", "model", "history", "stochastic"]
    help: str
    since: str = FIRST
    requires: tuple[str, ...] = ()
    seed: tuple[str, ...] = ()
    mutants: tuple[str, ...] = ()
    clock: Literal["real", "virtual"] = "real"
    safety: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z]{3}-\d{3}", self.id) or self.group not in GROUPS:
            raise ValueError(
                f"id {self.id!r}: give one of {', '.join(GROUPS)}, a hyphen and three digits"
            )
        for name in ("text", "intent", "help", "since"):
            if not getattr(self, name).strip():
                raise ValueError(f"{self.id}: {name} is empty")
        known = {capability.name for capability in Capability}
        if unknown := set(self.requires) - known:
            raise ValueError(f"{self.id}: requires {sorted(unknown)}; there is {sorted(known)}")
        if self.safety and (self.level != "MUST" or self.requires):
            raise ValueError(f"{self.id}: a safety rule is a MUST and requires no capability")

    @property
    def group(self) -> str:
        """The letters of the group, such as ``"STA"``."""
        return self.id[:3]

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What a runtime needs for this rule to be asked."""
        return frozenset(Capability[name] for name in self.requires)


class Catalogue(dict[str, Rule]):
    """The rules by id, group by group."""

    def find(self, rule_id: str) -> Rule:
        """The rule of that id; raises ``ConfigurationError`` that names those that are near."""
        if (found := self.get(rule_id.strip().upper())) is not None:
            return found
        near = difflib.get_close_matches(rule_id.strip().upper(), self, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "`am2z rules` lists them all"
        raise ConfigurationError(f"there is no rule {rule_id!r}; {hint}")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    rule: tuple[Rule, ...] = ()


def read_catalogue(files: Iterable[Path]) -> Catalogue:
    """The catalogue that some TOML files make; raises ``ConfigurationError`` for a wrong entry."""
    rules: dict[str, Rule] = {}
    for path in files:
        try:
            entries = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).rule
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            raise ConfigurationError(f"{path.name}: {error}") from error
        if len({entry.group for entry in entries}) > 1:
            raise ConfigurationError(f"{path.name}: holds rules of more than one group")
        for entry in entries:
            if entry.id in rules:
                raise ConfigurationError(f"{path.name}: {entry.id} is there twice")
            rules[entry.id] = entry
    order = list(GROUPS)
    return Catalogue(sorted(rules.items(), key=lambda kv: (order.index(kv[1].group), kv[0])))


@cache
def load_catalogue() -> Catalogue:
    """The catalogue of this kit."""
    return read_catalogue(sorted(Path(__file__).parent.glob("*.toml")))
