"""The kill matrix: which rule found which mutant, and what that says of the suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from harness.catalogue import Rule
from harness.outcome import Status
from harness.zoo.mutant import Base, Mutant
from harness.zoo.worker import HUNG, Finding

__all__ = ["Control", "Fate", "Matrix"]

_GREEN = (Status.PASS, Status.SKIP)


@dataclass(frozen=True)
class Control:
    """What the suite said of the correct runtime: anything it finds there is its own fault."""

    base: Base
    findings: tuple[Finding, ...]

    @property
    def complaints(self) -> list[str]:
        """A line for each rule that did not hold."""
        found = [f"{f.rule} {f.status}: {f.reason}" for f in self.findings
                 if not f.ends and f.status not in _GREEN]  # fmt: skip
        return found + [f"could not be run: {f.broken}" for f in self.findings if f.broken]


@dataclass(frozen=True)
class Fate:
    """What became of one mutant."""

    mutant: Mutant
    findings: tuple[Finding, ...] = ()

    @property
    def by(self) -> list[str]:
        """The rules that found it, in the order of the catalogue's groups they ran in."""
        return sorted(f.rule for f in self.findings if f.status in (Status.FAIL, HUNG))

    @property
    def broken(self) -> str:
        """Why the mutant could not be made; empty where it could."""
        return next((f.broken for f in self.findings if f.broken), "")

    @property
    def trouble(self) -> str:
        """What is wrong, empty where the rule that names the mutant found it and said so."""
        if self.broken:
            return f"BROKEN: {self.broken}"
        if not self.by:
            return "SURVIVED"
        expected = next((f for f in self.findings if f.rule == self.mutant.rule), None)
        if expected is None or expected.rule not in self.by:
            said = "was not asked" if expected is None else f"said {expected.status}"
            return f"NOT KILLED BY {self.mutant.rule}, which {said}"
        if not expected.is_lesson:
            return f"KILLED WITHOUT A LESSON: {self.mutant.rule} {expected.reason}"
        return ""

    @property
    def notes(self) -> list[str]:
        """What else there is to know."""
        found = [f"{f.rule} hung" for f in self.findings if f.status == HUNG]
        found += [f"{f.rule}: {f.reason}" for f in self.findings if f.status == Status.UNDECIDED]
        left_out = sum(f.left_out for f in self.findings)
        return found + ([f"{left_out} rules left out after waits in vain"] if left_out else [])


@dataclass(frozen=True)
class Matrix:
    """Every mutant that was run, the controls beside them, and the rules that none of them needs.

    ``rules`` are those that were to prove themselves: the whole catalogue, or what the mutants that
    were run name where those are only some of the zoo.
    """

    fates: tuple[Fate, ...]
    controls: tuple[Control, ...]
    rules: Mapping[str, Rule]
    seed: int = 0
    seconds: float = 0.0
    missing: tuple[str, ...] = field(default=())
    """Where the catalogue and the zoo disagree, a line each."""

    @property
    def rules_without_mutant(self) -> list[str]:
        """Each MUST that found no mutant: nobody knows whether it can fail at all."""
        useful = {rule for fate in self.fates for rule in fate.by}
        return [r.id for r in self.rules.values() if r.level == "MUST" and r.id not in useful]

    @property
    def empty_words(self) -> list[str]:
        """A line for each rule that names a mutant and does not find it."""
        return [
            f"{rule.id} names {fate.mutant.name}, and does not find it"
            for rule in self.rules.values()
            for fate in self.fates
            if fate.mutant.name in rule.mutants and rule.id not in fate.by
            if rule.id != fate.mutant.rule
        ]

    @property
    def is_clean(self) -> bool:
        """Whether the suite found every mutant, as it should, and nothing where nothing is."""
        troubles = (*(f.trouble for f in self.fates), *(c.complaints for c in self.controls))
        gaps = (*self.rules_without_mutant, *self.empty_words, *self.missing)
        return not any(troubles) and not gaps

    def to_dict(self) -> dict[str, Any]:
        """The matrix as plain data; the keys are a public format."""
        return {
            "mutants": [
                {
                    "name": fate.mutant.name,
                    "killed": bool(fate.by),
                    "expected": fate.mutant.rule,
                    "by": fate.by,
                }
                for fate in self.fates
            ],
            "rules_without_mutant": self.rules_without_mutant,
            "controls": {control.base: control.complaints for control in self.controls},
            "troubles": {f.mutant.name: f.trouble for f in self.fates if f.trouble},
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
        }

    def print(self, console: Console) -> None:
        """The matrix as text: a line for each mutant, and then what is to be done."""
        width = max((len(fate.mutant.name) for fate in self.fates), default=0)

        def say(text: str, style: str | None = None) -> None:
            console.print(text, style=style, markup=False, soft_wrap=True)

        for fate in self.fates:
            others = [rule for rule in fate.by if rule != fate.mutant.rule]
            told = fate.trouble or "killed"
            also = f"  also by {_some(others)}" if others else ""
            say(
                f"{fate.mutant.name:{width}}  {fate.mutant.rule}  {told}{also}",
                "red" if fate.trouble else None,
            )
            for note in fate.notes:
                say(f"{'':{width}}  {note}", "dim")
        for control in self.controls:
            complaints = control.complaints
            say(f"control {control.base}: {'clean' if not complaints else 'NOT CLEAN'}")
            for line in complaints:
                say(f"  {line}", "red")
        for line in (*self.missing, *self.empty_words):
            say(line, "red")
        if idle := self.rules_without_mutant:
            say(f"{len(idle)} MUST rules find no mutant: {', '.join(idle)}", "red")
        killed = sum(not fate.trouble for fate in self.fates)
        say(
            f"{killed} of {len(self.fates)} mutants killed by the rule that names them, "
            f"{self.seconds:.1f} s, seed {self.seed}",
            "bold green" if self.is_clean else "bold red",
        )


def _some(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
