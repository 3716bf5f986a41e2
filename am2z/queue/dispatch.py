"""The calling half of a runtime: hands executions over and sees that their callers are answered."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import trio

from am2z.admission import AT_ONCE, Admission, Request, id_taken, runtime_stopped, session_stopped
from am2z.errors import (
    AM2ZError,
    ConfigurationError,
    ProcessorNotFoundError,
    ResourceError,
    RuntimeStoppedError,
)
from am2z.queue.handle import QueueHandle, withdraw
from am2z.queue.inbox import Inbox, Pending
from am2z.queue.maintenance import Maintenance
from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node, network_errors
from am2z.queue.payload import Job
from am2z.queue.protocol import Parent, Submission
from am2z.queue.sender import Sender
from am2z.queue.stream import EventReader
from am2z.queue.wire import CancelAnswer, EnqueueAnswer, Enqueued
from am2z.registry import Registry
from am2z.resources import ResourceMonitor
from am2z.state import StateT
from am2z.typenames import type_name

__all__ = ["Dispatch"]

_log = logging.getLogger("am2z.replies")

LOOK_UP = 3.0
"""How long a stopping runtime may take to look its callers up, in seconds."""

SETTLE = 2.0
"""Seconds after a new connection for which workers may not have said yet that they are there."""

_FINISHED = CancelAnswer.FINISHED
_UNSERVED = EnqueueAnswer.UNSERVED


class Dispatch:
    """Enqueues for callers and for executions that call others."""

    def __init__(
        self,
        node: Node,
        sender: Sender,
        inbox: Inbox,
        events: EventReader,
        registry: Registry,
        admission: Admission,
        resources: ResourceMonitor,
        maintenance: Maintenance,
        *,
        shards: int = 1,
    ) -> None:
        self.admission = admission
        self._node = node
        self._sender = sender
        self._inbox = inbox
        self._events = events
        self._registry = registry
        self._resources = resources
        self._maintenance = maintenance
        self._is_closed = False
        self._shards = shards
        self._settled_at = -math.inf
        node.client.on_reconnect.append(self._reconnected)

    def _reconnected(self) -> None:
        self._settled_at = trio.current_time() + SETTLE

    async def submit(self, request: Request[StateT], *, is_transient: bool) -> QueueHandle[StateT]:
        """Enqueue for a caller. ``is_transient``: nobody but this caller wants the result."""
        handle = await self.enqueue(request, is_transient=is_transient)
        assert handle is not None  # only a child can lose its parent
        return handle

    async def enqueue(
        self,
        request: Request[StateT],
        *,
        is_transient: bool = True,
        depth: int = 0,
        budget: float | None = None,
        parent: Parent | None = None,
    ) -> QueueHandle[StateT] | None:
        """Put an execution into the queue; ``None`` where its parent is not ours any more."""
        await self._events.ready()
        handle = self._expect(request, is_transient=is_transient, is_child=depth > 0)
        if self._is_closed:
            handle.refuse(runtime_stopped(request.name))
            return handle
        try:
            if depth == 0:
                self._resources.check_process()
            [enqueued] = await self._send([self._submission(request, depth, budget, parent)])
        except AM2ZError as error:
            handle.refuse(error)
            return handle
        except trio.Cancelled:
            handle.detach()
            # A chosen id may be somebody else's execution too, and a child's parent knows best.
            if parent is None and not request.is_chosen:
                await self.withdraw(request.execution_id)  # it may have been accepted just now
            raise
        if enqueued.answer is EnqueueAnswer.MISMATCH and parent is None:
            handle.detach()
            raise id_taken(request.execution_id)
        if enqueued.answer is EnqueueAnswer.ORPHAN:
            handle.detach()
            return None
        if refused := self._refusal(request, enqueued.answer, enqueued.waiting):
            handle.refuse(refused)
            return handle
        self._accept(request, handle.pending, enqueued)
        is_told = isinstance(handle.pending.finished, RuntimeStoppedError)
        if is_transient and is_told and parent is None:
            # While we asked the runtime stopped, and answered the caller: nobody waits any more.
            await self.withdraw(request.execution_id)
        return handle

    def _accept(self, request: Request[Any], pending: Pending, enqueued: Enqueued) -> None:
        pending.is_accepted = True
        if enqueued.finished is not None:
            self._inbox.take_soon(enqueued.finished)
            return
        if enqueued.answer is EnqueueAnswer.OK:  # the others do not tell
            self._resources.update_queue_size(request.name, enqueued.waiting * self._shards)
        if request.is_named:
            self._resources.register_session(request.session_id)

    def close(self) -> None:
        """Take nothing more: whoever is answered from now on would never hear of the end."""
        self._is_closed = True

    async def submit_many(self, requests: Sequence[Request[StateT]]) -> list[QueueHandle[StateT]]:
        """Enqueue for a caller who wants many at once; their ids are new."""
        await self._events.ready()
        handles = [self._expect(request) for request in requests]
        if self._is_closed:
            for handle, request in zip(handles, requests, strict=True):
                handle.refuse(runtime_stopped(request.name))
            return handles
        try:
            self._resources.check_process()
            answers = await self._send([self._submission(request) for request in requests])
        except AM2ZError as error:
            for handle in handles:
                handle.refuse(error)
            return handles
        except trio.Cancelled:
            await self._withdraw_all(handles)
            raise
        for handle, request, enqueued in zip(handles, requests, answers, strict=True):
            if refused := self._refusal(request, enqueued.answer, enqueued.waiting):
                handle.refuse(refused)
            else:
                self._accept(request, handle.pending, enqueued)
        return handles

    async def _withdraw_all(self, handles: Sequence[QueueHandle[Any]]) -> None:
        """The caller is gone; some of these may have been accepted just now."""
        with trio.CancelScope(shield=True):  # each is bounded by itself
            async with trio.open_nursery() as nursery:
                for handle in handles:
                    nursery.start_soon(handle.abandon)

    def _expect(
        self, request: Request[StateT], *, is_transient: bool = False, is_child: bool = False
    ) -> QueueHandle[StateT]:
        """Wait for what is about to be enqueued: its answer may be there before our own."""
        pending = self._inbox.expect(
            request.execution_id, request.name, is_transient=is_transient, is_child=is_child
        )
        return QueueHandle(request, self._node, self._inbox, self._events, pending)

    def _submission(
        self,
        request: Request[Any],
        depth: int = 0,
        budget: float | None = None,
        parent: Parent | None = None,
    ) -> Submission:
        name = type_name(type(request.state))
        job = Job(name, request.data, depth, budget)
        when = request.when or AT_ONCE
        return Submission(
            request.execution_id,
            request.name,
            job.encode(),
            session_id=request.session_id if request.is_named else None,
            delay=when.delay,
            at=when.at,
            max_deliveries=self._node.config.max_deliveries,
            reply_to=self._node.runtime_id,
            need_served=self._registry.find(request.name) is None,
            parent=parent,
            max_queue=self.most_waiting if parent is None else 0,
        )

    async def _send(self, submissions: Sequence[Submission]) -> list[Enqueued]:
        with network_errors(self._node.client.safe_url):
            if self._maintenance.has_withdrawn and any(one.need_served for one in submissions):
                await self._maintenance.announce()  # or our own word would deceive us
            answers = await self._sender.enqueue(submissions)
            while trio.current_time() < self._settled_at:
                unserved = [n for n, one in enumerate(answers) if one.answer is _UNSERVED]
                if not unserved:
                    break
                await trio.sleep(RETRY_PAUSE)
                again = await self._sender.enqueue([submissions[n] for n in unserved])
                for n, answer in zip(unserved, again, strict=True):
                    answers[n] = answer
            return answers

    @property
    def most_waiting(self) -> int:
        """How many may wait for one processor here: this shard's part of the limit."""
        return math.ceil(self._resources.limits.max_queue_size / self._shards)

    async def withdraw(self, execution_id: str) -> None:
        """End an execution that nobody wants any more, if that is quickly done."""
        await withdraw(self._node, execution_id)

    def _refusal(
        self, request: Request[Any], answer: EnqueueAnswer, waiting: int
    ) -> AM2ZError | None:
        """The error that an answer to ``enqueue`` means; ``None`` where it was accepted."""
        if answer is EnqueueAnswer.STOPPED:
            return session_stopped(request.session_id)
        if answer is _UNSERVED:
            return ProcessorNotFoundError(request.name, self._registry.names())
        if answer is EnqueueAnswer.MISMATCH:
            return ConfigurationError(
                f"execution {request.execution_id} called something else when it ran before; a "
                "processor that calls others must make the same calls in the same order each time"
            )
        if answer is EnqueueAnswer.FULL:
            try:
                # Here so many wait, and about as many in each of the other shards.
                self._resources.check_queue(request.name, waiting * self._shards)
            except ResourceError as error:
                return error
        return None

    async def answer_callers(self) -> None:
        """Tell the callers that are left that we stop.

        What was submitted stays in the queue for others; what somebody waited for is cancelled.
        What runs here and waits for its own calls is no caller: it is given back with its calls,
        and an answer would make it fail instead.
        """
        try:
            with trio.move_on_at(self._node.until(LOOK_UP)):
                for pending in self._callers():
                    if pending.is_transient:
                        pending.if_cancelled = runtime_stopped(pending.processor_name)
                        if await self._node.protocol.cancel(pending.execution_id) is _FINISHED:
                            await self._inbox.look_up([pending.execution_id])
                    self._answer(pending)
        except RECOVERABLE as error:
            _log.warning("waiting callers could not be looked up: %s", error)
        finally:  # also when the whole farewell is over: nobody is left without an answer
            for pending in self._callers():
                self._answer(pending)

    def _callers(self) -> list[Pending]:
        return [pending for pending in self._inbox.waiting if not pending.is_child]

    def _answer(self, pending: Pending) -> None:
        stays = not pending.is_transient
        pending.resolve(runtime_stopped(pending.processor_name, stays=stays))
        self._inbox.forget(pending)
