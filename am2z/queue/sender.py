"""Hands executions over to Redis: many in one exchange where many are asked for at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import trio

from am2z.queue.bell import Bell
from am2z.queue.client.faults import ClientClosedError, copied
from am2z.queue.client.waiter import Waiter
from am2z.queue.node import RECOVERABLE, Node
from am2z.queue.protocol import Submission
from am2z.queue.wire import Enqueued

__all__ = ["Sender"]

MOST_AT_ONCE = 128
"""So many executions go into one exchange: Redis serves others meanwhile."""
MOST_BYTES = 1024 * 1024
"""With so many bytes of payloads an exchange is full."""


class Sender:
    """What is asked for while an exchange is under way goes into the next one.

    A lone caller waits for nobody, not even for a task of ours: it sends by itself. A thousand at
    once cost a few exchanges.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: deque[tuple[Submission, Waiter]] = deque()
        self._to_do = Bell()
        self._is_sending = False
        self._is_over = False
        self._lone_caller = trio.CancelScope()

    async def enqueue(self, submissions: Sequence[Submission]) -> list[Enqueued]:
        """See ``Protocol.enqueue_many``; raises the first error of several exchanges.

        Cancelled before something was sent, it never is.
        """
        if self._is_over:
            raise ClientClosedError("the runtime has stopped")
        if len(submissions) == 1 and not self._is_sending and not self._waiting:
            return await self._send_alone(submissions)
        entries = [(submission, Waiter()) for submission in submissions]
        self._waiting.extend(entries)
        if not self._is_sending:
            self._to_do.ring()
        try:
            replies = [await waiter.wait() for _, waiter in entries]
        except trio.Cancelled:
            ours = {id(entry) for entry in entries}
            self._waiting = deque(entry for entry in self._waiting if id(entry) not in ours)
            raise
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def _send_alone(self, submissions: Sequence[Submission]) -> list[Enqueued]:
        with trio.CancelScope() as self._lone_caller:
            return await self._exchange(submissions)
        raise ClientClosedError("the runtime has stopped")

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        try:
            while True:
                await self._to_do.wait()
                while self._waiting and not self._is_sending:
                    await self._send(self._next())
        finally:
            self._is_over = True
            self._lone_caller.cancel()
            for _, waiter in self._waiting:
                waiter.settle(ClientClosedError("the runtime has stopped"))

    def _next(self) -> list[tuple[Submission, Waiter]]:
        batch, size = [self._waiting.popleft()], 0
        while self._waiting and len(batch) < MOST_AT_ONCE and size < MOST_BYTES:
            batch.append(self._waiting.popleft())
            size += len(batch[-1][0].payload)
        return batch

    async def _send(self, batch: list[tuple[Submission, Waiter]]) -> None:
        try:
            answers = await self._exchange([submission for submission, _ in batch])
        except RECOVERABLE as error:
            for _, waiter in batch:
                waiter.settle(copied(error))
        except BaseException:
            for _, waiter in batch:
                waiter.settle(ClientClosedError("the runtime has stopped"))
            raise
        else:
            for (_, waiter), answer in zip(batch, answers, strict=True):
                waiter.settle(answer)

    async def _exchange(self, submissions: Sequence[Submission]) -> list[Enqueued]:
        self._is_sending = True
        try:
            return await self._node.protocol.enqueue_many(submissions)
        finally:
            self._is_sending = False
            if self._waiting:  # they came meanwhile
                self._to_do.ring()
