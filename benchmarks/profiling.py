"""Where each microsecond goes, of one drained job and of one local execution."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.driver import ROOT, started
from benchmarks.server import redis_server
from benchmarks.subjects import OURS, chosen

__all__ = ["Profile", "drain", "local", "profile_page"]

OURS_HERE = f"{ROOT}/am2z/"

LAYERS = (
    ("the no-op itself and the counting", rf"^{ROOT}/benchmarks/"),
    ("values: encode, decode, copy, check", rf"^{OURS_HERE}(codec|state|result|ids|typenames)\.py"),
    ("engine: Redis client (connection, pipelining, packing)", rf"^{OURS_HERE}queue/client/"),
    ("engine: claim, run, report, leases", rf"^{OURS_HERE}queue/"),
    ("engine: local", rf"^{OURS_HERE}local/"),
    ("the shared execution logic", rf"^{OURS_HERE}"),
    ("redis-py, hiredis, msgspec", r"/site-packages/(redis|hiredis|msgspec)/"),
    ("trio: tasks, scheduling, cancel scopes",
     r"/site-packages/(trio/_core|outcome)/|generated methods (trio\._core|outcome)"),
    ("trio: sockets and the rest", r"/site-packages/trio/|generated methods trio"),
    ("the standard library and the rest", r""),
)  # fmt: skip
"""What a sample counts for, by the file of its innermost frame: the first that matches."""


@dataclass
class Profile:
    """The samples of one run."""

    cpu: float
    jobs: int
    stacks: Counter[tuple[str, ...]] = field(default_factory=Counter)
    facts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Profile:
        """What a ``Sampler`` wrote."""
        found = json.loads(path.read_text())
        stacks = Counter({tuple(stack): count for count, *stack in found["stacks"]})
        return cls(found["cpu"], found["jobs"], stacks)

    @property
    def per_job(self) -> float:
        """Microseconds of the processor for each job."""
        return self.cpu / self.jobs * 1e6

    def layers(self) -> Counter[str]:
        """Samples by layer, of the innermost frame."""
        found: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            found[_layer(stack[-1])] += count
        return found

    def own(self) -> Counter[str]:
        """Samples by the function that ran (or that had called C code)."""
        found: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            found[_function(stack[-1])] += count
        return found

    def under(self) -> Counter[str]:
        """Samples by each of our functions that was somewhere on the stack."""
        found: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            for name in {_function(frame) for frame in stack if frame.startswith(OURS_HERE)}:
                found[name] += count
        return found


def _layer(frame: str) -> str:
    return next(name for name, pattern in LAYERS if re.search(pattern, frame))


def _function(frame: str) -> str:
    path, name, _line = frame.rsplit(":", 2)
    path = re.sub(r".*/(site-packages|lib/python3\.\d+)/", "", path)
    path = path.removeprefix(f"{ROOT}/").removeprefix("<").removesuffix(">")
    return f"`{path}` {name}"


def drain(jobs: int) -> Profile:
    """One worker that drains ``jobs`` no-op jobs, their caller gone."""
    [ours] = chosen([OURS])
    with redis_server() as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples"
        first = jobs // 10
        with started(ours.words("client", server.url)) as client:
            client.ask("enqueue_bulk", n=jobs, size=100)
        options = {"marks": [first, jobs], "profile": str(path)}
        with started(ours.words("worker", server.url, options)) as worker:
            worker.mark()
            redis, commands = server.cpu(), server.commands()
            worker.mark()
            used, done = server.cpu() - redis, server.commands() - commands
        profile = Profile.read(path)
        profile.facts = {
            "Redis CPU, µs a job": used / profile.jobs * 1e6,
            "commands in Redis a job, those of scripts included": done / profile.jobs,
        }
        return profile


def local(executions: int) -> Profile:
    """``LocalRuntime.execute`` of a no-op, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples"
        words = [sys.executable, "-m", "benchmarks.local", "sample", str(executions), str(path)]
        subprocess.run(words, cwd=ROOT, check=True)
        return Profile.read(path)


def profile_page(title: str, profile: Profile, note: str = "") -> str:
    """A page of the documentation."""
    total = sum(profile.stacks.values())
    share = profile.per_job / total

    def rows(found: Counter[str], most: int) -> list[str]:
        return [
            f"| {name} | {count * share:.1f} | {count / total:.0%} |"
            for name, count in found.most_common(most)
        ]

    head = ["| {} | µs | share |", "|---|---|---|"]
    lines = [f"# {title}", ""]
    lines += [f"{note}\n"] if note else []
    lines += [
        f"{profile.jobs:,} jobs, **{profile.per_job:.0f} µs** each, {total:,} samples.",
        "",
    ]
    lines += [f"- {name}: {value:.1f}" for name, value in profile.facts.items()]
    for heading, column, found, most in (
        ("By layer", "the innermost frame is in", profile.layers(), 20),
        ("By function, its own time", "function (C code counts for its caller)", profile.own(), 25),
        ("By function of ours, with all that it calls", "function", profile.under(), 30),
    ):
        lines += ["", f"## {heading}", "", head[0].format(column), head[1], *rows(found, most)]
    return "\n".join(lines) + "\n"
