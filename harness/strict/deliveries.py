"""One execution on a ``StrictRuntime``: delivers it as often as the plan wants."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from am2z import AppState, Context, ExecutionCancelledError, Failure, Processor, Success
from am2z.authoring import Outcome, attempt, copy_state
from harness.strict.copies import (
    Copy,
    CopyContext,
    Hold,
    Steps,
    entered,
    metadata_of,
    parent,
)
from harness.strict.findings import Assumption
from harness.strict.surroundings import Running
from harness.strict.wire import changed_by_the_wire, differing_outcomes

if TYPE_CHECKING:
    from harness.strict.runtime import StrictRuntime

__all__ = ["Deliveries", "wrapped"]

NEVER = 1e9
"""A timeout for what has none of its own, in seconds."""


def wrapped(processor: Processor[Any], runtime: StrictRuntime) -> Processor[Any]:
    """A processor of the same name that runs ``processor`` as the runtime's plan wants."""

    async def hostile(state: AppState, ctx: Context) -> Any:
        outcome = await Deliveries(processor, state, ctx, runtime).run()
        if outcome.error is not None:
            return Failure(
                outcome.error, state=outcome.partial, completed_steps=outcome.completed_steps
            )
        return Success(outcome.state)

    return replace(processor, fn=hostile, timeout=NEVER, dependencies=(), in_thread=False)


class Deliveries:
    """The deliveries of one attempt of an execution."""

    def __init__(
        self, processor: Processor[Any], state: AppState, ctx: Context, runtime: StrictRuntime
    ) -> None:
        above = parent() if ctx.call_depth else None
        self.processor = processor
        self._state = state
        self._ctx = ctx
        self._runtime = runtime
        self._above = above
        self._id = above.execution_id if above is not None else ctx.execution_id
        self._number = 0
        self._begun = trio.Event()
        timeout = processor.timeout or runtime.config.default_timeout
        self._timeout = timeout

    @property
    def may_retry(self) -> bool:
        """Whether the processor's policy would allow another attempt."""
        retry = self.processor.retry
        return retry is not None and self._ctx.metadata.attempt < retry.max_attempts

    async def run(self) -> Outcome[Any]:
        """Deliver it as the plan wants, and answer how it ended."""
        try:
            return await self._runtime.plan_for(self._ctx)(self)
        finally:
            self._begun.set()

    async def line_up(self, pause: float) -> None:
        """Begin a little later, but not before those of the same line that came earlier."""
        lines = self._runtime.lines
        await lines.wait(self.processor.name, self._ctx.session_id, self._begun, pause)

    def compare(self, one: Outcome[Any], two: Outcome[Any], why: str) -> Outcome[Any]:
        """The later of two outcomes that have to be the same."""
        name, journal = self.processor.name, self._runtime.journal
        ignore = self._runtime.ignore
        if one.error is None and two.error is not None:
            seen = f"{type(two.error).__name__}: {two.error}"
            journal.note(name, Assumption.SUCCEEDS_AGAIN, why, seen)
        elif seen := differing_outcomes(one, two, ignore, ids=(self._id, self._id)):
            journal.note(name, Assumption.RESULT_IS_REPEATABLE, why, seen)
        return two

    async def deliver(
        self,
        why: str,
        *,
        later: int = 0,
        cancel_at: int | None = None,
        hold: Hold | None = None,
        pauses: random.Random | None = None,
    ) -> Outcome[Any]:
        """Run it once. A delivery that was cancelled answers with ``ExecutionCancelledError``."""
        self._number += 1
        above, watch = self._above, self._runtime.watch
        if above is None:
            self._runtime.last_hostility = why
        copy = Copy(
            self.processor.name,
            self._id,
            hostility=why,
            journal=self._runtime.journal,
            above=above.copy if above is not None else None,
            jumper=self._runtime.jumper,
            hold=hold,
            pauses=pauses,
        )
        deadline = trio.current_time() + self._timeout
        inner = CopyContext(
            self._ctx,
            copy,
            self.processor,
            metadata=metadata_of(self._ctx, self._id, self._ctx.metadata.attempt + later),
            deadline=min(deadline, above.deadline) if above is not None else deadline,
            call_depth=self._ctx.call_depth,
            fence=self._ctx.fence * 16 + self._number,
        )
        before = Running()
        watch.follow(copy, cancel_at)
        outcome: Outcome[Any] = Outcome(None, ExecutionCancelledError("this copy was cancelled"))
        self._begun.set()
        with entered(copy), copy.scope:
            outcome = await attempt(self._observed(copy), copy_state(self._state), inner)
        watch.forget(copy)
        self._runtime.has_struck |= cancel_at is not None and copy.scope.cancel_called
        self._runtime.has_struck |= hold is not None and hold.has_struck
        self._judge(copy, before)
        if copy.scope.cancelled_caught:
            return outcome
        outcome.seal(self._runtime.config.max_payload_bytes)
        return outcome

    def _judge(self, copy: Copy, before: Running) -> None:
        """What this delivery tells of its processor."""
        if copy.was_cancelled and not copy.scope.cancelled_caught:
            copy.note(Assumption.FINISHES)
        if not copy.has_returned:
            return
        for left in before.since(copy):
            copy.note(Assumption.CLEANS_UP, left)
        if copy.answer is not None and (path := changed_by_the_wire(copy.answer)):
            copy.note(Assumption.STATE_CROSSES, path)

    def _observed(self, copy: Copy) -> Processor[Any]:
        """The processor, with an eye on what it returns and on each of its checkpoints."""
        fn: Any = self.processor.fn

        def took(answer: Any) -> Any:
            copy.has_returned = True
            state = getattr(answer, "state", answer)
            copy.answer = state if isinstance(state, AppState) else None
            return answer

        def in_thread(state: AppState, ctx: Any) -> Any:
            return took(fn(state, ctx))

        async def on_loop(state: AppState, ctx: Context) -> Any:
            return took(await Steps(fn(state, ctx), copy))

        return replace(self.processor, fn=in_thread if self.processor.in_thread else on_loop)
