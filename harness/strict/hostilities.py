"""The hostilities of ``check``, one after the other, and what is seen of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence, Sized
from contextlib import suppress
from typing import Any

import trio
from trio.testing import MockClock

from am2z import AppState, Processor, ProcessorResult, RuntimeConfig
from am2z.authoring import Outcome
from harness.lesson import leaves
from harness.strict.effects import Effects
from harness.strict.findings import Assumption, Journal
from harness.strict.plans import (
    Plan,
    cancelled_at,
    duplicated_at,
    once,
    redelivered,
    reordered,
    retried,
)
from harness.strict.runtime import StrictRuntime
from harness.strict.surroundings import Surroundings
from harness.strict.wire import changed_by_the_wire, differing_outcomes

__all__ = ["Hostilities", "look"]

MAX_CANCELLED, MAX_HELD, ROUNDS = 200, 25, 3
SESSION = "strict"


class _NothingMore(Exception):  # noqa: N818 - no error
    """What was found leaves no way to go on."""


class Hostilities:
    """One call of ``check``."""

    def __init__(
        self,
        processors: Sequence[Processor[Any]],
        states: Sequence[AppState],
        outside: Sized,
        ignore: Collection[str],
        shared: Collection[str],
        fails: bool,
        real_time: bool,
        config: RuntimeConfig | None,
    ) -> None:
        self.journal = Journal()
        self._processors = processors
        self._name = processors[0].name
        self._states = states
        self._outside = outside
        self._ignore = ignore
        self._around = Surroundings(processors, shared, outside)
        self._fails = fails
        self._real_time = real_time
        self._config = config

    def run(self, seed: int) -> None:
        """Every hostility, until the journal has what there is to find."""
        with suppress(_NothingMore):
            self._run(seed)

    def _run(self, seed: int) -> None:
        self._look_at_the_states()
        for state in self._states:
            first, wanted = self._alone(state)
            second, again = self._alone(state)
            if seen := self._differ(first, second):
                why = "it ran a second time, undisturbed, from the same state"
                self.journal.note(self._name, Assumption.RESULT_IS_REPEATABLE, why, seen)
            repeats = wanted == again  # else it is guarded by something that outlives a run
            for plan in (redelivered, retried):
                self._hostile(plan, state, first, wanted, repeats, called=plan)
            self._walk(cancelled_at, MAX_CANCELLED, state, first, wanted, repeats)
            self._walk(duplicated_at, MAX_HELD, state, first, wanted, repeats)
        for round_ in range(ROUNDS):
            rng = random.Random(f"{seed}:{round_}")  # noqa: S311 - to be repeatable, not secret
            self._all_at_once(rng)

    def _look_at_the_states(self) -> None:
        for state in self._states:
            if path := changed_by_the_wire(state):
                why = "it was given to the runtime"
                self.journal.note(self._name, Assumption.STATE_CROSSES, why, path)

    def _alone(self, state: AppState) -> tuple[ProcessorResult[Any], int]:
        """How it ends undisturbed, and how many effects it has."""
        before = self._begin()
        _, [result] = self._scenario(once, [state])
        self._finish("it ran once, undisturbed")
        if result.error is not None and not self._fails:
            if next(iter(self.journal), None) is not None:
                raise _NothingMore
            raise AssertionError(
                f"processor {self._name!r} fails undisturbed, so there is nothing to check: "
                f"{type(result.error).__name__}: {result.error}\n"
                "Give the processors that it calls by name as calls=[...]; say fails=True where it "
                "is meant to fail, real_time=True where it waits for something outside of trio"
            ) from result.error
        return result, len(self._outside) - before

    def _hostile(
        self,
        plan: Plan,
        state: AppState,
        undisturbed: ProcessorResult[Any],
        wanted: int,
        repeats: bool,
        *,
        called: Plan = once,
    ) -> bool:
        """One execution under one hostility; answers whether that struck."""
        before = self._begin()
        runtime, [result] = self._scenario(plan, [state], called)
        why = runtime.last_hostility
        self._finish(why)
        seen = self._differ(undisturbed, result)
        if undisturbed.error is None and result.error is not None:
            self.journal.note(self._name, Assumption.SUCCEEDS_AGAIN, why, seen)
        elif seen and not self._is_known_to_differ():
            self.journal.note(self._name, Assumption.RESULT_IS_REPEATABLE, why, seen)
        done = len(self._outside) - before
        told = f"{done} effects instead of {wanted}"
        if done > wanted and not any(
            finding.assumption is Assumption.RUNS_ONCE for finding in self.journal
        ):
            self.journal.note(self._name, Assumption.RUNS_ONCE, why, told)
        elif done < wanted and repeats and result.error is None:
            self.journal.note(self._name, Assumption.EFFECT_IS_DONE, why, told)
        return runtime.has_struck

    def _walk(
        self, plan_at: Callable[[int], Plan], limit: int, state: AppState, *known: Any
    ) -> None:
        """The same hostility at the first checkpoint, the second … until there are no more."""
        for number in range(1, limit + 1):
            if not self._hostile(plan_at(number), state, *known):
                return

    def _all_at_once(self, rng: random.Random) -> None:
        """Several executions of all states, interleaved."""
        states = [state for state in self._states for _ in range(2 if len(self._states) > 1 else 3)]
        rng.shuffle(states)
        alone = {id(state): self._alone(state)[0] for state in self._states}
        self._begin()
        runtime, results = self._scenario(reordered(rng), states)
        why = runtime.last_hostility
        self._finish(why)
        for state, result in zip(states, results, strict=True):
            seen = self._differ(alone[id(state)], result)
            if seen and not self._is_known_to_differ():
                self.journal.note(self._name, Assumption.ALONE, why, seen)

    def _is_known_to_differ(self) -> bool:
        return self.journal.has(self._name, Assumption.RESULT_IS_REPEATABLE)

    def _differ(self, one: ProcessorResult[Any], two: ProcessorResult[Any]) -> str:
        ids = one.metadata.execution_id, two.metadata.execution_id
        return differing_outcomes(_outcome(one), _outcome(two), self._ignore, ids=ids)

    def _begin(self) -> int:
        if isinstance(self._outside, Effects):
            self._outside.clear()
        self._around.renew()
        return len(self._outside)

    def _finish(self, why: str) -> None:
        effects = self._outside if isinstance(self._outside, Effects) else None
        look(self.journal, why, self._around, effects)

    def _scenario(
        self, plan: Plan, states: Sequence[AppState], called: Plan = once
    ) -> tuple[StrictRuntime, list[ProcessorResult[Any]]]:
        """Run these states on a fresh runtime, at once."""
        runtime = StrictRuntime(config=self._config, plan=plan, called=called, ignore=self._ignore)
        runtime.journal = self.journal

        async def main() -> list[ProcessorResult[Any]]:
            async with runtime.register(*self._processors):
                results = await runtime.execute_many(self._processors[0], states, SESSION)
                # What was left running gets the time to show what it has in mind.
                await trio.sleep(0.01 if self._real_time else 1.0)
            return results

        clock = None if self._real_time else MockClock(autojump_threshold=0)
        try:
            return runtime, trio.run(main, clock=clock)
        except BaseExceptionGroup as group:
            found = list(leaves(group))
            if len(found) > 1:
                raise
            raise found[0] from None


def look(journal: Journal, why: str, around: Surroundings, effects: Effects | None) -> None:
    """What is to be seen from outside once everything has ended."""
    for processor, name in around.changed():
        journal.note(processor, Assumption.OWNS_THE_MODULE, why, f"the variable {name!r}")
    if effects is not None:
        for processor, what, done, wanted in effects.repeated():
            seen = f"{what!r} was done {done} times, and wanted {wanted}"
            journal.note(processor, Assumption.RUNS_ONCE, why, seen)


def _outcome(result: ProcessorResult[Any]) -> Outcome[Any]:
    return Outcome(result.state if result.error is None else None, result.error)
