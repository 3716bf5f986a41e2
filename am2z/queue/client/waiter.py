"""Waiters: who gets the next reply of a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

__all__ = ["PENDING", "Waiter"]

PENDING: Any = object()
"""The ``reply`` of a waiter that has none yet (``None`` is a reply)."""


class Waiter:
    """A place in a connection's queue of replies.

    It stays there when the task that waits is cancelled: its reply is then taken off the wire and
    thrown away, so that every later reply still reaches the right one.

    A waiter with ``replies`` greater than one collects that many into a list (a pipeline).
    """

    __slots__ = ("collected", "left", "reply", "task")

    def __init__(self, replies: int = 1) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.reply: Any = PENDING
        self.left = replies if replies > 1 else 0
        self.collected: list[Any] = []

    def settle(self, reply: Any) -> None:
        """Store the reply and wake who waits, if anybody does."""
        self.reply = reply
        if (task := self.task) is not None:
            self.task = None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> Any:
        """Wait for the reply. It may be waited for again after a cancellation.

        There is no checkpoint between the arrival of the reply and the return.
        """
        if self.reply is PENDING:
            self.task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        return self.reply

    def _abort(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED
