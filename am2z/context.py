"""What a processor is given beside its state."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, Protocol

import outcome
import trio

from am2z.errors import ConfigurationError, ExecutionCancelledError, ValidationError
from am2z.ids import check_name
from am2z.processor import Processor
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.state import StateT

__all__ = ["Context", "ContextHost", "Delivery", "ThreadContext"]


class Delivery:
    """An event on its way. It has been handed over; awaiting it waits until it was delivered.

    Awaiting is optional: do it where a processor emits so much that it should be slowed down.
    """

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()


class ContextHost(Protocol):
    """What a runtime does for the contexts of its executions."""

    async def call_from(self, ctx: Context, name: str, state: StateT) -> ProcessorResult[StateT]:
        """Run the processor ``name`` as a child of ``ctx``'s execution."""
        ...

    def emit_from(self, ctx: Context, /, event: str, data: Mapping[str, Any]) -> Delivery:
        """Emit an event of ``ctx``'s execution."""
        ...

    def progress_from(self, ctx: Context, /, percent: float) -> Delivery:
        """Note how far ``ctx``'s execution is."""
        ...

    @property
    def emitter(self) -> RuntimeEmitter:
        """The runtime's own ``emit``, for ``ctx.runtime``."""
        ...


class RuntimeEmitter(Protocol):
    """The part of a runtime that a processor sees as ``ctx.runtime``."""

    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> Delivery:
        """Emit an event of the runtime rather than of one execution."""
        ...


class Context:
    """Tells a processor which execution it serves, and what else it can do.

    - ``metadata``: name of the processor, execution and session, attempt (from 1), start time
    - ``deadline``: the moment on trio's clock at which the attempt is cancelled
    - ``call_depth``: 0 for an execution that a caller asked for, 1 for one that it called …
    - ``fence``: a number that grows with each delivery; let outside systems refuse smaller ones
    - ``idempotency_key``: the same for every attempt and delivery; hand it to outside systems
    - ``processor``: the definition; ``runtime``: has ``emit`` for events of the runtime itself
    """

    __slots__ = ("_calls", "_ended", "_host", "_lineage", "_log", "call_depth", "deadline", "fence",
                 "metadata", "path", "processor")  # fmt: skip

    def __init__(
        self,
        host: ContextHost,
        processor: Processor[Any],
        metadata: ExecutionMetadata,
        *,
        deadline: float = math.inf,
        call_depth: int = 0,
        fence: int = 0,
        path: str = "",
        lineage: str = "",
    ) -> None:
        self._host = host
        self._log: logging.LoggerAdapter[logging.Logger] | None = None
        self._ended = False
        self.processor = processor
        self.metadata = metadata
        self.deadline = deadline
        self.call_depth = call_depth
        self.fence = fence
        self.path = path
        self._lineage = lineage
        self._calls = 0

    @property
    def session_id(self) -> str:
        """The session of this execution."""
        return self.metadata.session_id

    @property
    def execution_id(self) -> str:
        """The id of this execution; the same in every attempt."""
        return self.metadata.execution_id

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt and delivery of this step, and in no other."""
        return f"{self.metadata.execution_id}{self.path}"

    @property
    def runtime(self) -> RuntimeEmitter:
        """The runtime, as far as a processor may use it."""
        return self._host.emitter

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that adds processor, execution and session to each record."""
        if self._log is None:
            meta = self.metadata
            self._log = logging.LoggerAdapter(
                logging.getLogger("am2z.processor"),
                {
                    "processor_name": meta.processor_name,
                    "execution_id": meta.execution_id,
                    "session_id": meta.session_id,
                    "attempt": meta.attempt,
                },
            )
        return self._log

    async def call(self, processor: Processor[Any] | str, state: StateT) -> ProcessorResult[StateT]:
        """Run another processor in the same session, as a child of this execution.

        The slot of this execution is free for others meanwhile. The child may take at most what is
        left until ``deadline``, and is cancelled with its parent. It commits nothing.

        Answers a failed result where the child fails, is unknown, or is called deeper than
        ``RuntimeConfig.max_call_depth``. Raises ``ExecutionCancelledError`` once this attempt is
        over, as it can be for a thread that was left behind.
        """
        self.check_running()
        name = processor.name if isinstance(processor, Processor) else processor
        check_name(name, "processor")
        return await self._host.call_from(self, name, state)

    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> Delivery:
        """Emit an event of your own; ``data`` must be able to cross the wire.

        Raises ``ConfigurationError`` for a name that the runtime keeps for itself or that is no
        name, and ``ValidationError`` for data that cannot cross.
        """
        check_event_name(event)
        if self._ended:
            return Delivery(trio.lowlevel.checkpoint)
        return self._host.emit_from(self, event, check_event_data(data))

    def update_progress(self, percent: float) -> Delivery:
        """Say how far this execution is, from 0 to 100. Raises ``ValidationError`` otherwise."""
        if isinstance(percent, bool) or not isinstance(percent, int | float):
            raise ValidationError("percent", "is not a number", repr(percent))
        if not 0 <= percent <= 100:
            raise ValidationError("percent", "give a number from 0 to 100", percent)
        if self._ended:
            return Delivery(trio.lowlevel.checkpoint)
        return self._host.progress_from(self, percent)

    def end(self) -> None:
        """The attempt is over: what is emitted from now on is dropped. Called by the executor."""
        self._ended = True

    def check_running(self) -> None:
        """Raise ``ExecutionCancelledError`` if the attempt is over."""
        if self._ended:
            meta = self.metadata
            raise ExecutionCancelledError(
                f"attempt {meta.attempt} of execution {meta.execution_id} is over, it can call "
                "nobody any more; do not keep a context for longer than its processor runs"
            )

    def step(
        self,
        label: str,
        processor: Processor[Any] | None = None,
        attempt: int = 1,
        deadline: float = math.inf,
    ) -> Context:
        """The context of one step inside this execution.

        ``processor`` is what runs in place. Without one the step is a call, and the context is this
        one under another path: steps that run at the same time must not take numbers in turn.
        """
        metadata = ExecutionMetadata(
            processor_name=processor.name if processor else self.metadata.processor_name,
            execution_id=self.metadata.execution_id,
            session_id=self.metadata.session_id,
            attempt=attempt,
            started_at=self.metadata.started_at,
        )
        return Context(
            self._host,
            processor or self.processor,
            metadata,
            deadline=min(deadline, self.deadline),
            call_depth=self.call_depth,
            fence=self.fence,
            path=f"{self.path}/s{label}",
            lineage=f"{self._lineage}/{self.metadata.attempt}s{label}",
        )

    def next_call(self) -> str:
        """The name of the next child of this execution: the same in every delivery.

        Every attempt above it is in the name, so that whatever is tried again calls afresh.
        """
        self._calls += 1
        return f"{self._lineage}/{self.metadata.attempt}-{self._calls}"


class ThreadContext:
    """The context of a plain ``def`` processor: the same, without ``await``, from its thread.

    What it calls runs in ``nursery``, which belongs to the attempt and is cancelled with it.
    """

    def __init__(self, ctx: Context, nursery: trio.Nursery) -> None:
        self._ctx = ctx
        self._nursery = nursery

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    def call(self, processor: Processor[Any] | str, state: StateT) -> ProcessorResult[StateT]:
        """As ``Context.call``; blocks this thread until the child is done."""
        return trio.from_thread.run(self._call, processor, state)

    async def _call(
        self, processor: Processor[Any] | str, state: StateT
    ) -> ProcessorResult[StateT]:
        # Trio runs this in a task of the system, since the thread may be left behind. Only the
        # waiting may happen there: the child itself is the attempt's.
        self._ctx.check_running()
        answer: outcome.Outcome[ProcessorResult[StateT]] | None = None
        done = trio.Event()

        async def run() -> None:
            nonlocal answer
            try:
                answer = outcome.Value(await self._ctx.call(processor, state))
            except Exception as error:
                answer = outcome.Error(error)
            finally:
                done.set()

        self._nursery.start_soon(run)
        await done.wait()
        if answer is None:  # cancelled, and the attempt with it
            self._ctx.end()
            self._ctx.check_running()
        assert answer is not None
        return answer.unwrap()

    @property
    def runtime(self) -> ThreadEmitter:
        """As ``Context.runtime``."""
        return ThreadEmitter(self._ctx.runtime)

    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> None:
        """As ``Context.emit``."""
        trio.from_thread.run_sync(self._ctx.emit, event, data)

    def update_progress(self, percent: float) -> None:
        """As ``Context.update_progress``."""
        trio.from_thread.run_sync(self._ctx.update_progress, percent)


class ThreadEmitter:
    """What a plain ``def`` processor sees as ``ctx.runtime``."""

    def __init__(self, emitter: RuntimeEmitter) -> None:
        self._emitter = emitter

    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> None:
        """As the runtime's own ``emit``."""
        trio.from_thread.run_sync(self._emitter.emit, event, data)


_RESERVED = ("processor:", "queue:", "session:", "runtime:", "metrics:", "resource:")


def check_event_name(event: object) -> str:
    """``event`` if users may emit it; the runtime's own prefixes are kept for the runtime."""
    name = check_name(event, "event")
    if name.startswith(_RESERVED):
        raise ConfigurationError(
            f"event {name!r} begins like one of the runtime's own; choose another prefix than "
            + ", ".join(_RESERVED)
        )
    return name


def check_event_data(data: object) -> Mapping[str, Any]:
    """Event data as a mapping (``None``: an empty one); raises ``ValidationError`` otherwise."""
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise ValidationError("data", "is not a mapping; give a dict of plain values", repr(data))
    return data
