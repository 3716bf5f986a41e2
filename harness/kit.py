"""What a rule works with, and how one rule is run: one ``trio.run``, limits, leak checks."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from am2z import (
    Capability,
    Processor,
    ResourceLimits,
    Runtime,
    RuntimeConfig,
    UnsupportedCapability,
)
from harness.audit import Audit
from harness.leaks import ProcessSnapshot, running_tasks, where_tasks_are
from harness.lesson import describe, is_crash, leaves, one_line, tell
from harness.outcome import Outcome, Status, Story, Undecided
from harness.rules import Body, RuleCheck
from harness.scale import scaled
from harness.settings import Settings
from harness.story import evidence, finished, printable
from harness.subject import Environment, Role, RuntimeUnderTest
from harness.surroundings import Surroundings
from harness.trace import EventTrace

__all__ = ["Kit"]

T = TypeVar("T")


@dataclass
class Kit:
    """What a rule gets: runtimes of the kind under test, and facts about them.

    - ``runtime(*processors)``: a fresh runtime, entered, with the processors registered
    - ``supports(capability)``, ``name``, ``env``, ``rng`` (seeded for this rule)
    - ``timeout``: seconds to wait for one thing; ``limit``: seconds for a whole rule
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
    _trace: EventTrace = field(default_factory=EventTrace)
    _stuck: list[str] = field(default_factory=list)
    _clock: MockClock | None = None
    _story: Story = field(default_factory=Story)
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

    @property
    def virtual_time(self) -> bool:
        """Whether waits take no time here and times are exact; see ``Rule.clock``."""
        return self._clock is not None

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
            self._trace.watch(runtime)
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

    def run(self, check: RuleCheck) -> None:
        """Run a rule and turn its outcome into pytest's."""
        __tracebackhide__ = True
        outcome = self.outcome = self.check(check)
        match outcome.status:
            case Status.SKIP | Status.NOT_RUN:
                pytest.skip(outcome.reason)
            case Status.KNOWN:
                pytest.xfail(outcome.reason)
            case Status.FAIL | Status.FIXED | Status.UNDECIDED:
                pytest.fail(outcome.lesson, pytrace=False)

    def check(self, check: RuleCheck) -> Outcome:
        """Run a rule and say how it ended. Raises nothing but ``KeyboardInterrupt``."""
        started = time.perf_counter()
        rule_id = check.rule.id
        self.rng.seed(f"{self.seed}:{rule_id}")
        virtual = check.rule.clock == "virtual" and self.supports(Capability.VIRTUAL_TIME)
        self._clock = MockClock(autojump_threshold=0) if virtual else None
        status, reason, seen = self._decide(check)
        lesson = self._lesson(check, reason, seen) if seen else ""
        if status is not Status.FAIL and not check.is_published:
            status = Status.OVERRIDDEN
            reason = "what ran is not the kit's check of this rule"
        return Outcome(
            rule=rule_id,
            runtime=self.name,
            status=status,
            reason=printable(reason),
            lesson=lesson,
            seconds=time.perf_counter() - started,
            story=self._story if lesson else None,
        )

    def _lesson(self, check: RuleCheck, reason: str, seen: list[str]) -> str:
        """The story of what was seen, as a whole; its parts are kept for the reports."""
        story = self._story = finished(
            self._story, seen=seen, trace=self._trace, replay=self.replay(check.rule.id)
        )
        return tell(
            check.rule,
            self.name,
            reason=printable(reason),
            seen=story.seen,
            program=story.program,
            events=self._trace.lines(),
            replay=story.replay,
            seed=self.seed,
        )

    def _decide(self, check: RuleCheck) -> tuple[Status, str, list[str]]:
        """Status, reason in a line, and what was seen where that needs telling."""
        rule, subject = check.rule, self.subject
        if open_ones := sorted(rule.capabilities - subject.abilities - subject.lacks.keys()):
            names = ", ".join(open_ones)
            return (
                Status.NOT_RUN,
                f"the runtime declares neither to support nor to lack {names}",
                [],
            )
        if lacked := sorted(rule.capabilities & subject.lacks.keys()):
            return self._probe(check, lacked[0])
        status, reason, seen = self._execute(check.body)
        known = subject.known_failures.get(rule.id)
        if known is None or status is Status.UNDECIDED:
            return status, reason, seen
        if rule.safety:
            refused = "a safety rule cannot be declared a known failure"
            return Status.FAIL, refused, [f"{refused}: {known}", *seen]
        if status is Status.FAIL:
            return Status.KNOWN, known, seen
        fixed = f"holds, although declared a known failure ({known}): remove the declaration"
        return Status.FIXED, fixed, [fixed]

    def _probe(self, check: RuleCheck, lacked: Capability) -> tuple[Status, str, list[str]]:
        """A declared lack must show itself where it can."""
        reason = f"lacks {lacked}: {self.subject.lacks[lacked]}"
        if check.probe is None:
            return Status.SKIP, reason, []
        probe = check.probe

        async def expect_refusal(kit: Kit) -> None:
            try:
                await probe(kit)
            except BaseException as error:
                if all(isinstance(leaf, UnsupportedCapability) for leaf in leaves(error)):
                    return
                raise
            raise AssertionError(
                f"the runtime declares to lack {lacked} ({self.subject.lacks[lacked]}), but did "
                "not raise UnsupportedCapability when asked for it"
            )

        status, why, seen = self._execute(expect_refusal, probe)
        return (Status.SKIP, reason, []) if status is Status.PASS else (status, why, seen)

    def _execute(self, body: Body, shown: Body | None = None) -> tuple[Status, str, list[str]]:
        code = getattr(shown or body, "__code__", None)
        snapshot = self.place.snapshot = ProcessSnapshot()
        try:
            tasks = self._run(body)
        except BaseException as error:
            return self._explain(error, code)
        if wrong := self.findings:
            self.place.keys_left()
            seen = ["the rule itself holds, but what it asked for shows that another one does not:"]
            return Status.FAIL, wrong[0][:200], [*seen, *wrong]
        if left := [*tasks, *snapshot.leaks(self.grace), *self.place.keys_left()]:
            seen = ["the runtime was closed, but something of it is left:", *left]
            return Status.FAIL, f"left behind: {left[0]}", seen
        return Status.PASS, "", []

    def _run(self, body: Body) -> list[str]:
        """One run of trio; answers the tasks that were left."""
        return trio.run(self._main, body, clock=self._clock)

    async def _main(self, body: Body) -> list[str]:
        before = running_tasks()
        self._audit = self._new_audit()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_over, nursery.cancel_scope)
            await body(self)
            nursery.cancel_scope.cancel()
        if self._stuck:
            error = AssertionError(f"the rule was not done within {self.limit:g} s")
            error.add_note("\n".join(["what the tasks did then:", *self._stuck]))
            raise error
        with trio.move_on_after(self.grace):
            while running_tasks() - before:  # noqa: ASYNC110 - a task tells nobody that it ends
                await trio.sleep(0.001)
        return [f"task {task.name!r} still runs" for task in running_tasks() - before]

    def _new_audit(self) -> Audit:
        """Whoever declares to break a law is not told so by every rule."""
        lacks_virtual_time = Capability.VIRTUAL_TIME not in self.subject.abilities
        return Audit(self.timeout / 2, self.subject.known_failures, has_server=lacks_virtual_time)

    async def _watch_over(self, scope: trio.CancelScope) -> None:
        """End a rule that hangs, and note where."""
        await trio.sleep(self.limit)
        self._stuck = where_tasks_are()
        scope.cancel()

    def _explain(self, error: BaseException, code: Any) -> tuple[Status, str, list[str]]:
        found = list(leaves(error))
        for leaf in found:
            if isinstance(leaf, KeyboardInterrupt | SystemExit | pytest.exit.Exception):
                raise leaf
        undecided = [e for e in found if isinstance(e, Undecided | pytest.skip.Exception)]
        crashed = [e for e in found if is_crash(e)]
        # An assertion says most; the rest are often its consequences.
        first = next((e for e in found if isinstance(e, AssertionError)), found[0])
        first = next(iter(undecided or crashed), first)
        self._story = evidence(first)
        seen = [describe(first, code)]
        seen += [f"and also: {one_line(e)}" for e in found if e is not first]
        seen += [f"and also: {line}" for line in self.findings]
        self.place.keys_left()
        if undecided or crashed:
            said = (
                f"could not decide: {first}"
                if undecided
                else f"the checker crashed: {one_line(first)}"
            )
            return Status.UNDECIDED, said, seen
        return Status.FAIL, one_line(first), seen

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
            _trace=EventTrace(),
            _story=Story(),
            _stuck=[],
            _audit=self._new_audit() if self._audit is not None else None,
        )
        part.place = self.place.apart(namespace)
        return part

    def tell_of(self, part: Kit) -> None:
        """The events of ``part`` are those that belong to the story of a failure."""
        self._trace = part._trace

    def leave_work(self) -> None:
        """This rule leaves accepted work behind on purpose: a durable runtime keeps it."""
        self.place.work_stays = True

    def close(self) -> None:
        """Remove what the kit itself made for its runtimes."""
        self.place.close()

    def _check_capabilities(self, runtime: Runtime) -> None:
        """What is declared about a runtime must be what it says itself."""
        says = frozenset(runtime.capabilities)
        if wrong := sorted(says & self.subject.lacks.keys()):
            raise AssertionError(f"declared to lack {wrong}, but runtime.capabilities has it")
        if wrong := sorted(self.subject.abilities - says):
            raise AssertionError(
                f"declared to support {wrong}, but runtime.capabilities has it not"
            )
