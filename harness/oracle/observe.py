"""What is written down of results, statistics and events: nothing that depends on time or ids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from am2z import DeadLetter, Event, ProcessorResult, RuntimeStats
from harness.oracle.model import Seen
from harness.oracle.program import DOOMED, NO_SESSION, SESSIONS, Op
from harness.oracle.workers import Piece

__all__ = ["seen_counts", "seen_letter", "seen_result", "seen_totals", "stories", "told"]

_LETTERS = {
    "processor:active": "A",
    "processor:progress": "P",
    "processor:retrying": "R",
    "processor:completed": "S",
    "processor:failed": "F",
    "queue:completed": "s",
    "queue:failed": "f",
}
_FROM_OUTSIDE = frozenset({"SessionStoppedError", "ExecutionCancelledError", "RuntimeStoppedError"})
_COUNTED = ("waiting", "active", "delayed", "completed", "failed")


def seen_result(
    result: ProcessorResult[Piece],
    op: Op,
    execution_id: str | None = None,
    given: Piece | None = None,
) -> Seen:
    """What a result says, as the model says it; what is plainly wrong with it is added."""
    state, error = result.state, result.error
    seen: Seen = {"ok": result.success, "count": state.count, "trail": list(state.trail)}
    if error is not None:
        seen |= {"error": type(error).__name__, "code": error.code}
    was_refused = result.metadata.started_at == 0
    if not was_refused and seen.get("error") not in _FROM_OUTSIDE:
        seen["attempt"] = result.metadata.attempt
        if error is not None:
            seen |= {"steps": result.metadata.completed_steps, "at": error.failed_processor}
    own = execution_id or result.metadata.execution_id
    if state.metadata.session_id != (own if op.session == NO_SESSION else op.session):
        seen["session"] = f"{state.metadata.session_id!r} instead of its own"
    if execution_id is not None and result.metadata.execution_id != execution_id:
        seen["execution"] = "another one's"
    if result.success and given is not None and state.metadata.version <= given.metadata.version:
        seen["state's version"] = "not greater than before"
    if type(state) is not Piece:
        seen["state's class"] = type(state).__name__
    return seen


def seen_counts(stats: Any) -> Seen:
    """The counts of ``queue_stats`` or ``session_stats`` that are not zero."""
    return {
        f"{name} {kind}": number
        for name, one in sorted(stats.items())
        for kind in sorted(_COUNTED)
        if (number := getattr(one, kind))
    }


def seen_totals(stats: RuntimeStats) -> Seen:
    """The sums of ``stats()`` that a program tells."""
    return {kind: getattr(stats, kind) for kind in ("waiting", "active", "completed", "failed")}


def seen_letter(letter: DeadLetter) -> list[object]:
    """A dead letter as the model says it."""
    state = letter.state()
    found: list[object] = [letter.processor_name, letter.session_id or NO_SESSION]
    found.append(type(letter.error).__name__)
    return [*found, *([state.count, *state.trail] if isinstance(state, Piece) else [repr(state)])]


def stories(events: Iterable[Event], but: str) -> list[str]:
    """For each execution but one its processor, its session and its events in short; sorted."""
    found: dict[str, str] = {}
    for event in events:
        own = event.execution_id
        if own and own != but:
            session = event.session_id if event.session_id in SESSIONS else NO_SESSION
            found.setdefault(own, f"{event.processor_name} in {session}:")
            found[own] += f" {_word(event)}"
    # A delivery that a worker died with is told too; of how many there were nobody knows.
    again = re.compile(rf"^({DOOMED} in .:)( A R)* A")
    return sorted(again.sub(r"\1 A", one) for one in found.values())


def _word(event: Event) -> str:
    """What an event tells, in a word."""
    word, data = _LETTERS.get(event.type, "C"), event.data
    if word == "C":
        return f"C{data.get('count')}"
    if word == "P":
        return f"P{data['percent']:g}"
    return f"{word}!{type(data['error']).__name__}" if "error" in data else word


def told(events: Iterable[Event]) -> dict[str, list[str]]:
    """For each session its own events."""
    found: dict[str, list[str]] = {name: [] for name in SESSIONS}
    for event in events:
        if event.type.startswith("session:") and event.session_id in found:
            found[event.session_id].append(event.type.removeprefix("session:"))
    return found
