"""Runs executions in this process: from their acceptance over every attempt to their end."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import trio

from am2z.admission import (
    Admission,
    Request,
    call_too_deep,
    refusal,
    runtime_stopped,
    session_stopped,
)
from am2z.bus import EventBus
from am2z.clock import wall_clock
from am2z.codec import checksum, copy_event
from am2z.config import RuntimeConfig
from am2z.context import Context, Delivery, RuntimeEmitter
from am2z.dead import DeadLetter
from am2z.errors import (
    AM2ZError,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    ProcessorNotFoundError,
)
from am2z.events import Event, EventType
from am2z.executor import Outcome, attempt, to_result
from am2z.local.dead import LocalDeadLetters
from am2z.local.execution import Execution, Phase
from am2z.local.sessions import SessionTable
from am2z.local.state import LocalStateManager
from am2z.registry import Registry
from am2z.resources import ResourceMonitor
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.slots import Slot, Slots
from am2z.state import StateT
from am2z.typenames import type_name

__all__ = ["Engine"]

_log = logging.getLogger("am2z.processor")


class Engine:
    """The executions of a ``LocalRuntime``, and the host of their contexts."""

    def __init__(
        self,
        emitter: RuntimeEmitter,
        config: RuntimeConfig,
        registry: Registry,
        admission: Admission,
        resources: ResourceMonitor,
        bus: EventBus,
        store: LocalStateManager,
        sessions: SessionTable,
        dead: LocalDeadLetters,
        *,
        is_accepting: Callable[[], bool],
    ) -> None:
        self.emitter = emitter
        self.slots = Slots(config.concurrency)
        self.executions: dict[str, Execution] = {}
        self.waiting: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._config = config
        self._registry = registry
        self._admission = admission
        self._resources = resources
        self._bus = bus
        self._store = store
        self._sessions = sessions
        self._dead = dead
        self._is_accepting = is_accepting
        self._all_done = trio.lowlevel.ParkingLot()
        self._fence = 0

    def begin(
        self, request: Request[Any], *, depth: int = 0, deadline: float = math.inf
    ) -> Execution | AM2ZError:
        """A live execution, or the reason why there is none.

        ``run`` it before anything is awaited, or let it ``wait``.
        """
        processor = self._registry.find(request.name)
        if processor is None:
            return ProcessorNotFoundError(request.name, self._registry.names())
        session = None
        if request.is_named and self._sessions.is_stopped(request.session_id):
            return session_stopped(request.session_id)
        slot = Slot(self.slots, processor)
        waiting = self.waiting.get(request.name, 0)
        try:
            self._resources.check_process()
            # Those who were let in a moment ago and have not begun take the free slots first.
            if depth == 0 and waiting:
                queued = waiting - max(self.slots.room(processor), 0)
                if queued >= 0:
                    self._resources.check_queue(request.name, queued)
        except AM2ZError as error:
            return error
        if request.is_named:
            session, is_new = self._sessions.open(request.session_id)
            self._resources.register_session(request.session_id)
            if is_new:
                self.publish(EventType.SESSION_CREATED, "", request.session_id, "", {})
        execution = Execution(request, processor, slot, session, depth, deadline)
        self.executions[request.execution_id] = execution
        self._resources.update_queue_size(request.name, waiting)  # known now
        if session is not None:
            session.live.add(execution)
        return execution

    def wait(self, execution: Execution) -> None:
        """The execution will be ``run`` later, by another task: it counts as waiting until then."""
        when = execution.request.when
        is_delayed = when is not None and when.seconds() > 0
        self._enter(execution, "delayed" if is_delayed else "waiting")

    async def run(self, execution: Execution) -> ProcessorResult[Any]:
        """An execution from its wait for a slot to its end."""
        try:
            return await self._attempts(execution)
        except BaseException:
            # The caller or the whole runtime was cancelled: leave a true record.
            reason: AM2ZError = ExecutionCancelledError("the caller was cancelled")
            if not self._is_accepting():
                reason = runtime_stopped(execution.request.name)
            execution.verdict = execution.verdict or reason
            self._fail(execution, Outcome(None, execution.verdict))
            raise
        finally:
            execution.slot.release()
            self.executions.pop(execution.request.execution_id, None)
            if execution.session is not None:
                execution.session.live.discard(execution)
                execution.session.last_used = trio.current_time()
            self._enter(execution, "done")
            if self._all_done and not self.executions:
                self._all_done.unpark_all()

    async def _attempts(self, execution: Execution) -> ProcessorResult[Any]:
        request, processor = execution.request, execution.processor
        is_child = execution.depth > 0  # what is under way is finished before anything new begins
        await trio.lowlevel.checkpoint_if_cancelled()
        if request.when is not None:
            await self._pause(execution, request.when.seconds())
        while not execution.is_stopped():
            if not execution.slot.try_acquire(resuming=is_child):
                self._enter(execution, "waiting")
                with execution.scope():
                    await execution.slot.acquire(resuming=is_child)
                if execution.is_stopped():
                    break
            self._enter(execution, "active")
            execution.was_active = True
            ctx = self._context(execution)
            self._tell(execution, EventType.ACTIVE, {})
            outcome = await attempt(processor, request.given(), ctx, execution.scope)
            execution.elapsed = outcome.elapsed
            if execution.is_stopped():  # however it took that
                if not isinstance(outcome.error, ExecutionTimeoutError | None):
                    lost = outcome.error
                    _log.warning("%r failed while it was stopped", request.name, exc_info=lost)
                outcome = Outcome(None, execution.verdict, elapsed=outcome.elapsed)
                return self._fail(execution, outcome, ctx.metadata)
            data = outcome.seal(self._config.max_payload_bytes)
            if data is not None:
                return self._succeed(execution, outcome, data, ctx.metadata)
            delay = None
            with execution.scope():
                delay = await outcome.next_delay(processor, execution.attempt)
            if execution.is_stopped():
                break
            if delay is None:
                return self._fail(execution, outcome, ctx.metadata)
            self._tell(execution, EventType.RETRYING, {"error": outcome.error, "delay": delay})
            execution.attempt += 1
            execution.progress = 0.0
            execution.slot.release()
            await self._pause(execution, delay)
        return self._fail(execution, Outcome(None, execution.verdict))

    async def _pause(self, execution: Execution, seconds: float) -> None:
        self._enter(execution, "delayed")
        with execution.scope():
            await trio.sleep(seconds)

    def _enter(self, execution: Execution, phase: Phase) -> None:
        """Change the phase of an execution, and what is known of its queue with it."""
        change = (phase == "waiting") - (execution.phase == "waiting")
        execution.phase = phase
        if change:
            name = execution.request.name
            self.waiting[name] += change
            self._resources.update_queue_size(name, self.waiting[name])

    def _context(self, execution: Execution) -> Context:
        request, processor = execution.request, execution.processor
        deadline = trio.current_time() + (processor.timeout or self._config.default_timeout)
        self._fence += 1
        return Context(
            self,
            processor,
            ExecutionMetadata(
                processor_name=request.name,
                execution_id=request.execution_id,
                session_id=request.session_id,
                attempt=execution.attempt,
                started_at=wall_clock(),
            ),
            deadline=min(deadline, execution.deadline),
            call_depth=execution.depth,
            fence=self._fence,
        )

    def _succeed(
        self, execution: Execution, outcome: Outcome[Any], data: bytes, metadata: ExecutionMetadata
    ) -> ProcessorResult[Any]:
        """Commit and answer. No checkpoint between the two: either both happen or none."""
        request = execution.request
        state = outcome.state
        assert state is not None
        if execution.session is not None and execution.depth == 0:
            self._store.commit(request.session_id, state, data, checksum(data))
        self.completed[request.name] += 1
        if execution.session is not None:
            execution.session.completed[request.name] += 1
        told = {"execution_time": outcome.elapsed}
        self._tell(execution, EventType.COMPLETED, told)
        self._tell(execution, EventType.QUEUE_COMPLETED, told)
        return to_result(outcome, request.state, metadata)

    def _fail(
        self,
        execution: Execution,
        outcome: Outcome[Any],
        metadata: ExecutionMetadata | None = None,
    ) -> ProcessorResult[Any]:
        """Answer a failure for good; the committed state stays as it was."""
        request = execution.request
        self.failed[request.name] += 1
        if execution.depth == 0 and execution.verdict is None and outcome.error is not None:
            self._bury(request, outcome.error)
        if execution.session is not None:
            execution.session.failed[request.name] += 1
        told = {"error": outcome.error}
        if execution.was_active:
            self._tell(execution, EventType.FAILED, told)
        self._tell(execution, EventType.QUEUE_FAILED, told)
        return to_result(outcome, request.given(), metadata or _metadata(execution))

    def _bury(self, request: Request[Any], error: AM2ZError) -> None:
        self._dead.bury(
            DeadLetter(
                execution_id=request.execution_id,
                processor_name=request.name,
                session_id=request.session_id if request.is_named else None,
                failed_at=wall_clock(),
                error=error,
                state_type=type_name(type(request.state)),
                data=request.data,
            )
        )

    def end_all(self) -> None:
        """End everything that is left: the runtime stops."""
        for execution in list(self.executions.values()):
            execution.end_with(runtime_stopped(execution.request.name))

    async def wait_until_done(self) -> None:
        """Return when nothing is live any more."""
        while self.executions:
            await self._all_done.park()

    # --- what contexts ask for (ContextHost)

    async def call_from(self, ctx: Context, name: str, state: StateT) -> ProcessorResult[StateT]:
        """Run a child in the same task, on a slot of its own."""
        parent = self.executions[ctx.execution_id]
        request = self._admission.admit_child(ctx, name, state, is_named=parent.request.is_named)
        child: Execution | AM2ZError
        if ctx.call_depth >= self._config.max_call_depth:
            child = call_too_deep(name, self._config.max_call_depth)
        else:
            child = self.begin(request, depth=ctx.call_depth + 1, deadline=ctx.deadline)
        if isinstance(child, AM2ZError):
            await trio.lowlevel.checkpoint()
            return refusal(request, child)
        child.slot.queue_up()
        parent.slot.lend()
        try:
            return await self.run(child)
        finally:
            await parent.slot.take_back()

    def emit_from(self, ctx: Context, event: str, data: Mapping[str, Any]) -> Delivery:
        """Publish a processor's own event; its data crosses by value, as everywhere."""
        request = self.executions[ctx.execution_id].request
        self.publish(
            event, request.execution_id, request.session_id, request.name, copy_event(data)
        )
        return Delivery(trio.lowlevel.checkpoint)

    def progress_from(self, ctx: Context, percent: float) -> Delivery:
        """Note and publish how far an execution is."""
        execution = self.executions.get(ctx.execution_id)
        if execution is not None:
            execution.progress = percent
            self._tell(execution, EventType.PROGRESS, {"percent": percent})
        return Delivery(trio.lowlevel.checkpoint)

    # --- events

    def _tell(self, execution: Execution, event: str, data: dict[str, Any]) -> None:
        """Publish an event of an execution's life, if anybody wants it."""
        if self._bus.is_listening and self._bus.wants(event):
            request = execution.request
            data["attempt"] = execution.attempt
            self.publish(event, request.execution_id, request.session_id, request.name, data)

    def publish(
        self,
        event: str,
        execution_id: str,
        session_id: str,
        processor_name: str,
        data: Mapping[str, Any],
    ) -> None:
        if self._bus.is_listening:
            self._bus.publish(
                Event(
                    type=event,
                    execution_id=execution_id,
                    session_id=session_id,
                    processor_name=processor_name,
                    time=wall_clock(),
                    data=data,
                )
            )


def _metadata(execution: Execution) -> ExecutionMetadata:
    request = execution.request
    return ExecutionMetadata(
        processor_name=request.name,
        execution_id=request.execution_id,
        session_id=request.session_id,
        attempt=execution.attempt,
    )
