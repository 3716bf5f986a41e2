"""One delivery of an execution, and how it is slowed down, held back or cancelled."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Generator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import outcome
import trio

from am2z import AppState, Context, Delivery, ExecutionMetadata, Processor, ProcessorResult
from am2z.authoring import StateT
from harness.strict.findings import Assumption, Journal

if TYPE_CHECKING:
    from harness.strict.jumping import Jumper

__all__ = [
    "Copy",
    "CopyContext",
    "Hold",
    "Parent",
    "Steps",
    "copy_of",
    "current_copy",
    "entered",
    "metadata_of",
    "parent",
]

_current: ContextVar[Copy | None] = ContextVar("am2z_strict_copy", default=None)
_parent: ContextVar[Parent | None] = ContextVar("am2z_strict_parent", default=None)


REASON = "this copy was cancelled by a StrictRuntime"
_TELLS_REASONS = "reason" in inspect.signature(trio.CancelScope.cancel).parameters


class Parent:
    """What a child is told by the copy that calls it: its id, and its time."""

    def __init__(self, copy: Copy, execution_id: str, deadline: float) -> None:
        self.copy = copy
        self.execution_id = execution_id
        self.deadline = deadline


class Hold:
    """Stops a copy at one of its checkpoints, until it is released or a while has passed."""

    def __init__(self, at: int, patience: float) -> None:
        self.at = at
        self.reached = trio.Event()
        self.has_struck = False
        self._patience = patience
        self._released = trio.Event()

    def release(self) -> None:
        """Let it go on."""
        self._released.set()

    async def wait(self) -> None:
        """The copy waits here. Not for ever: it may hold a lock that its successor needs."""
        self.has_struck = True
        self.reached.set()
        with trio.CancelScope(shield=True), trio.move_on_after(self._patience):
            await self._released.wait()


class Copy:
    """One delivery of an execution: what was done to it, and what came of it."""

    def __init__(
        self,
        processor: str,
        execution_id: str,
        *,
        hostility: str,
        journal: Journal,
        above: Copy | None = None,
        jumper: Jumper,
        hold: Hold | None = None,
        pauses: random.Random | None = None,
    ) -> None:
        self.processor = processor
        self.execution_id = execution_id
        self.hostility = hostility
        self.journal = journal
        self.above = above
        self.jumper = jumper
        self.hold = hold
        self.pauses = pauses
        self.scope = trio.CancelScope()
        self.steps = 0
        """How often the processor's own task went through a checkpoint."""
        self.was_cancelled = False
        """Whether a Cancelled of ours was given to its task."""
        self.has_returned = False
        self.answer: AppState | None = None
        """The state as the processor returned it, before anything was done to it."""

    def cancel(self) -> None:
        """End it, in such a way that one can tell that it was us."""
        if _TELLS_REASONS:
            self.scope.cancel(reason=REASON)
        else:
            self.scope.cancel()

    def note(self, assumption: Assumption, seen: str = "") -> None:
        """This copy showed that its processor assumes something."""
        self.journal.note(self.processor, assumption, self.hostility, seen)


def current_copy() -> Copy | None:
    """The copy that the code which asks belongs to; threads of a copy know it, too."""
    return _current.get()


def copy_of(task: trio.lowlevel.Task) -> Copy | None:
    """The copy that a task belongs to."""
    return task.context.get(_current)


def parent() -> Parent | None:
    """Who calls, where a nested call is about to begin."""
    return _parent.get()


class entered:  # noqa: N801 - reads like a function
    """What runs in the block, and every task that it starts, belongs to ``copy``."""

    def __init__(self, copy: Copy | None) -> None:
        self._copy = copy

    def __enter__(self) -> None:
        self._tokens = _current.set(self._copy), _parent.set(None)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._tokens[0])
        _parent.reset(self._tokens[1])


class Steps:
    """An awaitable around a processor's own, which looks at each of its checkpoints.

    The pauses come when a checkpoint is over, never between a wish to wait and the wait.
    """

    def __init__(self, work: Awaitable[Any], copy: Copy) -> None:
        self.work = work
        self._copy = copy
        self.is_pausing = False

    def __await__(self) -> Generator[Any, Any, Any]:
        inner, value = self.work.__await__(), None
        while True:
            try:
                message = inner.send(value)  # type: ignore[attr-defined,unused-ignore]  # a coroutine's
            except StopIteration as stop:
                return stop.value
            self._copy.steps += 1
            value = yield message
            if self._is_our_cancellation(value):
                self._copy.was_cancelled = True
            else:
                self.is_pausing = True
                yield from self._pause().__await__()
                self.is_pausing = False

    def _is_our_cancellation(self, value: object) -> bool:
        """A sleep ends by a Cancelled of its own. Older trio does not tell whose one is."""
        if not isinstance(value, outcome.Error) or not isinstance(value.error, trio.Cancelled):
            return False
        return self._copy.scope.cancel_called and getattr(value.error, "reason", REASON) == REASON

    async def _pause(self) -> None:
        copy = self._copy
        if copy.hold is not None and copy.steps == copy.hold.at:
            await copy.hold.wait()
        if copy.pauses is not None:
            with trio.CancelScope(shield=True):
                await trio.sleep(copy.pauses.uniform(0, 0.001))


class CopyContext(Context):
    """The context that a copy is given: it passes on to the execution's own, and notices misuse."""

    __slots__ = ("copy", "outer")

    def __init__(self, outer: Context, copy: Copy, processor: Processor[Any], **kw: Any) -> None:
        super().__init__(_Host(outer, copy), processor, **kw)
        self.outer = outer
        self.copy = copy

    async def call(self, processor: Processor[Any] | str, state: StateT) -> ProcessorResult[StateT]:
        """See ``Context.call``."""
        self._look("called another processor")
        return await super().call(processor, state)

    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> Delivery:
        """See ``Context.emit``."""
        self._look(f"emitted {event!r}")
        return super().emit(event, data)

    def update_progress(self, percent: float) -> Delivery:
        """See ``Context.update_progress``."""
        self._look("told its progress")
        return super().update_progress(percent)

    def _look(self, what: str) -> None:
        if self.copy.has_returned:
            self.copy.note(Assumption.CONTEXT_LIVES, what)


class _Host:
    """What the context of a copy asks for is asked of the execution that it is a copy of."""

    def __init__(self, outer: Context, copy: Copy) -> None:
        self._outer = outer
        self._copy = copy

    async def call_from(self, ctx: Context, name: str, state: StateT) -> ProcessorResult[StateT]:
        """Every copy calls its children by the same ids."""
        child_id = f"{ctx.execution_id}{ctx.next_call()}"
        token = _parent.set(Parent(self._copy, child_id, ctx.deadline))
        jumper, is_thread = self._copy.jumper, ctx.processor.in_thread
        jumper.calling_threads += is_thread
        try:
            return await self._outer.call(name, state)
        finally:
            jumper.calling_threads -= is_thread
            _parent.reset(token)

    def emit_from(self, ctx: Context, /, event: str, data: Mapping[str, Any]) -> Delivery:  # noqa: ARG002 - see below
        """See ``ContextHost``. ``ctx`` is the copy's; what it tells is the execution's own."""
        return self._outer.emit(event, data)

    def progress_from(self, ctx: Context, /, percent: float) -> Delivery:  # noqa: ARG002 - see below
        """See ``ContextHost``."""
        return self._outer.update_progress(percent)

    @property
    def emitter(self) -> Any:
        """See ``ContextHost``."""
        return self._outer.runtime


def metadata_of(outer: Context, execution_id: str, attempt: int) -> ExecutionMetadata:
    """What a copy is told about itself."""
    meta = outer.metadata
    return ExecutionMetadata(
        processor_name=meta.processor_name,
        execution_id=execution_id,
        session_id=meta.session_id,
        attempt=attempt,
        started_at=meta.started_at,
    )
