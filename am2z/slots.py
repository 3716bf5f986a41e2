"""Execution slots: how many run at once, who comes next, and who waits for whom.

One rule keeps nested calls from a deadlock: *nobody waits holding a slot*. An execution that calls
another gives its slot back and takes one again afterwards (``lend``, ``take_back``); those who come
back go before those who have not begun, so that what is under way is finished first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from am2z.policy import QueueOptions
from am2z.processor import Processor

__all__ = ["Slot", "Slots"]


class _Line:
    """Those of one processor who wait for a slot, and how many have one."""

    __slots__ = ("active", "options", "waiting")

    def __init__(self, options: QueueOptions) -> None:
        self.options = options
        self.active = 0
        self.waiting: deque[tuple[int, Slot]] = deque()

    @property
    def depth(self) -> int:
        """How many wait here."""
        return len(self.waiting)

    @property
    def full(self) -> bool:
        limit = self.options.concurrency
        return limit is not None and self.active >= limit


class Slots:
    """``total`` slots, shared by processors with limits and priorities of their own.

    Order: who resumes before who begins, then the higher priority, then who came first.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.active = 0
        self.waiting = 0
        self._lines: dict[str, _Line] = {}
        self._resuming: deque[tuple[int, Slot]] = deque()
        self._ticket = 0
        self.on_room: list[Callable[[], None]] = []
        """Called when a slot is free for somebody new."""
        self._promised = 0

    @property
    def free(self) -> int:
        """How many more executions could begin now: none while one that has begun waits."""
        return 0 if self._somebody_resumes() else self.total - self.active - self._promised

    def room(self, processor: Processor[Any]) -> int:
        """How many more executions of a processor could begin now."""
        free = self.total - self.active - self._promised
        limit = processor.queue.concurrency
        if limit is None:
            return free
        return min(free, limit - self._line(processor).active)

    def is_full(self, processor: Processor[Any]) -> bool:
        """Whether a processor has reached its own limit."""
        return self._line(processor).full

    def _somebody_resumes(self) -> bool:
        """Whether one who has begun waits for nothing but a free slot.

        Those whose own processor is at its limit are not meant: they must not hold up the others.
        """
        return bool(self._resuming) and any(not slot.line.full for _, slot in self._resuming)

    def _line(self, processor: Processor[Any]) -> _Line:
        line = self._lines.get(processor.name)
        if line is None:
            line = self._lines[processor.name] = _Line(processor.queue)
        if line.options != processor.queue:  # a registration has replaced the processor
            line.options = processor.queue
            self._hand_on()  # to those who waited for a higher limit
        return line

    def _take(self, slot: Slot, *, resuming: bool) -> bool:
        """Give ``slot`` its place if it is free and nobody is before it."""
        line = slot.line
        if self.active >= self.total or line.full:
            return False
        if self._resuming and self._somebody_resumes():
            return False
        if line.waiting and not resuming:
            return False
        self._grant(slot)
        return True

    def _grant(self, slot: Slot) -> None:
        self.active += 1
        slot.line.active += 1
        slot.held = True

    def _enqueue(self, slot: Slot, *, resuming: bool) -> None:
        self._ticket += 1
        (self._resuming if resuming else slot.line.waiting).append((self._ticket, slot))
        self.waiting += not resuming

    def _withdraw(self, slot: Slot, *, resuming: bool) -> None:
        """Take a cancelled waiter out of its line."""
        line = self._resuming if resuming else slot.line.waiting
        for entry in line:
            if entry[1] is slot:
                line.remove(entry)
                self.waiting -= not resuming
                break

    def _release(self, slot: Slot) -> None:
        self.active -= 1
        slot.line.active -= 1
        slot.held = False
        self._hand_on()

    def _hand_on(self) -> None:
        """Give free slots to those who wait, best first."""
        while self.waiting or self._resuming:
            if self.active >= self.total or (slot := self._next()) is None:
                break
            self._grant(slot)
            slot.wake()
        if self.on_room:
            self._tell_of_room()

    def _tell_of_room(self) -> None:
        if self.free > 0:
            for hook in self.on_room:
                hook()

    @contextmanager
    def promising(self, number: int) -> Iterator[None]:
        """Keep so many slots for what is being claimed: nobody else may count on them."""
        self._promised += number
        try:
            yield
        finally:
            self._promised -= number
            self._tell_of_room()

    def _next(self) -> Slot | None:
        for entry in self._resuming:
            if not entry[1].line.full:
                self._resuming.remove(entry)
                return entry[1]
        best: _Line | None = None
        for line in self._lines.values():
            if line.waiting and not line.full and (best is None or _before(line, best)):
                best = line
        if best is None:
            return None
        self.waiting -= 1
        return best.waiting.popleft()[1]


def _before(line: _Line, other: _Line) -> bool:
    mine, theirs = line.options.priority, other.options.priority
    return (-mine, line.waiting[0][0]) < (-theirs, other.waiting[0][0])


class Slot:
    """One execution's place among the ``Slots``."""

    __slots__ = ("_calls", "_is_queued", "_task", "_turn", "held", "line", "slots")

    def __init__(self, slots: Slots, processor: Processor[Any]) -> None:
        self.slots = slots
        self.line = slots._line(processor)
        self.held = False
        self._is_queued = False
        self._task: trio.lowlevel.Task | None = None
        self._calls = 0
        self._turn: trio.Lock | None = None

    def try_acquire(self, *, resuming: bool = False) -> bool:
        """Take a slot if that needs no waiting; answers whether one is held."""
        if self.held or self._is_queued:
            return self.held
        return self.slots._take(self, resuming=resuming)

    def queue_up(self) -> None:
        """Take a slot or a place in line before all who have not begun; ``acquire`` waits for it.

        For one that is called: it must be in line before its caller lends the slot that it needs.
        """
        if not self.try_acquire(resuming=True):
            self.slots._enqueue(self, resuming=True)
            self._is_queued = True

    async def acquire(self, *, resuming: bool = False) -> None:
        """Wait for a slot. A cancelled wait leaves nothing behind.

        ``resuming`` puts those who gave their slot back before all who have not begun.
        """
        if self.held or self.try_acquire(resuming=resuming):
            return
        if self._is_queued:
            resuming = True
        else:
            self.slots._enqueue(self, resuming=resuming)
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            self._is_queued = False
            self.slots._withdraw(self, resuming=resuming)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Let the task that waits in ``acquire`` go on. Called by ``Slots``."""
        self._is_queued = False
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def release(self) -> None:
        """Give the slot to the next, or the place in line. No-op where there is neither."""
        if self._is_queued:
            self._is_queued = False
            self.slots._withdraw(self, resuming=True)
        if self.held:
            self.slots._release(self)

    def lend(self) -> None:
        """This execution waits for one that it called: its slot is free for others meanwhile."""
        self._calls += 1
        self.release()

    async def take_back(self) -> None:
        """A call has returned; the last of those under way takes the slot again.

        One execution may make several calls at once. While one of them may still wait for a slot,
        the execution must not hold one: with few slots it would wait for itself.
        """
        self._calls -= 1
        if self.is_calling() or self.held or self.try_acquire(resuming=True):
            return
        if self._turn is None:
            self._turn = trio.Lock()
        async with self._turn:  # one waiter for each slot; who comes second finds it held
            if not self.is_calling():
                await self.acquire(resuming=True)
        if self.is_calling():  # another call began while this one waited
            self.release()

    def is_calling(self) -> bool:
        """Whether its execution waits for one that it called."""
        return self._calls > 0
