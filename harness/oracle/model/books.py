"""The books of a conformant runtime: its sessions and what they keep, and how executions ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.oracle.model.lives import Value
from harness.oracle.model.seen import Seen
from harness.oracle.program import SESSIONS

__all__ = ["Books", "Session"]


@dataclass
class Session:
    is_active: bool = False
    is_stopped: bool = False
    kept: Value | None = None
    version: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def write(self, value: Value) -> int:
        self.kept = value
        self.version += 1
        return self.version

    def forget(self) -> None:
        self.kept, self.version = None, 0


class Books:
    """It is the ledger of all executions."""

    def __init__(self) -> None:
        self.sessions = {name: Session() for name in SESSIONS}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.stories: list[str] = []
        self.dead: list[list[str]] = []

    def kept(self) -> Seen:
        """The committed states, each with its version."""
        return {
            name: None if s.kept is None else [s.kept[0], list(s.kept[1]), s.version]
            for name, s in self.sessions.items()
        }

    def ended(self, name: str, session: str, story: str, *, success: bool) -> None:
        kind = "completed" if success else "failed"
        self.counts[name, kind] += 1
        self.stories.append(f"{name} {story}")
        if session in self.sessions and self.sessions[session].is_active:
            self.sessions[session].counts[name, kind] += 1

    def commit(self, session: str, value: Value) -> None:
        if session in self.sessions:
            self.sessions[session].write(value)

    def bury(self, name: str, session: str, error: str) -> None:
        self.dead.append([name, session, error])
