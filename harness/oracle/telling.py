"""Tells what a comparison of runtimes found: while it goes on, as text, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from harness.oracle.check import replay_line
from harness.oracle.compare import Difference, plain, show, text
from harness.oracle.model import Planned, Seen
from harness.oracle.plan import Plan
from harness.oracle.program import Program
from harness.oracle.sides import Sides
from harness.redis import hide_password

__all__ = ["Finding", "Telling"]


@dataclass
class Finding:
    """One program, and what was seen of it."""

    planned: list[Planned]
    seen: list[list[Seen]]
    differences: list[Difference]


@dataclass
class Telling:
    """Tells of one comparison. ``operations`` counts what was done on each side."""

    plan: Plan
    sides: Sides
    seed: int
    operations: int = 0

    def begin(self) -> None:
        """Say what will be compared."""
        if self.plan.as_json:
            return
        print(f"{' and '.join(self.sides.all)}; seed {self.seed}", flush=True)
        for verbs, why in self.sides.left_out.items():
            print(f"without {verbs}: {why}", flush=True)

    @contextmanager
    def progress(self) -> Iterator[Any]:
        """A bar while it goes on."""
        console = Console(stderr=True)
        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        with bars:
            task = bars.add_task("programs", total=self.plan.examples)

            def on_example(number: int, is_shrinking: bool) -> None:
                if is_shrinking:
                    bars.update(task, description="a difference; looking for a smaller program")
                else:
                    bars.update(task, completed=number)

            yield on_example

    def report(
        self,
        first: Program | None,
        program: Program | None,
        finding: Finding | None,
        tried: int,
        seconds: float,
    ) -> int:
        """Print what was found, and answer the exit status."""
        if self.plan.as_json:
            print(json.dumps(self._as_json(program, finding, tried, seconds), indent=2))
        elif program is None or finding is None:
            print(
                f"no difference between {' and '.join(self.sides.all)}: "
                f"{_count(tried, 'program')}, {_count(self.operations, 'operation')}, "
                f"{seconds:.1f} s"
            )
        else:
            print("\n".join(self._lines(first or program, program, finding, tried)))
        return int(finding is not None)

    def _lines(self, first: Program, program: Program, finding: Finding, tried: int) -> list[str]:
        asked = self.plan.program is not None
        drawn = "" if asked else f", shrunk from {len(first)}, found with number {tried}"
        lines = [f"The program ({_count(len(program), 'operation')}{drawn}):"]
        lines += [f"    {line}" for line in program.lines()]
        for name, seen in zip(self.sides.names, finding.seen, strict=True):
            lines += ["", f"What {name} showed:"]
            for number, (entry, one) in enumerate(zip(finding.planned, seen, strict=True), 1):
                shown = {key: value for key, value in one.items() if value not in ({}, [])}
                lines += [f"    {number:>2}  {entry.title}", f"          {text(shown)}"]
        lines += ["", "What is different:"]
        lines += [f"    {line}" for line in show(finding.differences, self.sides.names)]
        lines += ["", "Again:", f"    {self._again(program)}"]
        if not asked:
            lines.append(f"    {self._again(None)}")
        return lines

    def _again(self, program: Program | None) -> str:
        words = replay_line(self.plan.runtimes, program or Program())
        if program is None:
            words = words.partition(" --program")[0]
            words += f" --seed {self.seed} --examples {self.plan.examples}"
        return words + (f" --redis {hide_password(self.plan.redis)}" if self.plan.redis else "")

    def _as_json(
        self, program: Program | None, finding: Finding | None, tried: int, seconds: float
    ) -> dict[str, Any]:
        told: dict[str, Any] = {
            "runtimes": self.sides.all,
            "seed": self.seed,
            "examples": self.plan.examples,
            "programs": tried,
            "operations": self.operations,
            "seconds": round(seconds, 3),
            "left_out": self.sides.left_out,
            "difference": None,
        }
        if program is not None and finding is not None:
            told["difference"] = {
                "program": str(program),
                "replay": self._again(program),
                "observations": [
                    {
                        "operation": entry.title,
                        "model": plain(entry.expected),
                        **{
                            name: plain(seen[index])
                            for name, seen in zip(self.sides.names, finding.seen, strict=True)
                        },
                    }
                    for index, entry in enumerate(finding.planned)
                ],
                "differences": [
                    {
                        "operation": one.number,
                        "title": one.title,
                        "path": one.path,
                        "model": plain(one.expected),
                        **dict(zip(self.sides.names, map(plain, one.values), strict=True)),
                    }
                    for one in finding.differences
                ],
            }
        return told


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
