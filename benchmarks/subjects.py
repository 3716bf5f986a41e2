"""What is measured: our runtime, and what people would pick instead."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["NODE", "OURS", "PEERS", "SUBJECTS", "Subject", "chosen"]

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".bench"
"""Where the peers are installed; see ``install``."""


@dataclass(frozen=True)
class Subject:
    """One library, and the program that drives it."""

    name: str
    label: str
    module: str = ""
    script: str = ""
    pace: float = 1.0
    """How many jobs it gets, as a share: slow ones would make a run long."""
    can_nest: bool = True

    @property
    def is_ours(self) -> bool:
        """Whether it is this project, run by the interpreter of this process."""
        return self.name == OURS

    @property
    def environment(self) -> Path:
        """The folder of its own environment."""
        return ENVIRONMENTS / self.name

    def words(self, role: str, url: str, options: dict[str, Any] | None = None) -> list[str]:
        """The command line of its program."""
        if self.script:
            start = ["node", str(self.environment / self.script)]
        elif self.is_ours:
            start = [sys.executable, "-m", self.module]
        else:
            start = [str(self.environment / "bin" / "python"), "-m", self.module]
        return [*start, role, url, json.dumps(options or {})]


OURS, NODE = "am2z", "bullmq-node"
SUBJECTS = (
    Subject(OURS, "**AM2Z**", "benchmarks.peers.am2z_queue"),
    Subject("bullmq", "BullMQ (Python)", "benchmarks.peers.bullmq"),
    Subject("saq", "SAQ", "benchmarks.peers.saq"),
    Subject("taskiq", "taskiq", "benchmarks.peers.taskiq"),
    Subject("arq", "arq", "benchmarks.peers.arq"),
    Subject("streaq", "streaq", "benchmarks.peers.streaq", pace=0.5),
    Subject("dramatiq", "dramatiq", "benchmarks.peers.dramatiq", can_nest=False),
    Subject("celery", "Celery", "benchmarks.peers.celery", pace=0.5, can_nest=False),
    Subject("rq", "RQ", "benchmarks.peers.rq", pace=0.15, can_nest=False),
    Subject(NODE, "BullMQ on Node", script="bullmq_node.mjs"),
)
PEERS = SUBJECTS[1:]


def chosen(names: Iterable[str]) -> list[Subject]:
    """The subjects of these names, all for none. Raises ``ValueError`` for another name."""
    known = {subject.name: subject for subject in SUBJECTS}
    wanted = list(names) or list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: known are {', '.join(known)}")
    return [known[name] for name in wanted]
