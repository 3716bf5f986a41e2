"""What has to be true of the events of one execution, together and beside its result."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from am2z import Event, Processor, ProcessorResult, RuntimeStoppedError
from harness.audit.events import OF_EXECUTIONS
from harness.audit.results import FROM_OUTSIDE

__all__ = ["story_errors"]

Errors = Iterator[tuple[str, str]]

_LETTERS = dict(zip(OF_EXECUTIONS, "APRSFsf", strict=True))
_WHOLE = re.compile(r"A[PC]*(RA[PC]*)*(Ss|R?Ff)|f")
_PART = re.compile(r"(A[PC]*(RA[PC]*)*(R|Ss?|R?Ff?)?|f)?")


def story_errors(
    execution_id: str,
    story: list[Event],
    known: Processor[Any] | None,
    result: ProcessorResult[Any] | None,
    *,
    alone: bool,
) -> Errors:
    """What is wrong with a story. ``result``: how its execution ended, where that is known."""
    letters = "".join(_LETTERS.get(event.type, "C") for event in story)
    # What a stopping runtime could not wait for may go on elsewhere.
    goes_on = result is None or isinstance(result.error, RuntimeStoppedError)
    if not (_PART if goes_on else _WHOLE).fullmatch(letters):
        kinds = " ".join(event.type for event in story)
        yield "EVT-012", f"execution {execution_id} of {story[0].processor_name!r}: {kinds}"
        return
    yield from _name_errors(story, known)
    yield from _attempt_errors(story, letters, known)
    yield from _delay_errors(story, known)
    if result is not None and not goes_on:
        yield from _end_errors(story, letters, result, alone=alone)


def _name_errors(story: list[Event], known: Processor[Any] | None) -> Errors:
    """Whose story it is. What a step says of its own may be in the step's name."""
    is_plain = known is not None and not known.dependencies
    told = [e for e in story if is_plain or e.type in OF_EXECUTIONS[:1] + OF_EXECUTIONS[2:]]
    if len(names := {event.processor_name for event in told}) > 1:
        yield "EVT-023", f"the events of one execution name {sorted(names)} as its processor"
    if len(sessions := {event.session_id for event in told}) > 1:
        yield "EVT-010", f"the events of one execution name {sorted(sessions)} as its session"


def _attempt_errors(story: list[Event], letters: str, known: Processor[Any] | None) -> Errors:
    """Attempts count from 1, and on by one after each failure."""
    law, number, after_failure = "EVT-020", 0, True
    for letter, event in zip(letters, story, strict=True):
        if letter == "C":
            continue
        told = event.data.get("attempt")
        if letter == "A":
            number += after_failure
        elif letter == "R":
            # Without an error it is no failure: another worker takes the same attempt over.
            after_failure = "error" in event.data
        elif letter in "Ff" and told == number + 1:
            continue  # it was ended before its next attempt could begin
        if number and event.type.startswith("processor:") and told != number:
            yield law, f"{event.type} says attempt {told!r}, and it is {number}"
    most = known.retry.max_attempts if known is not None and known.retry is not None else 1
    if known is not None and number > most:
        yield "ERR-005", f"{known.name!r} was tried {number} times of {most}"


def _delay_errors(story: list[Event], known: Processor[Any] | None) -> Errors:
    """A delay is what the policy says."""
    policy = known.retry if known is not None else None
    if policy is None:
        return
    least = 0.0 if policy.jitter else math.inf
    for event in story:
        if event.type == "processor:retrying" and "error" in event.data:
            attempt, delay = event.data["attempt"], event.data["delay"]
            longest = policy.max_backoff if policy.jitter else policy.delay(attempt)
            if delay > longest + 1e-6 or delay < min(least, longest) - 1e-6:
                yield "EVT-020", f"a delay of {delay} s was told where the policy says {longest}"


def _end_errors(
    story: list[Event], letters: str, result: ProcessorResult[Any], *, alone: bool
) -> Errors:
    """The last two events say what the result says."""
    law, meta = "EVT-023", result.metadata
    if letters.endswith("s") is not result.success:
        yield law, f"{story[-1].type} was told of a result with success={result.success}"
        return
    last = story[-1]
    if (last.processor_name, last.session_id) != (meta.processor_name, meta.session_id):
        yield law, f"{last.type} names {last.processor_name!r} in {last.session_id!r}"
    for event in story[-1:] if letters == "f" else story[-2:]:
        if result.success:
            took = event.data["execution_time"]
            if abs(took - result.execution_time) > 1e-6:
                yield law, f"{event.type} says it took {took} s, the result {result.execution_time}"
        else:
            told, error = event.data["error"], result.error
            if (type(told), told.message) != (type(error), getattr(error, "message", "")):
                yield law, f"{event.type} tells of {told!r:.120}, the result of {error!r:.120}"
    yield from _start_errors(story, letters, result, alone=alone)


def _start_errors(
    story: list[Event], letters: str, result: ProcessorResult[Any], *, alone: bool
) -> Errors:
    law, meta, began = "EVT-023", result.metadata, "A" in letters
    if began and type(result.error).__name__ not in FROM_OUTSIDE:
        attempt = story[-2].data["attempt"]
        if meta.attempt != attempt:
            yield law, f"the events end with attempt {attempt}, the result says {meta.attempt}"
        if meta.started_at == 0:
            yield "EXE-049", "the result of what ran does not say when that began"
    elif not began and alone and (result.success or result.execution_time):
        yield law, f"what never began took {result.execution_time} s"
