"""What a caller asks for: checked, encoded, and refused with an error that says what to do."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, NamedTuple

import msgspec

from am2z.clock import wall_clock
from am2z.codec import decode_state, encode_state
from am2z.context import Context
from am2z.errors import (
    AM2ZError,
    CallDepthExceededError,
    ConfigurationError,
    RuntimeStoppedError,
    SessionStoppedError,
    ValidationError,
)
from am2z.ids import check_execution_id, check_name, new_id
from am2z.policy import check_duration
from am2z.processor import Processor
from am2z.registry import Registry
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.runtime import ProcessorRef
from am2z.state import AppState, StateT, in_session

__all__ = [
    "Admission",
    "Request",
    "When",
    "call_too_deep",
    "check_same_work",
    "id_taken",
    "refusal",
    "runtime_stopped",
    "session_stopped",
]


class When(NamedTuple):
    """When an execution shall begin: after so many seconds, or at a wall-clock time."""

    delay: float = 0.0
    at: float | None = None

    def seconds(self) -> float:
        """Seconds from now, by this machine's clock."""
        return self.delay if self.at is None else max(0.0, self.at - wall_clock())


AT_ONCE = When()


class Request(msgspec.Struct, Generic[StateT], eq=False):
    """An execution that a caller asked for, checked and encoded."""

    name: str
    state: StateT
    data: bytes
    execution_id: str
    session_id: str
    is_named: bool
    is_chosen: bool = False
    when: When | None = None
    copy: StateT | None = None
    """What ``given`` gives first: the check of the state has made it already."""

    def given(self) -> StateT:
        """A copy of the state as it was given, each time another."""
        copy, self.copy = self.copy, None
        if copy is None:
            copy = in_session(decode_state(type(self.state), self.data), self.session_id)
        return copy


class Admission:
    """The door of a runtime: the same checks for every execution, whoever asks for it."""

    def __init__(self, registry: Registry, max_bytes: int) -> None:
        self._registry = registry
        self._max_bytes = max_bytes

    def admit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> Request[StateT]:
        """The request of a caller.

        Raises ``ConfigurationError`` for an illegal name, ``ValidationError`` for a state that
        cannot cross the wire or is of another type, ``PayloadTooLargeError``.
        """
        if isinstance(processor, Processor):
            name = processor.name
        else:
            name = check_name(processor, "processor")
        if session_id is not None:
            check_name(session_id, "session")
        known = self._registry.find(name)
        if (
            known is not None
            and not isinstance(state, known.state_type)
            and isinstance(state, AppState)
        ):
            raise ValidationError(
                "state",
                f"is a {type(state).__qualname__}, but processor {name!r} takes a "
                f"{known.state_type.__qualname__}",
            )
        when = None if delay is None and at is None else _when(delay, at)
        is_chosen, is_named = execution_id is not None, session_id is not None
        execution_id = new_id() if execution_id is None else check_execution_id(execution_id)
        session_id = execution_id if session_id is None else session_id
        # What is sent names no session: who takes it knows in which one it runs.
        data = encode_state(in_session(state, ""), self._max_bytes, session_id=session_id)
        request = Request(name, state, data, execution_id, session_id, is_named, is_chosen, when)
        request.copy = request.given()  # unreadable: that is the caller's mistake too
        return request

    def admit_child(
        self, ctx: Context, name: str, state: StateT, *, is_named: bool
    ) -> Request[StateT]:
        """The request of a nested call; its id comes from its parent's, the same each time."""
        request = self.admit(name, state, ctx.session_id)
        request.execution_id = f"{ctx.execution_id}{ctx.next_call()}"
        request.is_named = is_named
        return request


def _when(delay: float | None, at: datetime | float | None) -> When | None:
    """When to begin; ``None``: at once. Raises ``ConfigurationError`` for what makes no sense."""
    if delay is not None and at is not None:
        raise ConfigurationError("give either delay or at, not both")
    if delay is not None:
        check_duration("delay", delay, zero=True)
        return When(delay=delay) if delay else None
    if at is None:
        return None
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ConfigurationError(f"at is {at!r}; give it a time zone, as in datetime.now(UTC)")
        at = at.timestamp()
    check_duration("at", at, zero=True)
    return When(at=at)


def id_taken(execution_id: str) -> ConfigurationError:
    """The error of an execution id that was used for something else."""
    return ConfigurationError(
        f"execution id {execution_id!r} was used for another processor or session; "
        "an id stands for one execution only"
    )


def check_same_work(earlier: Request[Any], request: Request[Any]) -> None:
    """Raise ``id_taken`` where two requests under one id are for different work."""
    same = (earlier.name, earlier.session_id) == (request.name, request.session_id)
    if not same or earlier.is_named != request.is_named:
        raise id_taken(request.execution_id)


def refusal(request: Request[StateT], error: AM2ZError) -> ProcessorResult[StateT]:
    """The result of work that never began."""
    return ProcessorResult(
        success=False,
        state=request.given(),
        error=error,
        metadata=ExecutionMetadata(
            processor_name=request.name,
            execution_id=request.execution_id,
            session_id=request.session_id,
        ),
    )


def session_stopped(session_id: str) -> SessionStoppedError:
    """The error of work in a stopped session."""
    return SessionStoppedError(
        f"session {session_id!r} was stopped; call clean_session({session_id!r}) to use it again",
        context={"session_id": session_id},
    )


def call_too_deep(name: str, limit: int) -> CallDepthExceededError:
    """The error of a nested call beyond ``max_call_depth``."""
    return CallDepthExceededError(
        f"calling {name!r} would be nested deeper than max_call_depth={limit}; look for processors "
        "that call each other in a circle, or raise the limit in RuntimeConfig",
        context={"max_call_depth": limit},
    )


def runtime_stopped(processor_name: str, *, stays: bool = False) -> RuntimeStoppedError:
    """The error of an execution that a stopping runtime could not wait for.

    ``stays``: the work is in a durable queue, and others will do it.
    """
    if stays:
        advice = "it stays in the queue, for other workers or for this one when it starts again"
    else:
        advice = "nothing was committed, so it may be submitted again"
    return RuntimeStoppedError(f"the runtime stopped before {processor_name!r} was done; {advice}")
