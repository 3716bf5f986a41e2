"""Runs executions, from their acceptance over every attempt to their end."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from am2z import (
    AM2ZError,
    Context,
    DeadLetter,
    Delivery,
    Event,
    EventType,
    ExecutionCancelledError,
    ExecutionMetadata,
    ProcessorNotFoundError,
    ProcessorResult,
)
from am2z.authoring import (
    Outcome,
    Request,
    Slot,
    Slots,
    attempt,
    call_too_deep,
    copy_event,
    refusal,
    runtime_stopped,
    session_stopped,
    to_result,
    type_name,
)
from sqlite_runtime.work import Phase, Work

if TYPE_CHECKING:
    from sqlite_runtime.runtime import SqliteRuntime


class Engine:
    """The live executions of a runtime, and the host of their contexts."""

    def __init__(self, runtime: SqliteRuntime) -> None:
        self.live: dict[str, Work] = {}
        self.slots = Slots(runtime.config.concurrency)
        self.emitter = runtime
        self.fence = 0
        self._runtime = runtime
        self._waiting: Counter[str] = Counter()
        self._all_done = trio.lowlevel.ParkingLot()

    def begin(
        self,
        request: Request[Any],
        *,
        depth: int = 0,
        deadline: float = math.inf,
        is_old: bool = False,
    ) -> Work | AM2ZError:
        """A live execution, or the reason why there is none. ``is_old``: it was let in before."""
        runtime, ledger = self._runtime, self._runtime.ledger
        processor = runtime.find(request.name)
        if processor is None:
            return ProcessorNotFoundError(request.name, runtime.list_processors())
        if request.is_named and ledger.is_stopped(request.session_id):
            return session_stopped(request.session_id)
        slot = Slot(self.slots, processor)
        try:
            if not is_old:
                runtime.resources.check_process()
                queued = self._waiting[request.name] - max(self.slots.room(processor), 0)
                if depth == 0 and queued >= 0:
                    runtime.resources.check_queue(request.name, queued)
        except AM2ZError as error:
            return error
        counts_in = request.session_id if request.is_named else ""
        work = Work(request, processor, slot, depth=depth, deadline=deadline, counts_in=counts_in)
        if request.is_named:
            is_new = ledger.open(request.session_id)
            runtime.resources.register_session(request.session_id)
            if is_new:
                self.publish(EventType.SESSION_CREATED, "", request.session_id, "", {})
            ledger.sessions[request.session_id].live.add(work)
        self.live[request.execution_id] = work
        if request.when is not None and request.when.seconds() > 0:
            work.phase = "delayed"
        else:
            self._waiting[request.name] += 1
        runtime.resources.update_queue_size(request.name, self._waiting[request.name])
        return work

    async def run(self, work: Work) -> ProcessorResult[Any]:
        """An execution from its wait for a slot to its end."""
        try:
            with work.scope:
                return await self._attempts(work)
            assert work.verdict is not None
            return await self._fail(work, Outcome(None, work.verdict))
        except BaseException:
            if work.verdict is None:
                reason: AM2ZError = ExecutionCancelledError("the caller was cancelled")
                if not self._runtime.is_started:
                    reason = runtime_stopped(work.request.name, stays=True)
                work.end_with(reason, stays=not self._runtime.is_started)
            with trio.CancelScope(shield=True):
                await self._fail(work, Outcome(None, work.verdict))
            raise
        finally:
            work.slot.release()
            self.live.pop(work.request.execution_id, None)
            if (session := self._runtime.ledger.sessions.get(work.request.session_id)) is not None:
                session.live.discard(work)
                session.last_used = time.monotonic()
            self._enter(work, None)
            if not self.live:
                self._all_done.unpark_all()

    async def _attempts(self, work: Work) -> ProcessorResult[Any]:
        request, is_child = work.request, work.depth > 0
        await trio.lowlevel.checkpoint_if_cancelled()
        if request.when is not None:
            self._enter(work, "delayed")
            await trio.sleep(request.when.seconds())
        while True:
            if not work.slot.try_acquire(resuming=is_child):
                self._enter(work, "waiting")
                await work.slot.acquire(resuming=is_child)
            self._enter(work, "active")
            work.was_active = True
            ctx = self._context(work)
            self._tell(work, EventType.ACTIVE, {})
            outcome = await attempt(work.processor, request.given(), ctx)
            data = outcome.seal(self._runtime.config.max_payload_bytes)
            if work.verdict is not None:
                return await self._fail(work, Outcome(None, work.verdict), ctx.metadata)
            if data is not None:
                return await self._succeed(work, outcome, data, ctx.metadata)
            delay = await outcome.next_delay(work.processor, work.attempt)
            if delay is None:
                return await self._fail(work, outcome, ctx.metadata)
            self._tell(work, EventType.RETRYING, {"error": outcome.error, "delay": delay})
            work.attempt += 1
            work.progress = 0.0
            self._enter(work, "delayed")
            work.slot.release()
            await trio.sleep(delay)

    def _context(self, work: Work) -> Context:
        timeout = work.processor.timeout or self._runtime.config.default_timeout
        self.fence += 1
        return Context(
            self,
            work.processor,
            _metadata(work, time.time()),
            deadline=min(trio.current_time() + timeout, work.deadline),
            call_depth=work.depth,
            fence=self.fence,
        )

    async def _succeed(
        self, work: Work, outcome: Outcome[Any], data: bytes, metadata: ExecutionMetadata
    ) -> ProcessorResult[Any]:
        result = to_result(outcome, work.request.state, metadata)
        if work.depth > 0:
            self._runtime.ledger.count_child(work, failed=False)
        elif not await self._runtime.ledger.complete(work, result, data):
            stopped = session_stopped(work.request.session_id)
            return await self._fail(work, Outcome(None, work.verdict or stopped), metadata)
        told = {"execution_time": outcome.elapsed}
        self._tell(work, EventType.COMPLETED, told)
        self._tell(work, EventType.QUEUE_COMPLETED, told)
        return result

    async def _fail(
        self, work: Work, outcome: Outcome[Any], metadata: ExecutionMetadata | None = None
    ) -> ProcessorResult[Any]:
        error = outcome.error
        assert error is not None
        result = to_result(outcome, work.request.given(), metadata or _metadata(work))
        if work.depth > 0:
            self._runtime.ledger.count_child(work, failed=True)
        elif not work.stays:
            letter = None if work.verdict is not None else _letter(work.request, error)
            with trio.CancelScope(shield=True):
                await self._runtime.ledger.fail(work, result, letter)
        told = {"error": error}
        if work.was_active:
            self._tell(work, EventType.FAILED, told)
        self._tell(work, EventType.QUEUE_FAILED, told)
        return result

    def _enter(self, work: Work, phase: Phase | None) -> None:
        """Change the phase of an execution, and what is known of its queue with it."""
        name = work.request.name
        self._waiting[name] += (phase == "waiting") - (work.phase == "waiting")
        if phase is None:
            work.phase = "active"
        else:
            work.phase = phase
        self._runtime.resources.update_queue_size(name, self._waiting[name])

    def end_all(self) -> None:
        """The runtime stops: what nobody waits for in execute() goes on in its next life."""
        for work in list(self.live.values()):
            stays = work.depth == 0 and not work.has_caller
            work.end_with(runtime_stopped(work.request.name, stays=stays), stays=stays)

    async def wait_until_done(self) -> None:
        """Return when nothing is live any more."""
        while self.live:
            await self._all_done.park()

    # --- what contexts ask for (ContextHost)

    async def call_from(self, ctx: Context, name: str, state: Any) -> ProcessorResult[Any]:
        parent = self.live[ctx.execution_id]
        is_named = parent.request.is_named
        request = self._runtime.admission.admit_child(ctx, name, state, is_named=is_named)
        child: Work | AM2ZError
        if ctx.call_depth >= self._runtime.config.max_call_depth:
            child = call_too_deep(name, self._runtime.config.max_call_depth)
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

    def emit_from(self, ctx: Context, /, event: str, data: Mapping[str, Any]) -> Delivery:
        request = self.live[ctx.execution_id].request
        self.publish(
            event, request.execution_id, request.session_id, request.name, copy_event(data)
        )
        return Delivery(trio.lowlevel.checkpoint)

    def progress_from(self, ctx: Context, /, percent: float) -> Delivery:
        if (work := self.live.get(ctx.execution_id)) is not None:
            work.progress = percent
            self._tell(work, EventType.PROGRESS, {"percent": percent})
        return Delivery(trio.lowlevel.checkpoint)

    # --- events

    def _tell(self, work: Work, event: str, data: dict[str, Any]) -> None:
        request = work.request
        told = {**data, "attempt": work.attempt}
        self.publish(event, request.execution_id, request.session_id, request.name, told)

    def publish(
        self, event: str, execution_id: str, session_id: str, name: str, data: Mapping[str, Any]
    ) -> None:
        """Tell an event to whoever wants it."""
        self._runtime.publish(
            Event(
                type=event,
                execution_id=execution_id,
                session_id=session_id,
                processor_name=name,
                time=time.time(),
                data=data,
            )
        )


def _letter(request: Request[Any], error: AM2ZError) -> DeadLetter:
    return DeadLetter(
        execution_id=request.execution_id,
        processor_name=request.name,
        session_id=request.session_id if request.is_named else None,
        failed_at=time.time(),
        error=error,
        state_type=type_name(type(request.state)),
        data=request.data,
    )


def _metadata(work: Work, started_at: float = 0.0) -> ExecutionMetadata:
    request = work.request
    return ExecutionMetadata(
        processor_name=request.name,
        execution_id=request.execution_id,
        session_id=request.session_id,
        attempt=work.attempt,
        started_at=started_at,
    )
