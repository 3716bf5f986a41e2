"""What the model knows of one execution: its attempts, its calls, its end.

A life is a generator. It yields the phase in which the execution stays until somebody does
something (``waiting``, ``delayed``, ``held``), and returns its outcome. ``Ended`` is thrown into it
where somebody ends the execution.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Protocol

from harness.oracle.model.compositions import COMPOSITIONS, Unforeseen
from harness.oracle.model.outcome import Outcome, Value
from harness.oracle.model.tables import (
    BRIEF,
    MAX_CALL_DEPTH,
    PLAIN_STEPS,
    RAISED,
    is_exhausted,
    is_tried_again,
)
from harness.oracle.program import Call, Step

__all__ = ["Ended", "Ledger", "Life", "live", "perform"]


class Ended(Exception):  # noqa: N818 - thrown into a life; it is no error of ours
    """An execution is ended from outside, with the error of that name."""


class Ledger(Protocol):
    """Where executions are entered when they end, and where they see what is the case."""

    is_mended: bool

    def serves(self, name: str) -> bool:
        """Whether there is such a processor."""
        ...

    def title(self, name: str) -> str:
        """What a processor says when asked who it is."""
        ...

    def ended(self, name: str, session: str, story: str, *, success: bool) -> None:
        """One more has ended, after these events."""
        ...

    def commit(self, session: str, value: Value) -> None:
        """A top-level execution succeeded."""
        ...

    def bury(self, name: str, session: str, error: str, given: Value, owner: str) -> None:
        """A top-level execution failed for good."""
        ...

    def hooked(self, what: str) -> None:
        """A hook of a retry policy was called."""
        ...


Life = Generator[str, None, Outcome]


def live(
    ledger: Ledger, call: Call, session: str, value: Value, begins: str = "", owner: str = ""
) -> Life:
    """A submitted execution, which begins in a phase and may hold. ``owner``: its label."""
    try:
        if begins:
            yield begins
    except Ended as end:
        ledger.ended(call.name, session, f"f!{end}", success=False)
        return Outcome(value, str(end))
    execution = _Execution(ledger, call, session, value, holds=bool(begins), owner=owner)
    return (yield from execution.run())


def perform(ledger: Ledger, call: Call, session: str, value: Value, *, owner: str = "") -> Outcome:
    """An execution that runs to its end at once."""
    return _now(live(ledger, call, session, value, owner=owner))


def _now(life: Life) -> Outcome:
    """The outcome of a life in which nothing stays."""
    try:
        phase = next(life)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    raise Unforeseen(f"it is {phase}, and somebody waits for it")


@dataclass
class _Execution:
    ledger: Ledger
    call: Call
    session: str
    given: Value
    depth: int = 0
    holds: bool = False
    owner: str = ""
    story: list[str] = field(default_factory=list)

    def run(self) -> Life:
        """Every attempt, to the end."""
        name, attempt = self.call.name, 1
        try:
            while True:
                self.story.append("A")
                outcome = yield from self._attempt(attempt)
                if not self._goes_on(name, outcome.error, attempt):
                    break
                self.story.append(f"R!{outcome.error}")
                attempt += 1
                if name == "later":
                    yield "delayed"
        except Ended as end:
            self._enter(str(end))
            return Outcome(self.given, str(end))
        self._enter(outcome.error)
        if self.depth == 0 and outcome.error:
            self.ledger.bury(name, self.session, outcome.error, self.given, self.owner)
        if self.depth == 0 and not outcome.error:
            self.ledger.commit(self.session, outcome.value)
        return replace(outcome, attempt=attempt)

    def _goes_on(self, name: str, error: str, attempt: int) -> bool:
        """Whether another attempt follows; tells the hooks of who has some."""
        again = is_tried_again(name, error, attempt)
        if name == "wary" and again:
            self.ledger.hooked(f"retry {attempt} {error}")
        if name == "wary" and is_exhausted(name, error, attempt):
            self.ledger.hooked(f"exhausted {error}")
        return again

    def _enter(self, error: str) -> None:
        ends = [f"F!{error}", f"f!{error}"] if error else ["S", "s"]
        story = " ".join([*self.story, *ends])
        self.ledger.ended(self.call.name, self.session, story, success=not error)

    def _attempt(self, attempt: int) -> Life:
        compose = COMPOSITIONS.get(self.call.name)
        if compose is not None:
            return compose(self, self.call, self.given)
        return (yield from self._steps(self.call.name, self.given, attempt, self.holds))

    def _steps(self, name: str, given: Value, attempt: int, holds: bool) -> Life:
        value = given
        for step in self.call.steps:
            if step.verb in PLAIN_STEPS:
                value = self._plain(step, value, name, attempt)
            elif name in BRIEF:
                continue  # it has no time for more
            elif step.verb == "fail":
                if self._fails(step, attempt):
                    has_state = step.word in ("partial", "torn")  # a failure with one of its own
                    return Outcome(value if has_state else given, RAISED[step.word])
            elif step.call is not None:
                result = self.child(step.call, value)
                if not result.error:
                    value = result.value
                elif step.survives:
                    value = (value[0], (*value[1], result.error))
                else:
                    return Outcome(given, result.error, at=result.at)
            elif holds and name != "plain":
                yield "held"
        return Outcome(given, "ExecutionTimeoutError") if name in BRIEF else Outcome(value)

    def _fails(self, step: Step, attempt: int) -> bool:
        if step.word == "broken":
            return not self.ledger.is_mended
        return not step.number or attempt < step.number

    def _plain(self, step: Step, value: Value, name: str, attempt: int) -> Value:
        count, trail = value
        match step.verb:
            case "add":
                return count + step.number, trail
            case "note":
                return count, (*trail, step.word)
            case "who":
                title = self.ledger.title(name)
                return count, (*trail, f"{title} {self.session} {attempt} {self.depth}")
            case "emit":
                self.story.append(f"C{count}")
            case "progress":
                self.story.append("P50")
        return value

    def in_place(self, name: str, given: Value) -> Outcome:
        """Every attempt of a step that runs inside this execution, under a name of its own."""
        attempt = 1
        while True:
            outcome = _now(self._steps(name, given, attempt, holds=False))
            if not is_tried_again(name, outcome.error, attempt):
                return outcome
            attempt += 1

    def child(self, call: Call, value: Value) -> Outcome:
        """An execution that this one waits for."""
        if self.depth >= MAX_CALL_DEPTH:
            return Outcome(value, "CallDepthExceededError")
        if not self.ledger.serves(call.name):
            return Outcome(value, "ProcessorNotFoundError")
        child = _Execution(self.ledger, call, self.session, value, self.depth + 1)
        return _now(child.run())
