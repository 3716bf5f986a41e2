"""What the model knows of one execution: its attempts, its calls, its end.

A life is a generator. It yields the phase in which the execution stays until somebody does
something (``waiting``, ``delayed``, ``held``), and returns its outcome. ``Ended`` is thrown into it
where somebody ends the execution.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from harness.oracle.program import DOOMED, Call, Step

__all__ = ["MAX_CALL_DEPTH", "Ended", "Ledger", "Life", "Outcome", "Value", "live", "perform"]

MAX_CALL_DEPTH = 2

Value = tuple[int, tuple[str, ...]]
"""``count`` and ``trail`` of a state."""

_RAISED = {
    "business": "BusinessError",
    "partial": "BusinessError",
    "validation": "ValidationError",
    "network": "NetworkError",
    "foreign": "ProcessorExecutionError",
}
_RETRYABLE = frozenset({"NetworkError", "ProcessorExecutionError"})
_ATTEMPTS = {"once": 1, "thrice": 3, "later": 2, "single": 1, "pair": 1, DOOMED: 1}
_CODES = {
    "NetworkError": "NETWORK_ERROR",
    "ProcessorExecutionError": "PROCESSOR_EXECUTION_FAILED",
    "BusinessError": "SAYS_NO",
    "ValidationError": "VALIDATION_FAILED",
    "ProcessorNotFoundError": "PROCESSOR_NOT_FOUND",
    "CallDepthExceededError": "CALL_DEPTH_EXCEEDED",
    "SessionStoppedError": "SESSION_STOPPED",
    "ExecutionCancelledError": "EXECUTION_CANCELLED",
}


@dataclass(frozen=True)
class Outcome:
    """How an execution ended. ``attempt`` is ``None`` where none ended it by itself."""

    value: Value
    error: str = ""
    attempt: int | None = None
    steps: int = 0

    def seen(self) -> dict[str, Any]:
        """As the player writes down a result."""
        count, trail = self.value
        seen: dict[str, Any] = {"ok": not self.error, "count": count, "trail": list(trail)}
        if self.error:
            seen |= {"error": self.error, "code": _CODES[self.error]}
        if self.attempt is not None:
            seen["attempt"] = self.attempt
            if self.error:
                seen["steps"] = self.steps
        return seen


class Ended(Exception):  # noqa: N818 - thrown into a life; it is no error of ours
    """An execution is ended from outside, with the error of that name."""


class Ledger(Protocol):
    """Where executions are entered when they end."""

    def ended(self, name: str, session: str, story: str, *, success: bool) -> None:
        """One more has ended, after these events."""
        ...

    def commit(self, session: str, value: Value) -> None:
        """A top-level execution succeeded."""
        ...

    def bury(self, name: str, session: str, error: str) -> None:
        """A top-level execution failed for good."""
        ...


Life = Generator[str, None, Outcome]


def live(ledger: Ledger, call: Call, session: str, value: Value, begins: str) -> Life:
    """A submitted execution, which begins in a phase and may hold."""
    try:
        yield begins
    except Ended as end:
        ledger.ended(call.name, session, "f", success=False)
        return Outcome(value, str(end))
    return (yield from _Execution(ledger, call, session, value, 0, holds=True).run())


def perform(ledger: Ledger, call: Call, session: str, value: Value) -> Outcome:
    """An execution that runs to its end at once."""
    return _now(_Execution(ledger, call, session, value, 0, holds=False).run())


def _now(life: Life) -> Outcome:
    """The outcome of a life in which nothing stays."""
    try:
        phase = next(life)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    raise AssertionError(f"an execution that cannot hold is {phase}")


@dataclass
class _Execution:
    ledger: Ledger
    call: Call
    session: str
    given: Value
    depth: int
    holds: bool
    story: str = ""

    def run(self) -> Life:
        """Every attempt, to the end."""
        attempt = 1
        try:
            while True:
                self.story += "A"
                outcome = yield from self._attempt(attempt)
                again = outcome.error in _RETRYABLE and attempt < _ATTEMPTS[self.call.name]
                if not again:
                    break
                self.story += "R"
                attempt += 1
                if self.call.name == "later":
                    yield "delayed"
        except Ended as end:
            self._enter(success=False)
            return Outcome(self.given, str(end))
        self._enter(success=not outcome.error)
        if self.depth == 0 and outcome.error:
            self.ledger.bury(self.call.name, self.session, outcome.error)
        if self.depth == 0 and not outcome.error:
            self.ledger.commit(self.session, outcome.value)
        return replace(outcome, attempt=attempt)

    def _enter(self, *, success: bool) -> None:
        story = self.story + ("Ss" if success else "Ff")
        self.ledger.ended(self.call.name, self.session, story, success=success)

    def _attempt(self, attempt: int) -> Life:
        if self.call.name != "pair":
            return (yield from self._steps(self.given, attempt, self.holds))
        # A chain: the first step runs in its place, the second is a call of its own.
        first = yield from self._steps(self.given, 1, holds=False)
        if first.error:
            return Outcome(self.given, first.error)
        second = self._child(replace(self.call, name="thrice"), first.value)
        if second.error:
            return Outcome(first.value, second.error, steps=1)
        return Outcome(second.value)

    def _steps(self, given: Value, attempt: int, holds: bool) -> Life:
        value = given
        for step in self.call.steps:
            if step.verb == "hold" and holds:
                yield "held"
            elif step.verb == "fail" and (not step.number or attempt < step.number):
                is_partial = step.word == "partial"  # a failure that has a state of its own
                return Outcome(value if is_partial else given, _RAISED[step.word])
            elif step.call is not None:
                result = self._child(step.call, value)
                if not result.error:
                    value = result.value
                elif step.survives:
                    value = (value[0], (*value[1], result.error))
                else:
                    return Outcome(given, result.error)
            else:
                value = self._plain(step, value)
        return Outcome(value)

    def _plain(self, step: Step, value: Value) -> Value:
        """A step that neither waits nor fails."""
        count, trail = value
        match step.verb:
            case "add":
                return count + step.number, trail
            case "note":
                return count, (*trail, step.word)
            case "emit":
                self.story += "C"
            case "progress":
                self.story += "P"
        return value

    def _child(self, call: Call, value: Value) -> Outcome:
        if self.depth >= MAX_CALL_DEPTH:
            return Outcome(value, "CallDepthExceededError")
        if call.name == "nobody":
            return Outcome(value, "ProcessorNotFoundError")
        child = _Execution(self.ledger, call, self.session, value, self.depth + 1, holds=False)
        return _now(child.run())
