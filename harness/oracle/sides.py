"""The runtimes of a comparison, and what may be asked of them."""

from __future__ import annotations

from collections.abc import Sequence

from am2z import Capability, ConfigurationError
from harness.builtin import QUEUE_FAKE, QUEUE_SERVER
from harness.oracle.draw import CRASHES, OUTLIVING, THEMES
from harness.oracle.program import Program
from harness.selection import resolve
from harness.servers import Servers
from harness.subject import RuntimeUnderTest

__all__ = ["NEEDS", "Sides"]

NEEDS = {
    "reopen": (Capability.DURABLE,),
    "crash": (Capability.DURABLE, Capability.MULTI_WORKER),
}
"""Operations that not every runtime can do."""


class Sides:
    """Two runtimes, or one and the model. ``left_out`` says which operations, and why."""

    def __init__(self, words: Sequence[str], servers: Servers) -> None:
        self._servers = servers
        self.specs = [self._spec(word) for word in words]
        self.subjects = [self._subject(spec) for spec in self.specs]
        names = [subject.name for subject in self.subjects]
        self.names = names if len(set(names)) == len(names) else [f"{names[0]} (1)", "(2)"]
        self._leave_out()

    @property
    def all(self) -> list[str]:
        """Their names, and that of the model where it is one of the sides."""
        return self.names if len(self.names) == 2 else [*self.names, "the model"]

    def themes(self) -> list[tuple[str, ...]]:
        """What a program may be about on these runtimes."""
        themes = list(THEMES)
        for verb, theme in (("reopen", OUTLIVING), ("crash", CRASHES)):
            if verb not in self._impossible:
                themes.append(theme)
        return themes

    def refuse_what_cannot_be_done(self, program: Program) -> None:
        """Raise ``ConfigurationError`` for a program that has an operation too much."""
        for verb in program.verbs & self._impossible.keys():
            raise ConfigurationError(f"{verb} is in the program, but {self._impossible[verb]}")

    def _spec(self, word: str) -> str:
        """``queue`` is the one on a real server, where there is one."""
        if word != "queue":
            return word
        return (QUEUE_SERVER if self._servers.choice.start is not None else QUEUE_FAKE).name

    def _subject(self, spec: str) -> RuntimeUnderTest:
        subject = resolve(spec)
        if subject.redis == "server" and self._servers.choice.start is None:
            raise ConfigurationError(
                f"{subject.name} needs a Redis server: {self._servers.choice.description}"
            )
        return subject

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
