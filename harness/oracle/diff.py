"""``am2z diff``: programs on two runtimes, or on one and the model, and what differs."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from am2z import Capability, ConfigurationError, NetworkError
from harness.builtin import QUEUE_FAKE, QUEUE_SERVER
from harness.kit import Kit
from harness.lesson import leaves, one_line
from harness.oracle.check import replay_line
from harness.oracle.compare import Difference, compare, plain, show, text, unlike_the_model
from harness.oracle.crash import Crashes
from harness.oracle.draw import CRASHES, OUTLIVING, THEMES
from harness.oracle.model import Planned, Seen, script, sensible
from harness.oracle.play import play
from harness.oracle.program import Program, parse
from harness.oracle.search import Search
from harness.redis import hide_password, remove_namespace
from harness.scale import scaled, set_scale
from harness.seed import seed_of
from harness.selection import resolve
from harness.servers import Servers, choose
from harness.subject import RuntimeUnderTest

__all__ = ["Plan", "run"]

SAME, DIFFERENT = 0, 1

NEEDS = {
    "reopen": (Capability.DURABLE,),
    "crash": (Capability.DURABLE, Capability.MULTI_WORKER),
}
"""Operations that not every runtime can do."""


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


@dataclass
class _Finding:
    """One program, and what was seen of it."""

    planned: list[Planned]
    seen: list[list[Seen]]
    differences: list[Difference]


def run(plan: Plan) -> int:
    """Look for a difference, print what was found, and answer the exit status.

    Raises ``ConfigurationError`` for what makes no sense.
    """
    if not 1 <= len(plan.runtimes) <= 2:
        raise ConfigurationError("name two runtimes, or one to compare with the model")
    if plan.examples < 1:
        raise ConfigurationError(f"--examples is {plan.examples}; give at least 1")
    before = None
    if plan.timeout_scale is not None:
        if not 0 < plan.timeout_scale < 1e6:
            raise ConfigurationError(
                f"--timeout-scale is {plan.timeout_scale}; give a number above 0"
            )
        before = set_scale(plan.timeout_scale)
    servers = Servers(choose(plan.redis or os.environ.get("AM2Z_REDIS") or "auto"))
    try:
        return _Diff(plan, servers).run()
    finally:
        servers.close()
        if before is not None:
            set_scale(before)


@dataclass
class _Diff:
    plan: Plan
    servers: Servers
    operations: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self) -> int:
        self.specs = [self._spec(word) for word in self.plan.runtimes]
        self.subjects = [self._subject(spec) for spec in self.specs]
        names = [subject.name for subject in self.subjects]
        self.names = names if len(set(names)) == len(names) else [f"{names[0]} (1)", "(2)"]
        self._leave_out()
        self.seed = seed_of(self.plan.seed)
        began = time.monotonic()
        if self.plan.program is not None:
            program = parse(self.plan.program)
            self._refuse_what_cannot_be_done(program)
            self._say_what_is_left_out(program)
            finding = self._judge(program)
            return self._report(program, program, finding, 1, time.monotonic() - began)
        if not self.plan.as_json:
            print(f"{' and '.join(self._sides())}; seed {self.seed}", flush=True)
            for verbs, why in self.left_out.items():
                print(f"without {verbs}: {why}", flush=True)
        with self._progress() as on_example:
            search = Search(
                self._judge,
                themes=self._themes(),
                seed=self.seed,
                examples=self.plan.examples,
                patience=scaled(120.0),
                on_example=on_example,
            )
            found = search.run()
        seconds = time.monotonic() - began
        if found is None:
            return self._report(None, None, None, search.tried, seconds)
        return self._report(search.first, *found, search.tried, seconds)

    def _sides(self) -> list[str]:
        return self.names if len(self.names) == 2 else [*self.names, "the model"]

    def _spec(self, word: str) -> str:
        """``queue`` is the one on a real server, where there is one."""
        if word != "queue":
            return word
        return (QUEUE_SERVER if self.servers.choice.start is not None else QUEUE_FAKE).name

    def _subject(self, spec: str) -> RuntimeUnderTest:
        subject = resolve(spec)
        if subject.redis == "server" and self.servers.choice.start is None:
            raise ConfigurationError(
                f"{subject.name} needs a Redis server: {self.servers.choice.description}"
            )
        return subject

    # --- what is drawn

    def _themes(self) -> list[tuple[str, ...]]:
        themes = list(THEMES)
        for verb, theme in (("reopen", OUTLIVING), ("crash", CRASHES)):
            if verb not in self._impossible:
                themes.append(theme)
        return themes

    def _leave_out(self) -> None:
        self._impossible: dict[str, str] = {}
        for verb, needs in NEEDS.items():
            for subject in self.subjects:
                missing = [str(one) for one in needs if one not in subject.abilities]
                if missing:
                    why = f"{subject.name} does not support {', '.join(missing)}"
                    self._impossible.setdefault(verb, why)
        by_reason: dict[str, list[str]] = {}
        for verb, why in self._impossible.items():
            by_reason.setdefault(why, []).append(verb)
        self.left_out = {" and ".join(verbs): why for why, verbs in by_reason.items()}

    def _refuse_what_cannot_be_done(self, program: Program) -> None:
        for verb in program.verbs & self._impossible.keys():
            raise ConfigurationError(f"{verb} is in the program, but {self._impossible[verb]}")

    def _say_what_is_left_out(self, program: Program) -> None:
        done = sensible(program).ops
        rest = iter(done)
        wanted = next(rest, None)
        senseless: list[str] = []
        for op in program:
            if op is wanted:
                wanted = next(rest, None)
            else:
                senseless.append(str(op))
        if senseless:
            print(
                f"am2z: makes no sense there, and is left out: {'; '.join(senseless)}",
                file=sys.stderr,
            )

    # --- what is seen

    def _judge(self, program: Program) -> _Finding | None:
        planned = script(program)
        runs = [
            self._observe(subject, spec, planned)
            for subject, spec in zip(self.subjects, self.specs, strict=True)
        ]
        self.operations += len(planned) - 1
        if len(runs) == 1:
            differences = unlike_the_model(planned, runs[0])
        else:
            differences = compare(planned, runs[0], runs[1])
        return _Finding(planned, runs, differences) if differences else None

    def _observe(
        self, subject: RuntimeUnderTest, spec: str, planned: Sequence[Planned]
    ) -> list[Seen]:
        namespace = f"am2z-diff-{uuid.uuid4().hex[:10]}"
        kit = Kit(subject, namespace, find_redis=self.servers.url)
        ops = [entry.op for entry in planned if entry.op is not None]
        crashes = any(op.verb == "crash" for op in ops)
        crash = Crashes(spec, kit.env) if crashes else None

        async def observe() -> list[Seen]:
            with trio.fail_after(scaled(60.0 + 10.0 * len(ops))):
                return await play(kit, ops, crash)

        try:
            return trio.run(observe)
        except Exception as error:
            first = next(leaves(error))
            if isinstance(first, NetworkError | ConfigurationError):
                raise first from None
            # Without a runtime nothing is seen; the other side shows what there was to see.
            seen: list[Seen] = [{} for _ in planned]
            seen[-1] = {"raised": one_line(first)}
            return seen
        finally:
            kit.close()
            if self.servers.is_running:
                remove_namespace(self.servers.url(), namespace)

    # --- what is told

    @contextmanager
    def _progress(self) -> Iterator[Any]:
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

    def _report(
        self,
        first: Program | None,
        program: Program | None,
        finding: _Finding | None,
        tried: int,
        seconds: float,
    ) -> int:
        if self.plan.as_json:
            print(json.dumps(self._as_json(program, finding, tried, seconds), indent=2))
        elif program is None or finding is None:
            print(
                f"no difference between {' and '.join(self._sides())}: {_count(tried, 'program')}, "
                f"{_count(self.operations, 'operation')}, {seconds:.1f} s"
            )
        else:
            print("\n".join(self._lines(first or program, program, finding, tried)))
        return SAME if finding is None else DIFFERENT

    def _lines(self, first: Program, program: Program, finding: _Finding, tried: int) -> list[str]:
        asked = self.plan.program is not None
        drawn = "" if asked else f", shrunk from {len(first)}, found with number {tried}"
        lines = [f"The program ({_count(len(program), 'operation')}{drawn}):"]
        lines += [f"    {line}" for line in program.lines()]
        for name, seen in zip(self.names, finding.seen, strict=True):
            lines += ["", f"What {name} showed:"]
            for number, (entry, one) in enumerate(zip(finding.planned, seen, strict=True), 1):
                shown = {key: value for key, value in one.items() if value not in ({}, [])}
                lines += [f"    {number:>2}  {entry.title}", f"          {text(shown)}"]
        lines += ["", "What is different:"]
        lines += [f"    {line}" for line in show(finding.differences, self.names)]
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
        self, program: Program | None, finding: _Finding | None, tried: int, seconds: float
    ) -> dict[str, Any]:
        told: dict[str, Any] = {
            "runtimes": self._sides(),
            "seed": self.seed,
            "examples": self.plan.examples,
            "programs": tried,
            "operations": self.operations,
            "seconds": round(seconds, 3),
            "left_out": self.left_out,
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
                            for name, seen in zip(self.names, finding.seen, strict=True)
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
                        **dict(zip(self.names, map(plain, one.values), strict=True)),
                    }
                    for one in finding.differences
                ],
            }
        return told


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
