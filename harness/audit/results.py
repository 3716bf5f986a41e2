"""What has to be true of every result."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import trio

from am2z import (
    AM2ZError,
    AppState,
    ExecutionMetadata,
    ExecutionTimeoutError,
    Processor,
    ProcessorResult,
)
from harness.states import TestState

if TYPE_CHECKING:
    from harness.audit.ledger import Asked

__all__ = ["FROM_OUTSIDE", "is_number", "is_wall_time", "result_errors"]

Errors = Iterator[tuple[str, str]]

FROM_OUTSIDE = frozenset({"SessionStoppedError", "ExecutionCancelledError", "RuntimeStoppedError"})
"""The errors of what somebody ended, whatever it was doing."""

_GRAIN = 0.02
"""How much two clocks may disagree about how long something took, in seconds."""

_APART = 60.0
"""How far the clocks of two machines may be apart, in seconds."""


def result_errors(
    asked: Asked,
    result: Any,
    execution_id: str | None,
    began: float,
    processors: Mapping[str, Processor[Any]],
) -> Errors:
    """What is wrong with a result. ``began``: when its execution can have begun at the earliest."""
    law = "EXE-049"
    if not isinstance(result, ProcessorResult):
        yield law, f"the result of {asked.name!r} is {result!r:.80}"
        return
    what = f"the result of {asked.name!r}"
    if result.success is not (result.error is None):
        yield law, f"{what} has success={result.success!r} and error={result.error!r:.80}"
    if result.error is not None:
        yield from _error_errors(what, result.error)
    meta: Any = result.metadata
    if not isinstance(meta, ExecutionMetadata):
        yield law, f"{what} has {meta!r:.80} as its metadata"
        return
    own = execution_id or asked.chosen
    if meta.processor_name != asked.name:
        yield law, f"{what} names the processor {meta.processor_name!r}"
    if not meta.execution_id or (own is not None and meta.execution_id != own):
        yield law, f"{what} names the execution {meta.execution_id!r}, and not {own!r}"
    session = meta.execution_id if asked.session is None else asked.session
    if meta.session_id != session:
        yield law, f"{what} names the session {meta.session_id!r}, and not {session!r}"
    known = processors.get(asked.name)
    most = known.retry.max_attempts if known is not None and known.retry is not None else 1
    if not isinstance(meta.attempt, int) or not 1 <= meta.attempt <= (most if known else math.inf):
        yield law, f"{what} says attempt {meta.attempt!r} of {most}"
    yield from _time_errors(what, result, began)
    yield from _state_errors(what, asked, result, session, known)
    steps = meta.completed_steps
    if not isinstance(steps, int) or steps < 0:
        yield "ERR-007", f"{what} says completed_steps={steps!r}"


def _time_errors(what: str, result: ProcessorResult[Any], began: float) -> Errors:
    law, took, since = "EXE-049", result.execution_time, trio.current_time() - began
    if not is_number(took) or not 0 <= took <= since + _GRAIN:
        yield law, f"{what} says execution_time={took!r}, {since:.4f} s after it was asked for"
    if isinstance(result.error, ExecutionTimeoutError) and is_number(took):
        least: Any = result.error.context.get("timeout")
        if is_number(least) and took < least / 2:
            yield law, f"{what} says that {least} s were over when {took} s were"
    started = result.metadata.started_at
    if started == 0 and not result.success:
        return  # nothing of it ever began, or it was ended between two attempts
    if not is_wall_time(started):
        yield law, f"{what} says started_at={started!r}, which is not the time of its start"


def _state_errors(
    what: str,
    asked: Asked,
    result: ProcessorResult[Any],
    session: str,
    known: Processor[Any] | None,
) -> Errors:
    law = "EXE-049"
    state: Any = result.state
    if not isinstance(state, AppState):
        yield law, f"{what} has {state!r:.80} as its state"
        return
    meta = state.metadata
    if meta.session_id != session:
        yield law, f"the state in {what} is of session {meta.session_id!r}, and not {session!r}"
    if not is_wall_time(meta.created_at) or not is_wall_time(meta.last_updated):
        yield law, f"the state in {what} was made at {meta.created_at}, {meta.last_updated}"
    if asked.is_again:
        return
    if result.success:
        if meta.created_at > asked.created:
            yield "EXE-020", f"{what} has a state that was made later than the given one"
        if meta.version <= asked.version:
            yield "EXE-020", f"{what} took version {asked.version} to {meta.version}"
        if meta.last_updated < asked.updated:
            yield "EXE-020", f"{what} took last_updated back"
    elif (known is None or not known.dependencies) and meta.version == asked.version:
        yield from _given_back_errors(what, asked.given, state)


def _given_back_errors(what: str, given: Any, state: AppState) -> Errors:
    """Who failed at once, or never began, gives the caller's state back."""
    if isinstance(given, TestState):
        for name in given.__struct_fields__:
            then, now = getattr(given, name), getattr(state, name, None)
            if name != "metadata" and then != now:
                yield "ERR-022", f"{what} failed, and gives {name}={now!r:.60} for {then!r:.60}"


def _error_errors(what: str, error: Any) -> Errors:
    law = "ERR-010"
    if not isinstance(error, AM2ZError):
        yield "EXE-049", f"{what} has {error!r:.80} as its error"
        return
    if not isinstance(error.message, str) or not error.message or not str(error):
        yield law, f"the error in {what} says nothing"
    if not isinstance(error.code, str) or not error.code:
        yield law, f"the error in {what} has the code {error.code!r}"
    again = AM2ZError.from_dict(error.to_dict())
    for name in ("code", "category", "severity", "retryable", "message", "failed_processor"):
        if getattr(again, name) != getattr(error, name):
            yield law, f"the error in {what} loses its {name} when it crosses again"
    if type(again).__qualname__ != type(error).__qualname__:
        yield law, f"the error in {what} becomes a {type(again).__name__} when it crosses again"


def is_number(value: object) -> bool:
    """Whether it is a finite number, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_wall_time(value: Any) -> bool:
    """Whether it is a time of today: seconds since the epoch, not of some other clock."""
    return is_number(value) and 1e9 < value < time.time() + _APART
