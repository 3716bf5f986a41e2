"""The handle of an execution that was submitted to a ``QueueRuntime``."""

from __future__ import annotations

import logging
from typing import Generic

import trio

from am2z.admission import Request, refusal
from am2z.errors import AM2ZError
from am2z.queue.inbox import Inbox, Pending
from am2z.queue.node import RECOVERABLE, Node, network_errors
from am2z.queue.payload import progress_at_end, read_result
from am2z.queue.stream import EventReader
from am2z.queue.wire import Finished
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.runtime import CANCEL_GRACE
from am2z.state import StateT

__all__ = ["QueueHandle"]

_log = logging.getLogger("am2z.replies")


class QueueHandle(Generic[StateT]):
    """See ``ExecutionHandle``."""

    def __init__(
        self,
        request: Request[StateT],
        node: Node,
        inbox: Inbox,
        events: EventReader,
        pending: Pending,
    ) -> None:
        self._request = request
        self._node = node
        self._inbox = inbox
        self._events = events
        self.pending = pending
        self._result: ProcessorResult[StateT] | None = None
        self._progress = 0.0

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self._request.execution_id

    async def result(self) -> ProcessorResult[StateT]:
        """See ``ExecutionHandle.result``."""
        ended = await self.pending.wait()
        if self._result is None:
            self._result = self._read(ended)
        if isinstance(ended, Finished):
            await self._events.caught_up(ended.event_id)
        return self._result

    async def progress(self) -> float:
        """See ``ExecutionHandle.progress``."""
        with network_errors(self._node.client.safe_url):
            protocol = self._node.protocol
            [look] = await protocol.look([self.execution_id])
            if look.finished is not None and look.finished.body is None:  # too long for a look
                [look] = await protocol.look([self.execution_id], whole=True)
        if look.finished is not None:
            self._progress = progress_at_end(look.finished, self._progress)
        elif look.progress is not None:
            self._progress = look.progress
        return self._progress

    async def cancel(self) -> None:
        """See ``ExecutionHandle.cancel``."""
        if self.pending.finished is None:
            with network_errors(self._node.client.safe_url):
                await self._node.protocol.cancel(self.execution_id)
        await self.pending.wait()

    async def abandon(self) -> None:
        """The caller is gone: end the execution if that is quickly done, and wait for nothing."""
        self.detach()
        await withdraw(self._node, self.execution_id)

    def detach(self) -> None:
        """Nobody waits here any more; the execution goes on."""
        self._inbox.forget(self.pending)

    def refuse(self, error: AM2ZError) -> None:
        """The execution was never accepted."""
        self._inbox.forget(self.pending)
        self.pending.resolve(error)

    def _read(self, ended: Finished | BaseException) -> ProcessorResult[StateT]:
        request = self._request
        if isinstance(ended, AM2ZError):
            return refusal(request, ended)
        assert isinstance(ended, Finished)
        metadata = ExecutionMetadata(
            processor_name=request.name,
            execution_id=request.execution_id,
            session_id=request.session_id,
        )
        return read_result(ended, request.given(), metadata)


async def withdraw(node: Node, execution_id: str) -> None:
    """Cancel an execution that nobody wants any more, also while we are cancelled ourselves.

    For a bounded time only: one that is not reached in it runs in vain, and does no harm.
    """
    with trio.CancelScope(shield=True, deadline=node.until(CANCEL_GRACE)):
        try:
            await node.protocol.cancel(execution_id)
        except RECOVERABLE as error:
            _log.warning("%s could not be cancelled: %s", execution_id, error)
