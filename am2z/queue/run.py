"""One execution on a worker, from its claim to its end."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from am2z.admission import call_too_deep, refusal
from am2z.clock import wall_clock
from am2z.codec import checksum, decode_named_state
from am2z.context import Context, Delivery, RuntimeEmitter
from am2z.errors import AM2ZError, ExecutionCancelledError
from am2z.executor import Outcome, attempt
from am2z.processor import Processor
from am2z.queue.dispatch import Dispatch
from am2z.queue.handle import QueueHandle
from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node, will_pass
from am2z.queue.outbox import Outbox
from am2z.queue.payload import Ending, Job, call_hash, root_of
from am2z.queue.protocol import Parent, Report, StateWrite
from am2z.queue.stream import pack_event, pack_failure
from am2z.queue.wire import Claimed
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.slots import Slot
from am2z.state import StateT, in_session
from am2z.typenames import type_name

__all__ = ["Run"]

_log = logging.getLogger("am2z.worker")

GIVE_BACK = 2.0
"""How long a stopping worker may take to give one execution back, in seconds."""


REFUSALS = 4
"""So often Redis may refuse a report, for what will not pass by itself, before it is given up."""


class Run:
    """An execution that this worker holds; the host of its context."""

    def __init__(
        self,
        node: Node,
        dispatch: Dispatch,
        emitter: RuntimeEmitter,
        claimed: Claimed,
        processor: Processor[Any],
        slot: Slot,
        nursery: trio.Nursery,
        on_call: Callable[[Slot], None],
        before_return: Callable[[], Awaitable[None]],
    ) -> None:
        self.emitter = emitter
        self.claimed = claimed
        self.slot = slot
        self.report: Report | None = None
        """How it ended, for Redis; ``None`` while it runs, and where there is nothing to tell."""
        # Shielded: a worker that ends gives back what it holds, one by one. So a call that is
        # cancelled knows whether its execution goes to another worker or only lost patience.
        self.scope = trio.CancelScope(shield=True)
        self._node = node
        self._dispatch = dispatch
        self._processor = processor
        self.refusals = 0
        """How often Redis has refused its report."""
        self._nursery = nursery
        self._outbox: Outbox | None = None
        self._on_call = on_call
        self._before_return = before_return
        self._is_lost = False
        self._progress = 0.0

    def lose(self) -> None:
        """It belongs to somebody else now, or to nobody: stop, and say nothing."""
        self._is_lost = True
        self.scope.cancel()

    def give_back(self) -> None:
        """This worker stops: let another one run it."""
        self.scope.cancel()

    async def run(self) -> None:
        """Run one attempt and report how it ended."""
        with self.scope:
            await trio.lowlevel.checkpoint_if_cancelled()  # given back before it began
            await self._run()
        if self.scope.cancelled_caught and not self._is_lost:
            await self._return()

    async def _run(self) -> None:
        await self.slot.acquire()
        try:
            job = Job.decode(self.claimed.payload)
            state = decode_named_state(job.type_name, job.data, self._processor.state_type)
        except AM2ZError as error:
            metadata = self._context(None).metadata
            await self._end(Outcome(None, error), None, metadata, commits=False)
            return
        ctx = self._context(job)
        # What runs again by another id has another session, unless its session has a name.
        outcome = await attempt(self._processor, in_session(state, ctx.session_id), ctx)
        data = outcome.seal(self._node.config.max_payload_bytes)
        commits = self.claimed.session_id is not None and job.depth == 0
        await self._end(outcome, data, ctx.metadata, commits=commits)

    def _context(self, job: Job | None) -> Context:
        claimed, processor = self.claimed, self._processor
        timeout = processor.timeout or self._node.config.default_timeout
        budget = job.budget if job is not None and job.budget is not None else math.inf
        return Context(
            self,
            processor,
            ExecutionMetadata(
                processor_name=claimed.processor,
                execution_id=claimed.id,
                session_id=claimed.session_id or root_of(claimed.id),
                attempt=claimed.attempt,
                started_at=wall_clock(),
            ),
            deadline=trio.current_time() + min(timeout, budget),
            call_depth=job.depth if job is not None else 0,
            fence=claimed.fence,
        )

    # --- the end of an attempt

    async def _end(
        self,
        outcome: Outcome[Any],
        data: bytes | None,
        metadata: ExecutionMetadata,
        *,
        commits: bool,
    ) -> None:
        claimed = self.claimed
        if self._outbox is not None:
            await self._outbox.flush()
        if data is not None:
            assert outcome.state is not None
            write = None
            if commits:
                ttl = self._node.config.state_ttl or 0
                name = type_name(type(outcome.state))
                write = StateWrite(data, checksum(data), name, ttl)
            ending = Ending.of(outcome, data, metadata, self._progress).encode()
            told = pack_event({"execution_time": outcome.elapsed})
            self.report = Report(
                claimed.id, claimed.fence, success=True, body=ending, event_data=told, state=write
            )
            return
        delay = await outcome.next_delay(self._processor, claimed.attempt)
        assert outcome.error is not None
        if delay is None:
            ending = Ending.of(outcome, None, metadata, self._progress).encode()
            told = pack_failure(outcome.error)
            self.report = Report(
                claimed.id, claimed.fence, success=False, body=ending, event_data=told
            )
        else:
            told = pack_failure(outcome.error, delay=delay)
            await self._insist(
                lambda: self._node.protocol.nack(
                    claimed.id, claimed.fence, retry=True, delay=delay, event_data=told
                )
            )

    async def _insist(self, report: Callable[[], Awaitable[object]]) -> None:
        """Report until Redis has heard it; the fence makes it safe to say it twice.

        What Redis refuses again and again is given up: then its lease ends, and it runs again.
        """
        refusals = 0
        while True:
            try:
                await report()
            except RECOVERABLE as error:
                refusals += not will_pass(error)
                if refusals >= REFUSALS:
                    _log.error(
                        "execution %s cannot report and is given up; it runs again when its lease "
                        "has ended: %s", self.claimed.id, error,
                    )  # fmt: skip
                    return
                _log.warning("execution %s cannot report: %s", self.claimed.id, error)
                await trio.sleep(RETRY_PAUSE)
            else:
                return

    async def _return(self) -> None:
        with trio.CancelScope(shield=True, deadline=self._node.until(GIVE_BACK)):
            await self._before_return()
            try:
                await self._node.protocol.nack(
                    self.claimed.id, self.claimed.fence, retry=False, event_data=pack_event({})
                )
            except RECOVERABLE as error:
                # Its lease ends soon, and then another worker takes it all the same.
                _log.warning("%s could not be given back: %s", self.claimed.id, error)

    # --- what the context asks for (ContextHost)

    async def call_from(self, ctx: Context, name: str, state: StateT) -> ProcessorResult[StateT]:
        """Enqueue a child and wait for it, on nobody's slot."""
        dispatch, limit = self._dispatch, self._node.config.max_call_depth
        is_named = self.claimed.session_id is not None
        request = dispatch.admission.admit_child(ctx, name, state, is_named=is_named)
        if ctx.call_depth >= limit:
            await trio.lowlevel.checkpoint()
            return refusal(request, call_too_deep(name, limit))
        parent = Parent(self.claimed.id, self.claimed.fence, call_hash(name, state))
        budget = max(ctx.deadline - trio.current_time(), 0.001)
        self.slot.lend()
        self._on_call(self.slot)
        handle: QueueHandle[StateT] | None = None
        try:
            handle = await dispatch.enqueue(
                request, depth=ctx.call_depth + 1, budget=budget, parent=parent
            )
            if handle is None:
                # Our own lease is gone, and with it every right to call.
                self.lose()
                await trio.lowlevel.checkpoint()  # it ends here, if it does not shield itself
                raise ExecutionCancelledError(
                    f"execution {self.claimed.id} is not ours any more, so it can call nobody"
                )
            return await handle.result()
        except trio.Cancelled:
            if handle is not None:
                handle.detach()
            # Where only the call was cancelled its child has no use any more. Where all of this
            # execution is given back, the child must be there when it runs again.
            if not self.scope.cancel_called:
                await dispatch.withdraw(request.execution_id)
            raise
        finally:
            await self.slot.take_back()

    def emit_from(self, _ctx: Context, event: str, data: Mapping[str, Any]) -> Delivery:
        """Publish a processor's own event, for as long as the execution is ours."""
        return self._send("custom", pack_event(dict(data)), name=event)

    def progress_from(self, _ctx: Context, percent: float) -> Delivery:
        """Note and publish how far the execution is."""
        self._progress = percent
        return self._send("progress", pack_event({"percent": percent}), progress=percent)

    def _send(
        self, kind: str, data: bytes, *, name: str = "", progress: float | None = None
    ) -> Delivery:
        claimed, protocol = self.claimed, self._node.protocol
        if self._outbox is None:
            self._outbox = Outbox(self._node, self._nursery)
        return self._outbox.put(
            lambda: protocol.emit(
                claimed.id, claimed.fence, kind, data, name=name, progress=progress
            )
        )
