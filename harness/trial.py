"""How one rule is run: one ``trio.run``, limits, leak checks, and what its end means."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from am2z import Capability, UnsupportedCapability
from harness.leaks import ProcessSnapshot, running_tasks, where_tasks_are
from harness.lesson import describe, is_crash, leaves, one_line, tell
from harness.outcome import Outcome, Status, Story, Undecided
from harness.rules import Body, RuleCheck
from harness.story import evidence, finished, printable

if TYPE_CHECKING:
    from harness.kit import Kit

__all__ = ["Trial", "tell_pytest"]

_End = tuple[Status, str, list[str]]
"""A status, its reason in a line, and what was seen where that needs telling."""


def tell_pytest(outcome: Outcome) -> None:
    """Let the test that asked for it end as its rule did."""
    __tracebackhide__ = True
    match outcome.status:
        case Status.SKIP | Status.NOT_RUN:
            pytest.skip(outcome.reason)
        case Status.KNOWN:
            pytest.xfail(outcome.reason)
        case Status.FAIL | Status.FIXED | Status.UNDECIDED:
            pytest.fail(outcome.lesson, pytrace=False)


class Trial:
    """One rule, run once with one kit. ::

        outcome = Trial(kit, check).outcome()

    Whoever has another way to run a body overrides ``run``.
    """

    def __init__(self, kit: Kit, check: RuleCheck) -> None:
        self.kit = kit
        self.check = check
        self._evidence = Story()
        self._stuck: list[str] = []

    def outcome(self) -> Outcome:
        """How the rule ended. Raises nothing but ``KeyboardInterrupt``."""
        started = time.perf_counter()
        self.kit.prepare(self.check.rule)
        status, reason, seen = self._decide()
        story, lesson = self._tell(reason, seen) if seen else (None, "")
        if status is not Status.FAIL and not self.check.is_published:
            status = Status.OVERRIDDEN
            reason = "what ran is not the kit's check of this rule"
        return Outcome(
            rule=self.check.rule.id,
            runtime=self.kit.name,
            status=status,
            reason=printable(reason),
            lesson=lesson,
            seconds=time.perf_counter() - started,
            story=story,
        )

    def run(self, body: Body) -> list[str]:
        """One run of trio, in which ``main`` runs the body; answers what ``main`` does."""
        clock = MockClock(autojump_threshold=0) if self.kit.virtual_time else None
        return trio.run(self.main, body, clock=clock)

    async def main(self, body: Body) -> list[str]:
        """Run a body within the limit of a rule; answers the tasks that were left, a line each."""
        before = running_tasks()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_over, nursery.cancel_scope)
            await body(self.kit)
            nursery.cancel_scope.cancel()
        if self._stuck:
            error = AssertionError(f"the rule was not done within {self.kit.limit:g} s")
            error.add_note("\n".join(["what the tasks did then:", *self._stuck]))
            raise error
        with trio.move_on_after(self.kit.grace):
            while running_tasks() - before:  # noqa: ASYNC110 - a task tells nobody that it ends
                await trio.sleep(0.001)
        return [f"task {task.name!r} still runs" for task in running_tasks() - before]

    async def _watch_over(self, scope: trio.CancelScope) -> None:
        """End a rule that hangs, and note where."""
        await trio.sleep(self.kit.limit)
        self._stuck = where_tasks_are()
        scope.cancel()

    def _decide(self) -> _End:
        """What the declarations of the runtime make of the end of the rule."""
        rule, subject = self.check.rule, self.kit.subject
        if open_ones := sorted(rule.capabilities - subject.abilities - subject.lacks.keys()):
            names = ", ".join(open_ones)
            return (
                Status.NOT_RUN,
                f"the runtime declares neither to support nor to lack {names}",
                [],
            )
        if lacked := sorted(rule.capabilities & subject.lacks.keys()):
            return self._probe(lacked[0])
        status, reason, seen = self._execute(self.check.body)
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

    def _probe(self, lacked: Capability) -> _End:
        """A declared lack must show itself where it can."""
        probe, why = self.check.probe, self.kit.subject.lacks[lacked]
        skipped: _End = Status.SKIP, f"lacks {lacked}: {why}", []
        if probe is None:
            return skipped

        async def expect_refusal(kit: Kit) -> None:
            try:
                await probe(kit)
            except BaseException as error:
                if all(isinstance(leaf, UnsupportedCapability) for leaf in leaves(error)):
                    return
                raise
            raise AssertionError(
                f"the runtime declares to lack {lacked} ({why}), but did "
                "not raise UnsupportedCapability when asked for it"
            )

        end = self._execute(expect_refusal, probe)
        return skipped if end[0] is Status.PASS else end

    def _execute(self, body: Body, shown: Body | None = None) -> _End:
        """Run a body, and look at what it left; ``shown`` is whose lines are told."""
        place = self.kit.place
        snapshot = place.snapshot = ProcessSnapshot()
        try:
            tasks = self.run(body)
        except BaseException as error:
            return self._explain(error, getattr(shown or body, "__code__", None))
        if wrong := self.kit.findings:
            place.keys_left()
            seen = ["the rule itself holds, but what it asked for shows that another one does not:"]
            return Status.FAIL, wrong[0][:200], [*seen, *wrong]
        if left := [*tasks, *snapshot.leaks(self.kit.grace), *place.keys_left()]:
            seen = ["the runtime was closed, but something of it is left:", *left]
            return Status.FAIL, f"left behind: {left[0]}", seen
        return Status.PASS, "", []

    def _explain(self, error: BaseException, code: Any) -> _End:
        """What the error says that ended a body."""
        found = list(leaves(error))
        for leaf in found:
            if isinstance(leaf, KeyboardInterrupt | SystemExit | pytest.exit.Exception):
                raise leaf
        undecided = [e for e in found if isinstance(e, Undecided | pytest.skip.Exception)]
        crashed = [e for e in found if is_crash(e)]
        # An assertion says most; the rest are often its consequences.
        first = next((e for e in found if isinstance(e, AssertionError)), found[0])
        first = next(iter(undecided or crashed), first)
        self._evidence = evidence(first)
        seen = [describe(first, code)]
        seen += [f"and also: {one_line(e)}" for e in found if e is not first]
        seen += [f"and also: {line}" for line in self.kit.findings]
        self.kit.place.keys_left()
        if undecided or crashed:
            said = (
                f"could not decide: {first}"
                if undecided
                else f"the checker crashed: {one_line(first)}"
            )
            return Status.UNDECIDED, said, seen
        return Status.FAIL, one_line(first), seen

    def _tell(self, reason: str, seen: list[str]) -> tuple[Story, str]:
        """What was seen: in parts for the reports, and told as a whole."""
        kit, rule = self.kit, self.check.rule
        story = finished(self._evidence, seen=seen, trace=kit.trace, replay=kit.replay(rule.id))
        lesson = tell(
            rule,
            kit.name,
            reason=printable(reason),
            seen=story.seen,
            program=story.program,
            events=kit.trace.lines(),
            replay=story.replay,
            seed=kit.seed,
        )
        return story, lesson
