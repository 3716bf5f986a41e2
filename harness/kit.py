"""What a rule works with: runtimes of the kind under test, and facts about them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from am2z import (
    Capability,
    Processor,
    ResourceLimits,
    Runtime,
    RuntimeConfig,
)
from harness.audit import Audit
from harness.catalogue import Rule
from harness.outcome import Outcome
from harness.rules import RuleCheck
from harness.scale import scaled
from harness.settings import Settings
from harness.subject import Environment, Role, RuntimeUnderTest
from harness.surroundings import Surroundings
from harness.trace import EventTrace
from harness.trial import Trial, tell_pytest

__all__ = ["Kit"]

T = TypeVar("T")


@dataclass
class Kit:
    """What a rule gets: runtimes of the kind under test, and facts about them.

    - ``runtime(*processors)``: a fresh runtime, entered, with the processors registered
    - ``supports(capability)``, ``name``, ``env``, ``rng`` (seeded for this rule)
    - ``timeout``: seconds to wait for one thing; ``limit``: seconds for a whole rule
    - ``virtual_time``: whether waits take no time here and times are exact; see ``Rule.clock``
    - ``share(number)``, ``some(cases)``: less of what a rule does many times, for whoever runs
      the suite many times: ``effort`` is the part that is left, 1 for every user
    """

    subject: RuntimeUnderTest
    namespace: str
    seed: int = 0
    find_redis: Callable[[], str] = lambda: "fake://"
    replay: Callable[[str], str] = lambda rule_id: f"am2z conformance -k {rule_id}"
    outcome: Outcome | None = None
    rng: random.Random = field(default_factory=random.Random)
    effort: float = 1.0
    virtual_time: bool = False
    trace: EventTrace = field(default_factory=EventTrace)
    _parts: int = 0
    _audit: Audit | None = None

    def __post_init__(self) -> None:
        self.place = Surroundings(self.subject, self.namespace, self.find_redis)

    @property
    def name(self) -> str:
        """The name of the runtime under test, for messages only: no rule depends on it."""
        return self.subject.name

    @property
    def timeout(self) -> float:
        """How long to wait for one thing that must happen, in seconds."""
        return scaled(5.0)

    @property
    def limit(self) -> float:
        """How long a whole rule may take, in seconds."""
        return scaled(30.0)

    @property
    def grace(self) -> float:
        """How long what a closed runtime leaves behind may take to go, in seconds."""
        return scaled(1.0)

    @property
    def env(self) -> Environment:
        """The surroundings of this rule's runtimes."""
        return self.place.environment(Settings(None, None), "both")

    def share(self, number: int) -> int:
        """So many of ``number`` as ``effort`` leaves, and at least one."""
        return max(1, round(number * self.effort))

    def some(self, cases: Sequence[T]) -> list[T]:
        """So many of ``cases`` as ``effort`` leaves, drawn for this rule, in their order."""
        drawn = self.rng.sample(range(len(cases)), self.share(len(cases)))
        return [cases[number] for number in sorted(drawn)]

    def supports(self, capability: Capability) -> bool:
        """Whether the runtime under test declares to be able to do that."""
        return capability in self.subject.abilities

    @asynccontextmanager
    async def runtime(
        self,
        *processors: Processor[Any],
        config: RuntimeConfig | None = None,
        limits: ResourceLimits | None = None,
        role: Role = "both",
    ) -> AsyncIterator[Runtime]:
        """A runtime of the kind under test, started, with ``processors`` registered.

        Several in one rule share the namespace: with ``Capability.MULTI_WORKER`` they see each
        other's work. Its events are recorded for the case of a failure.
        """
        settings = Settings(config, limits)
        async with self.subject.make(self.place.environment(settings, role)) as runtime:
            settings.check_taken()
            self._check_capabilities(runtime)
            self.trace.watch(runtime)
            audit, ledger = self._audit, None
            shown = runtime
            if audit is not None:
                shown, ledger = audit.watch(runtime, settings.config, settings.limits)
            if processors:
                shown.register(*processors)
                await runtime.sync_processors()
            yield shown
            if audit is not None and ledger is not None:
                await audit.settle(ledger)

    def prepare(self, rule: Rule) -> None:
        """Make ready for one rule: its random numbers, its clock, the audit of its runtimes."""
        self.rng.seed(f"{self.seed}:{rule.id}")
        self.virtual_time = rule.clock == "virtual" and self.supports(Capability.VIRTUAL_TIME)
        self._audit = self._new_audit()

    def check(self, check: RuleCheck) -> Outcome:
        """Run a rule and say how it ended. Raises nothing but ``KeyboardInterrupt``."""
        return Trial(self, check).outcome()

    def run(self, check: RuleCheck) -> None:
        """Run a rule and turn its outcome into pytest's."""
        __tracebackhide__ = True
        self.outcome = self.check(check)
        tell_pytest(self.outcome)

    @property
    def findings(self) -> list[str]:
        """What was found behind the rule, a line each; see ``harness.audit``."""
        return list(self._audit.findings) if self._audit is not None else []

    def apart(self) -> Kit:
        """A kit for one of many programs: its runtimes see nothing of those of any other one."""
        self._parts += 1
        namespace = f"{self.namespace}-{self._parts}"
        part = replace(
            self,
            namespace=namespace,
            trace=EventTrace(),
            _audit=self._new_audit() if self._audit is not None else None,
        )
        part.place = self.place.apart(namespace)
        return part

    def tell_of(self, part: Kit) -> None:
        """The events of ``part`` are those that belong to the story of a failure."""
        self.trace = part.trace

    def leave_work(self) -> None:
        """This rule leaves accepted work behind on purpose: a durable runtime keeps it."""
        self.place.work_stays = True

    def close(self) -> None:
        """Remove what the kit itself made for its runtimes."""
        self.place.close()

    def _new_audit(self) -> Audit:
        """Whoever declares to break a law is not told so by every rule."""
        lacks_virtual_time = Capability.VIRTUAL_TIME not in self.subject.abilities
        return Audit(self.timeout / 2, self.subject.known_failures, has_server=lacks_virtual_time)

    def _check_capabilities(self, runtime: Runtime) -> None:
        """What is declared about a runtime must be what it says itself."""
        says = frozenset(runtime.capabilities)
        if wrong := sorted(says & self.subject.lacks.keys()):
            raise AssertionError(f"declared to lack {wrong}, but runtime.capabilities has it")
        if wrong := sorted(self.subject.abilities - says):
            raise AssertionError(
                f"declared to support {wrong}, but runtime.capabilities has it not"
            )
