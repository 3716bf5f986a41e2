"""The runtime that runs processors in this process, on trio."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar

import trio

from am2z.admission import Request, call_too_deep, refusal, runtime_stopped, session_stopped
from am2z.base import BaseRuntime
from am2z.capabilities import Capability
from am2z.clock import wall_clock
from am2z.codec import checksum, copy_event
from am2z.config import RuntimeConfig
from am2z.context import Context, Delivery
from am2z.dead import DeadLetter
from am2z.errors import (
    AM2ZError,
    ExecutionCancelledError,
    ProcessorNotFoundError,
)
from am2z.events import Event, EventType
from am2z.executor import Outcome, attempt, to_result
from am2z.ids import check_name
from am2z.local.dead import LocalDeadLetters
from am2z.local.execution import Execution, Phase
from am2z.local.handle import LocalHandle
from am2z.local.locks import LocalLocks
from am2z.local.remembered import Remembered
from am2z.local.sessions import SessionTable
from am2z.local.state import LocalStateManager
from am2z.resources import ResourceLimits
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.runtime import ProcessorRef
from am2z.slots import Slot, Slots
from am2z.state import StateT
from am2z.stats import QueueStats, RuntimeStats
from am2z.typenames import type_name

__all__ = ["LocalRuntime"]


class LocalRuntime(BaseRuntime):
    """Runs processors in this process. The twin of ``QueueRuntime`` that you test with.

    ::

        async with LocalRuntime() as runtime:
            runtime.register(price)
            result = await runtime.execute(price, Order(items=["chair"]))
    """

    component: ClassVar[str] = "local_runtime"
    capabilities = frozenset({Capability.PRIORITY, Capability.VIRTUAL_TIME})

    def __init__(
        self, *, config: RuntimeConfig | None = None, limits: ResourceLimits | None = None
    ) -> None:
        super().__init__(config=config, limits=limits)
        self._store = LocalStateManager(
            max_bytes=self.config.max_payload_bytes, ttl=self.config.state_ttl
        )
        self._sessions = SessionTable(self.limits.session_ttl)
        self._lock_table = LocalLocks()  # for good: blocks of before a stop may still be ending
        self._slots = Slots(self.config.concurrency)
        self._executions: dict[str, Execution] = {}
        self._all_done = trio.lowlevel.ParkingLot()
        self._completed: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._fence = 0
        self._remembered = Remembered(self.config.result_ttl)
        self._dead = LocalDeadLetters(self._resubmit)

    @property
    def dead(self) -> LocalDeadLetters:
        """See ``RuntimeCore.dead``."""
        return self._dead

    @property
    def state(self) -> LocalStateManager:
        """See ``RuntimeCore.state``."""
        return self._store

    # --- work

    async def execute(
        self, processor: ProcessorRef[StateT], state: StateT, session_id: str | None = None
    ) -> ProcessorResult[StateT]:
        """See ``Runtime.execute``. It runs in the caller's task, and is cancelled with it."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        request = self._admission.admit(processor, state, session_id)
        execution = self._begin(request)
        if isinstance(execution, AM2ZError):
            return refusal(request, execution)
        return await self._run(execution)

    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> LocalHandle[StateT]:
        """See ``RuntimeCore.submit``."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._require_started()
        request = self._admission.admit(
            processor, state, session_id, execution_id=execution_id, delay=delay, at=at
        )
        handle = self._submit(request)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return handle

    def _submit(self, request: Request[StateT]) -> LocalHandle[StateT]:
        if (known := self._remembered.find(request)) is not None:
            return known
        execution = self._begin(request)
        if isinstance(execution, AM2ZError):
            handle = LocalHandle[StateT](request.execution_id, None)
            handle.resolve(refusal(request, execution))
            return handle
        handle = LocalHandle[StateT](request.execution_id, execution)
        self._remembered.keep(request, handle)

        async def run() -> None:
            try:
                handle.resolve(await self._run(execution))
            except BaseException:
                # The runtime's block failed; whoever waits outside of it must learn so.
                handle.resolve(refusal(request, runtime_stopped(request.name)))
                raise
            finally:
                self._remembered.ended(request)

        assert self._nursery is not None
        self._nursery.start_soon(run, name=f"execution {request.execution_id}")
        return handle

    async def _resubmit(self, letter: DeadLetter, execution_id: str) -> None:
        """Hand a dead letter over again."""
        self._require_started()
        request = self._admission.admit(
            letter.processor_name, letter.state(), letter.session_id, execution_id=execution_id
        )
        handle = self._submit(request)
        if handle.refused is not None:
            raise handle.refused

    def _begin(
        self, request: Request[Any], *, depth: int = 0, deadline: float = math.inf
    ) -> Execution | AM2ZError:
        """A live execution, or the reason why there is none."""
        processor = self._registry.find(request.name)
        if processor is None:
            return ProcessorNotFoundError(request.name, self._registry.names())
        session = None
        if request.is_named and self._sessions.is_stopped(request.session_id):
            return session_stopped(request.session_id)
        slot = Slot(self._slots, processor)
        try:
            self.resources.check_process()
            # Those who were let in a moment ago and have not begun take the free slots first.
            queued = self._waiting[request.name] - max(self._slots.room(processor), 0)
            if depth == 0 and queued >= 0:
                self.resources.check_queue(request.name, queued)
        except AM2ZError as error:
            return error
        if request.is_named:
            session, is_new = self._sessions.open(request.session_id)
            self.resources.register_session(request.session_id)
            if is_new:
                self._publish(EventType.SESSION_CREATED, "", request.session_id, "", {})
        execution = Execution(request, processor, slot, session, depth=depth, deadline=deadline)
        self._executions[request.execution_id] = execution
        self._waiting[request.name] += 1
        self.resources.update_queue_size(request.name, self._waiting[request.name])
        if session is not None:
            session.live.add(execution)
        return execution

    def _enter(self, execution: Execution, phase: Phase) -> None:
        """Change the phase of an execution, and what is known of its queue with it."""
        change = (phase == "waiting") - (execution.phase == "waiting")
        execution.phase = phase
        if change or phase == "waiting":  # it was let in as waiting, and now it really does
            name = execution.request.name
            self._waiting[name] += change
            self.resources.update_queue_size(name, self._waiting[name])

    async def _run(self, execution: Execution) -> ProcessorResult[Any]:
        """An execution from its wait for a slot to its end."""
        try:
            with execution.scope:
                return await self._attempts(execution)
            assert execution.verdict is not None
            return self._fail(execution, Outcome(None, execution.verdict))
        except BaseException:
            # The caller or the whole runtime was cancelled: leave a true record.
            reason: AM2ZError = ExecutionCancelledError("the caller was cancelled")
            if not self._accepting:
                reason = runtime_stopped(execution.request.name)
            execution.verdict = execution.verdict or reason
            self._fail(execution, Outcome(None, execution.verdict))
            raise
        finally:
            execution.slot.release()
            self._executions.pop(execution.request.execution_id, None)
            if execution.session is not None:
                execution.session.live.discard(execution)
                execution.session.last_used = trio.current_time()
            self._enter(execution, "done")
            if not self._executions:
                self._all_done.unpark_all()

    async def _attempts(self, execution: Execution) -> ProcessorResult[Any]:
        request, processor = execution.request, execution.processor
        is_child = execution.depth > 0  # what is under way is finished before anything new begins
        await trio.lowlevel.checkpoint_if_cancelled()
        if request.when is not None:
            self._enter(execution, "delayed")
            await trio.sleep(request.when.seconds())
        while True:
            if not execution.slot.try_acquire(resuming=is_child):
                self._enter(execution, "waiting")
                await execution.slot.acquire(resuming=is_child)
            self._enter(execution, "active")
            execution.was_active = True
            ctx = self._context(execution)
            self._tell(execution, EventType.ACTIVE, {})
            outcome = await attempt(processor, request.given(), ctx)
            execution.elapsed = outcome.elapsed
            if execution.verdict is not None:  # stopped, however it took that
                outcome = Outcome(None, execution.verdict, elapsed=outcome.elapsed)
                return self._fail(execution, outcome, ctx.metadata)
            data = outcome.seal(self.config.max_payload_bytes)
            if data is not None:
                return self._succeed(execution, outcome, data, ctx.metadata)
            delay = await outcome.next_delay(processor, execution.attempt)
            if delay is None:
                return self._fail(execution, outcome, ctx.metadata)
            self._tell(execution, EventType.RETRYING, {"error": outcome.error, "delay": delay})
            execution.attempt += 1
            self._enter(execution, "delayed")
            execution.slot.release()
            await trio.sleep(delay)

    def _context(self, execution: Execution) -> Context:
        request, processor = execution.request, execution.processor
        timeout = processor.timeout or self.config.default_timeout
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
            deadline=min(trio.current_time() + timeout, execution.deadline),
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
        self._completed[request.name] += 1
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
        self._failed[request.name] += 1
        if execution.depth == 0 and execution.verdict is None and outcome.error is not None:
            self._bury(request, outcome.error)
        if execution.session is not None:
            execution.session.failed[request.name] += 1
        told = {"error": outcome.error}
        if execution.was_active:
            self._tell(execution, EventType.FAILED, told)
        self._tell(execution, EventType.QUEUE_FAILED, told)
        return to_result(outcome, request.given(), metadata or self._metadata(execution))

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

    # --- what contexts ask for (ContextHost)

    async def call_from(self, ctx: Context, name: str, state: StateT) -> ProcessorResult[StateT]:
        """Run a child in the same task, on a slot of its own."""
        parent = self._executions[ctx.execution_id]
        request = self._admission.admit_child(ctx, name, state, is_named=parent.request.is_named)
        child: Execution | AM2ZError
        if ctx.call_depth >= self.config.max_call_depth:
            child = call_too_deep(name, self.config.max_call_depth)
        else:
            child = self._begin(request, depth=ctx.call_depth + 1, deadline=ctx.deadline)
        if isinstance(child, AM2ZError):
            await trio.lowlevel.checkpoint()
            return refusal(request, child)
        child.slot.queue_up()
        parent.slot.lend()
        try:
            return await self._run(child)
        finally:
            await parent.slot.take_back()

    def emit_from(self, ctx: Context, event: str, data: Mapping[str, Any]) -> Delivery:
        """Publish a processor's own event; its data crosses by value, as everywhere."""
        request = self._executions[ctx.execution_id].request
        self._publish(
            event, request.execution_id, request.session_id, request.name, copy_event(data)
        )
        return Delivery(trio.lowlevel.checkpoint)

    def progress_from(self, ctx: Context, percent: float) -> Delivery:
        """Note and publish how far an execution is."""
        execution = self._executions.get(ctx.execution_id)
        if execution is not None:
            execution.progress = percent
            self._tell(execution, EventType.PROGRESS, {"percent": percent})
        return Delivery(trio.lowlevel.checkpoint)

    # --- events

    def _tell(self, execution: Execution, event: str, data: dict[str, Any]) -> None:
        """Publish an event of an execution's life, if anybody wants it."""
        if self._bus.wants(event):
            request = execution.request
            data["attempt"] = execution.attempt
            self._publish(event, request.execution_id, request.session_id, request.name, data)

    def _publish(
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

    def _publish_runtime_event(self, event: str, data: Mapping[str, Any]) -> Delivery:
        self._publish(event, "", "", "", copy_event(data))
        return Delivery(trio.lowlevel.checkpoint)

    # --- life

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[None]:
        self._locks = self._lock_table
        for session_id in self._sessions.names():
            self.resources.register_session(session_id)  # those of the life before, if any
        try:
            yield
        finally:
            self._locks = None
            self._lock_table.end()
            for execution in list(self._executions.values()):
                execution.end_with(runtime_stopped(execution.request.name))

    async def _drain(self) -> None:
        """See ``BaseRuntime._drain``."""
        with trio.move_on_after(self.config.shutdown_grace):
            await self._wait_until_done()
        for execution in list(self._executions.values()):
            execution.end_with(runtime_stopped(execution.request.name))
        await self._wait_until_done()

    async def _wait_until_done(self) -> None:
        while self._executions:
            await self._all_done.park()

    async def sync_processors(self) -> None:
        """See ``RuntimeCore.sync_processors``. Here a registration takes part at once."""
        self._require_started()
        await trio.lowlevel.checkpoint()

    # --- sessions and statistics

    async def stop_session(self, session_id: str) -> None:
        """See ``RuntimeCore.stop_session``."""
        self._require_started()
        check_name(session_id, "session")
        await trio.lowlevel.checkpoint()
        self._stop_session(session_id)

    def _stop_session(self, session_id: str) -> None:
        live, is_new = self._sessions.stop(session_id)
        for execution in live:
            execution.end_with(session_stopped(session_id))
        self.resources.unregister_session(session_id)
        self._store.expire(session_id, self.limits.session_ttl)
        if is_new:
            self._publish(EventType.SESSION_STOPPED, "", session_id, "", {})

    async def clean_session(self, session_id: str) -> None:
        """See ``RuntimeCore.clean_session``."""
        self._require_started()
        check_name(session_id, "session")
        await trio.lowlevel.checkpoint()
        if session_id in self._sessions.names():
            self._stop_session(session_id)
        self._sessions.clean(session_id)
        self._store.forget(session_id)

    async def active_sessions(self) -> list[str]:
        """See ``RuntimeCore.active_sessions``."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        return self._sessions.names()

    async def session_stats(self, session_id: str) -> dict[str, QueueStats]:
        """See ``RuntimeCore.session_stats``."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        return self._sessions.stats(session_id)

    async def queue_stats(self) -> dict[str, QueueStats]:
        """See ``RuntimeCore.queue_stats``."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        live: dict[str, Counter[str]] = {}
        for execution in self._executions.values():
            live.setdefault(execution.request.name, Counter())[execution.phase] += 1
        names = {*self._registry.names(), *self._completed, *self._failed, *live}
        return {
            name: QueueStats(
                **live.get(name, Counter()),
                completed=self._completed[name],
                failed=self._failed[name],
            )
            for name in sorted(names)
        }

    async def stats(self) -> RuntimeStats:
        """See ``RuntimeCore.stats``."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        phases = Counter(execution.phase for execution in self._executions.values())
        return RuntimeStats(
            registered_processors=len(self._registry),
            waiting=phases["waiting"],
            active=phases["active"],
            running=self._slots.active,
            completed=self._completed.total(),
            failed=self._failed.total(),
            active_sessions=len(self._sessions.names()),
            uptime=self._uptime,
        )

    async def _idle_sessions(self) -> list[str]:
        return self._sessions.idle()

    @staticmethod
    def _metadata(execution: Execution) -> ExecutionMetadata:
        request = execution.request
        return ExecutionMetadata(
            processor_name=request.name,
            execution_id=request.execution_id,
            session_id=request.session_id,
            attempt=execution.attempt,
        )
