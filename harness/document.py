"""A ``report.json``, and a ``zoo.json``, read back: all that the page and the badges are made from.

What is missing in an older file is empty, and what a newer one has beyond is left aside.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from am2z import ConfigurationError
from harness.outcome import Status, Story
from harness.verdict import Verdict

__all__ = ["Details", "Document", "Entry", "Examined", "Mutant", "Zoo", "read_document", "read_zoo"]

T = TypeVar("T")


class Details(msgspec.Struct, frozen=True):
    """How a rule ended, beyond its status."""

    seconds: float = 0.0
    reason: str = ""
    lesson: str = ""
    story: Story | None = None


class Examined(msgspec.Struct, frozen=True):
    """A runtime in a report."""

    verdict: Verdict
    rules: dict[str, Status]
    reasons: tuple[str, ...] = ()
    supports: tuple[str, ...] = ()
    lacks: dict[str, str] = {}
    known_failures: dict[str, str] = {}
    details: dict[str, Details] = {}

    def detail(self, rule_id: str) -> Details:
        """What is told about a rule, which may be nothing."""
        return self.details.get(rule_id, Details())


class Entry(msgspec.Struct, frozen=True):
    """A rule of the catalogue, as the report carries it."""

    group: str = ""
    level: str = ""
    text: str = ""
    intent: str = ""
    strength: str = ""
    help: str = ""
    since: str = ""
    requires: tuple[str, ...] = ()
    mutants: tuple[str, ...] = ()
    safety: bool = False


class Document(msgspec.Struct, frozen=True):
    """A whole report."""

    spec: str
    seed: int
    runtimes: dict[str, Examined]
    kit_hash: str = ""
    versions: dict[str, str] = {}
    python: str = ""
    platform: str = ""
    redis: str = ""
    replay: str = ""
    seconds: float = 0.0
    date: str = ""
    groups: dict[str, str] = {}
    catalogue: dict[str, Entry] = {}

    @property
    def entries(self) -> dict[str, Entry]:
        """Every rule, group by group: also one that no catalogue came with."""
        told = [rule_id for tested in self.runtimes.values() for rule_id in tested.rules]
        unknown = {rule_id: Entry(group=rule_id[:3]) for rule_id in told}
        return unknown | self.catalogue if unknown.keys() - self.catalogue else self.catalogue

    @property
    def titles(self) -> dict[str, str]:
        """The groups that have rules, with their titles."""
        letters = dict.fromkeys(entry.group for entry in self.entries.values())
        return {name: self.groups.get(name, name) for name in [*self.groups, *letters]
                if name in letters}  # fmt: skip


class Mutant(msgspec.Struct, frozen=True):
    """A runtime with one fault: the rule that is to find it, and the rules that did."""

    name: str
    killed: bool
    expected: str = ""
    by: tuple[str, ...] = ()


class Zoo(msgspec.Struct, frozen=True):
    """The kill matrix, as ``am2z zoo --json`` prints it."""

    mutants: tuple[Mutant, ...]
    rules_without_mutant: tuple[str, ...] = ()


def read_document(path: Path) -> Document:
    """The report in a file; raises ``ConfigurationError`` where there is none."""
    return _read(path, Document, "a report: `am2z conformance --report DIR` writes one")


def read_zoo(path: Path) -> Zoo:
    """The kill matrix in a file; raises ``ConfigurationError`` where there is none."""
    return _read(path, Zoo, "a kill matrix: `am2z zoo --json > zoo.json` writes one")


def _read(path: Path, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not {what} ({error})") from error
