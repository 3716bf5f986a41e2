"""What the plugin knows during one pytest session: the server, the seed, the outcomes."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from harness.catalogue import load_catalogue
from harness.outcome import Outcome
from harness.redis import remove_namespace
from harness.report import Declaration, Report
from harness.servers import Choice, Servers, choose
from harness.subject import RuntimeUnderTest
from harness.verdict import judge

if TYPE_CHECKING:
    from harness.kit import Kit

__all__ = ["Replay", "Session"]


class Replay(Protocol):
    """Tells how to repeat a run."""

    def one(self, runtime: str, rule_id: str, nodeid: str) -> str:
        """The command that runs one rule again."""
        ...

    def all(self) -> str:
        """The command that runs everything again."""
        ...


@dataclass
class Session:
    """One for each pytest process that uses the kit; the controller of xdist has one too."""

    wanted_redis: str
    seed: int
    replay: Replay
    worker: str = field(default_factory=lambda: os.environ.get("PYTEST_XDIST_WORKER", "main"))
    outcomes: list[Outcome] = field(default_factory=list)
    declared: dict[str, Declaration] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _servers: Servers | None = None

    @property
    def choice(self) -> Choice:
        """The server that was chosen. Raises ``ConfigurationError`` where it is not available."""
        return self.servers.choice

    @property
    def servers(self) -> Servers:
        """The server of this session. Raises as ``choice``."""
        if self._servers is None:
            self._servers = Servers(choose(self.wanted_redis))
        return self._servers

    def close(self) -> None:
        """End the server, if one was started."""
        if self._servers is not None:
            self._servers.close()

    def new_namespace(self) -> str:
        """A namespace that nobody else has."""
        return f"am2z-test-{self.worker}-{uuid.uuid4().hex[:10]}"

    def remove_namespace(self, namespace: str) -> None:
        """Empty a namespace on the server, if a server was used."""
        if self._servers is not None and self._servers.is_running:
            remove_namespace(self._servers.url(), namespace)

    def declare(self, subject: RuntimeUnderTest) -> None:
        """Note that the rules are to run on this runtime.

        Raises ``ConfigurationError`` where it speaks of a rule that does not exist.
        """
        for rule_id in subject.known_failures:
            load_catalogue().find(rule_id)
        self.declared[subject.name] = Declaration(
            supports=tuple(sorted(subject.supports)),
            lacks={str(key): why for key, why in sorted(subject.lacks.items())},
            known_failures=dict(subject.known_failures),
        )

    def declarations_for_controller(self) -> bytes:
        """What ``declare`` noted, in a form that crosses from a worker of xdist."""
        return msgspec.json.encode(self.declared)

    def take_declarations(self, sent: bytes) -> None:
        """The other end of ``declarations_for_controller``."""
        self.declared |= msgspec.json.decode(sent, type=dict[str, Declaration])

    def kit(self, subject: RuntimeUnderTest, nodeid: str) -> Kit:
        """The kit for one test on one runtime."""
        from harness.kit import Kit  # noqa: PLC0415 - the controller of xdist runs no rule

        return Kit(
            subject,
            self.new_namespace(),
            seed=self.seed,
            find_redis=self.servers.url,
            replay=lambda rule_id: self.replay.one(subject.name, rule_id, nodeid),
        )

    def report(self) -> Report:
        """Everything that was found."""
        catalogue = load_catalogue()
        return Report(
            catalogue=catalogue,
            seed=self.seed,
            redis=f"Redis: {self.choice.description}",
            replay=self.replay.all(),
            seconds=time.monotonic() - self.started,
            runtimes=judge(catalogue, self.declared, self.outcomes),
            declarations=self.declared,
        )
