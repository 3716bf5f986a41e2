"""The books of a conformant runtime: its sessions and what they keep, and how executions ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.oracle.model.outcome import Value
from harness.oracle.model.seen import Seen
from harness.oracle.program import PROCESSORS, SESSIONS

__all__ = ["Books", "Letter", "Session"]

IN_PLACE = ("first", "left", "right", "lane", "hasty")
"""The steps of compositions that were given as processors: they come along."""


@dataclass
class Session:
    """A named session; ``version`` counts its commits, ``told`` are its events."""

    is_active: bool = False
    is_stopped: bool = False
    kept: Value | None = None
    version: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Somebody asks for work in it."""
        if not self.is_active:
            self.is_active = True
            self.told.append("created")

    def write(self, value: Value) -> int:
        """Commit; answers the version."""
        self.kept = value
        self.version += 1
        return self.version

    def forget(self) -> None:
        """There is no state any more."""
        self.kept, self.version = None, 0


@dataclass
class Letter:
    """A dead letter; ``owner`` is the label under which it was submitted, if it was."""

    name: str
    session: str
    error: str
    given: Value
    owner: str

    def seen(self) -> list[object]:
        """As the player writes it down."""
        return [self.name, self.session, self.error, self.given[0], *self.given[1]]


class Books:
    """It is the ledger of all executions."""

    def __init__(self) -> None:
        self.sessions = {name: Session() for name in SESSIONS}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.stories: list[str] = []
        self.letters: list[Letter] = []
        self.hooks: list[str] = []
        self.is_mended = False
        self.served = {name for name in PROCESSORS if name != "nobody"}
        self.learned: Counter[str] = Counter()

    def serves(self, name: str) -> bool:
        """See ``Ledger.serves``."""
        return name in self.served

    def title(self, name: str) -> str:
        """See ``Ledger.title``. Who replaced another one has a mark more."""
        return name + "'" * self.learned[name]

    def processors(self) -> list[str]:
        """What is registered, sorted."""
        return sorted([*self.served, *IN_PLACE])

    def kept(self) -> Seen:
        """The committed states, each with its version."""
        return {
            name: None if s.kept is None else [s.kept[0], list(s.kept[1]), s.version]
            for name, s in self.sessions.items()
        }

    def seen_letters(self) -> list[list[object]]:
        """The dead letters, in no order."""
        return sorted((letter.seen() for letter in self.letters), key=str)

    def letter_of(self, owner: str) -> Letter | None:
        """The dead letter of what was submitted under that label last."""
        return next((letter for letter in self.letters if letter.owner == owner), None)

    def ended(self, name: str, session: str, story: str, *, success: bool) -> None:
        """See ``Ledger.ended``."""
        kind = "completed" if success else "failed"
        self.counts[name, kind] += 1
        self.stories.append(f"{name} in {session}: {story}")
        if session in self.sessions and self.sessions[session].is_active:
            self.sessions[session].counts[name, kind] += 1

    def commit(self, session: str, value: Value) -> None:
        """See ``Ledger.commit``."""
        if session in self.sessions:
            self.sessions[session].write(value)

    def bury(self, name: str, session: str, error: str, given: Value, owner: str) -> None:
        """See ``Ledger.bury``."""
        self.letters.append(Letter(name, session, error, given, owner))

    def hooked(self, what: str) -> None:
        """See ``Ledger.hooked``."""
        self.hooks.append(what)
