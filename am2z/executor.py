"""One attempt of a processor, the same in every runtime: deadline, capture, by value.

The runtimes decide *when* an attempt happens and what becomes of its outcome; how it happens is
decided here, so that it cannot differ between them.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic

import msgspec
import trio

from am2z.codec import copy_state, decode_state, encode_state
from am2z.context import Context, ThreadContext
from am2z.errors import AM2ZError, ConfigurationError, ExecutionTimeoutError, to_am2z_error
from am2z.policy import RetryPolicy
from am2z.processor import Processor
from am2z.result import ExecutionMetadata, Failure, ProcessorResult, Success
from am2z.state import AppState, StateMetadata, StateT, in_session

__all__ = ["Outcome", "attempt", "run_step", "to_result", "unwrapped"]

NO_RETRY = RetryPolicy(max_attempts=1)

_log = logging.getLogger("am2z.processor")


class Outcome(msgspec.Struct, Generic[StateT], eq=False):
    """How one attempt ended: a new state, or an error with what was done by then."""

    state: StateT | None
    error: AM2ZError | None = None
    partial: StateT | None = None
    completed_steps: int = 0
    elapsed: float = 0.0

    def seal(self, limit: int | None = None) -> bytes | None:
        """The bytes of the new state, which becomes the one that a reader of them gets.

        What cannot cross the wire turns this into a failure. A partial state that cannot is left
        out: it is not worth a second error.
        """
        if self.state is None:
            self._seal_partial(limit)
            return None
        try:
            data = encode_state(self.state, limit)
            self.state = decode_state(type(self.state), data)
        except AM2ZError as error:
            self.state, self.error = None, error
            return None
        return data

    def _seal_partial(self, limit: int | None) -> None:
        if self.partial is not None:
            try:
                self.partial = copy_state(self.partial, limit)
            except AM2ZError:
                self.partial = None

    async def next_delay(self, processor: Processor[Any], attempt: int) -> float | None:
        """Seconds until this failure is tried again, or ``None`` if it is final.

        A hook of the policy that raises makes the failure final: its error becomes the outcome's,
        caused by the one it was asked about.
        """
        if self.error is None:
            return None
        try:
            return await (processor.retry or NO_RETRY).next_delay(self.error, attempt)
        except Exception as hook_error:
            broken = ConfigurationError(
                f"a retry hook of processor {processor.name!r} raised "
                f"{type(hook_error).__name__}: {hook_error}"
            )
            self.error = broken.with_cause(self.error)
            return None


async def attempt(
    processor: Processor[StateT],
    state: StateT,
    ctx: Context,
    new_scope: Callable[..., trio.CancelScope] = trio.CancelScope,
) -> Outcome[StateT]:
    """Run ``processor`` once on ``state``, until ``ctx.deadline`` at the latest.

    ``state`` must be the attempt's own copy. Whatever the processor raises or returns becomes an
    ``Outcome``; only cancellation from outside passes through.

    ``new_scope(deadline=…)`` is for a runtime that may have to stop the attempt, and must know its
    scope. Who cancels it knows why; the outcome is that of a timeout. (A second scope around the
    attempt would do the same, but a scope is the dearest part of an attempt.)
    """
    started = trio.current_time()
    outcome: Outcome[StateT]
    try:
        if processor.interruptible or "greenback" in sys.modules:  # which waits without an await
            with new_scope(deadline=ctx.deadline) as scope:
                outcome = _judge(processor, state, await _call(processor, state, ctx))
            if scope.cancelled_caught:
                outcome = Outcome(None, _timeout_error(processor, started, ctx))
        else:  # a scope could not stop it, and its deadline neither
            outcome = _judge(processor, state, await _call(processor, state, ctx))
    except Exception as error:
        raised = unwrapped(error)
        answer = raised if isinstance(raised, Failure) else Failure(raised)
        outcome = _judge(processor, state, answer)
    except BaseExceptionGroup as group:
        raise _cancellation(group, processor) from None
    finally:
        ctx.end()
    outcome.elapsed = trio.current_time() - started
    return outcome


def _call(processor: Processor[StateT], state: StateT, ctx: Context) -> Awaitable[Any]:
    if processor.in_thread:
        return _call_in_thread(processor, state, ctx)
    answer: Awaitable[Any] = processor.fn(state, ctx)  # type: ignore[assignment]  # it is no thread's
    return answer


async def _call_in_thread(processor: Processor[StateT], state: StateT, ctx: Context) -> Any:
    # The thread may outlive its deadline (a thread cannot be stopped); its answer is dropped.
    # A limiter of its own: trio's is shared by the process, and threads that wait for what they
    # called would use it up. How many threads there are is bounded by the slots.
    fn: Any = processor.fn
    limiter = trio.CapacityLimiter(1)
    async with trio.open_nursery() as nursery:
        try:
            return await trio.to_thread.run_sync(
                fn, state, ThreadContext(ctx, nursery), abandon_on_cancel=True, limiter=limiter
            )
        finally:
            ctx.end()  # before the nursery closes: a thread left behind must not use it


def _judge(processor: Processor[StateT], given: StateT, answer: Any) -> Outcome[StateT]:
    """The outcome that a processor's answer means."""
    if isinstance(answer, Success):
        answer = answer.state
    if isinstance(answer, AppState):
        return Outcome(_advance(given, answer))  # type: ignore[arg-type]  # checked on encoding
    if isinstance(answer, Failure):
        partial = answer.state
        if partial is not None:
            partial = in_session(partial, given.metadata.session_id)
        error = _adopt(answer.error, processor)
        return Outcome(None, error, partial=partial, completed_steps=answer.completed_steps)
    if isinstance(answer, ProcessorResult):
        if answer.error is None:
            return Outcome(_advance(given, answer.state))
        return Outcome(None, answer.error)
    return Outcome(
        None,
        ConfigurationError(
            f"processor {processor.name!r} returned {type(answer).__name__}; return the new state, "
            "Success(state) or Failure(error)"
        ),
    )


def _advance(given: StateT, new: StateT) -> StateT:
    """``new`` with a version beyond that of ``given``, in the same session.

    A processor may build its answer from nothing; versions grow all the same.
    """
    old, now = given.metadata, new.metadata
    if now.version > old.version and now.session_id == old.session_id:
        return new
    version = max(now.version, old.version + 1)
    if new is given:
        metadata = msgspec.structs.replace(old, version=version)
    else:
        metadata = StateMetadata(
            version=version,
            session_id=old.session_id,
            created_at=min(old.created_at, now.created_at),
            last_updated=max(old.last_updated, now.last_updated),
        )
    return msgspec.structs.replace(new, metadata=metadata)


def _adopt(error: BaseException, processor: Processor[Any]) -> AM2ZError:
    """The error of ours that stands for whatever a processor raised."""
    error = unwrapped(error)
    while isinstance(error, Failure):
        error = unwrapped(error.error)
    return to_am2z_error(error, where=f"processor {processor.name!r}")


def unwrapped(error: BaseException) -> BaseException:
    """The only exception in a group, or ``error``: a nursery wraps even a single one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _cancellation(
    group: BaseExceptionGroup[BaseException], processor: Processor[Any]
) -> BaseException:
    """What goes on of a group that is not made of errors alone.

    A processor with a nursery of its own answers a cancellation with a group of them, perhaps with
    errors of its cleaning up among them. Those are logged: nobody is left to hear of them.
    """
    cancelled, others = group.split(trio.Cancelled)
    if cancelled is None or (others is not None and not isinstance(others, ExceptionGroup)):
        return group
    if others is not None:
        _log.warning("processor %r failed while it was cancelled", processor.name, exc_info=others)
    leaf: BaseException = cancelled
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf


def _timeout_error(processor: Processor[Any], started: float, ctx: Context) -> AM2ZError:
    allowed = max(ctx.deadline - started, 0.0)
    return ExecutionTimeoutError(
        f"processor {processor.name!r} hit its timeout of {allowed:.3g} s; give it a larger "
        "`timeout`, or make it do less",
        context={"timeout": allowed, "attempt": ctx.metadata.attempt},
    )


async def run_step(
    ctx: Context, step: Processor[StateT] | str, state: StateT, label: str
) -> ProcessorResult[StateT]:
    """One step of a composition: a ``Processor`` runs in place, a name is called where it lives.

    In place, the step's own timeout and retry policy hold, inside the deadline of ``ctx``. A state
    that cannot cross to the step is the step's failure.
    """
    try:
        if isinstance(step, str):
            return await ctx.step(label).call(step, state)
        return await _run_in_place(ctx, step, state, label)
    except AM2ZError as error:
        return ProcessorResult(success=False, state=state, error=error, metadata=ctx.metadata)


async def _run_in_place(
    ctx: Context, step: Processor[StateT], state: StateT, label: str
) -> ProcessorResult[StateT]:
    number = 0
    while True:
        number += 1
        deadline = trio.current_time() + step.timeout if step.timeout else ctx.deadline
        inner = ctx.step(label, step, number, deadline)
        inner.metadata = _stamped(inner.metadata)
        outcome = await attempt(step, copy_state(state), inner)
        outcome.seal()
        delay = await outcome.next_delay(step, number)
        if delay is None:
            return to_result(outcome, state, inner.metadata)
        await trio.sleep(delay)


def to_result(
    outcome: Outcome[StateT], given: StateT, metadata: ExecutionMetadata
) -> ProcessorResult[StateT]:
    """An outcome as the caller sees it."""
    if outcome.completed_steps:
        metadata = msgspec.structs.replace(metadata, completed_steps=outcome.completed_steps)
    if outcome.error is None and outcome.state is not None:
        return ProcessorResult(
            success=True, state=outcome.state, execution_time=outcome.elapsed, metadata=metadata
        )
    return ProcessorResult(
        success=False,
        state=outcome.partial if outcome.partial is not None else given,
        error=outcome.error,
        execution_time=outcome.elapsed,
        metadata=metadata,
    )


def _stamped(metadata: ExecutionMetadata) -> ExecutionMetadata:
    return msgspec.structs.replace(metadata, started_at=time.time())
