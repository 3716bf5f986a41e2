"""Claims executions while there are slots for them, and runs each in a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import groupby
from typing import Any

import trio

from am2z.context import RuntimeEmitter
from am2z.processor import Processor
from am2z.queue.dispatch import Dispatch
from am2z.queue.keys import encode
from am2z.queue.leases import Leases
from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node
from am2z.queue.outbox import Outbox
from am2z.queue.run import Run
from am2z.queue.wire import Claimed, Claims
from am2z.registry import Registry
from am2z.slots import Slot, Slots

__all__ = ["Worker"]

_log = logging.getLogger("am2z.worker")

LAST_CLAIM = 2.0
"""How long a worker that is cancelled waits for the answer to its last claim, in seconds."""
IDLE = 2.0
"""Seconds for which an idle worker waits for a token before it looks by itself."""


class Worker:
    """The working half of a runtime."""

    def __init__(
        self,
        node: Node,
        registry: Registry,
        leases: Leases,
        dispatch: Dispatch,
        emitter: RuntimeEmitter,
    ) -> None:
        self.slots = Slots(node.config.concurrency)
        self._node = node
        self._dispatch = dispatch
        self._emitter = emitter
        self._registry = registry
        self._leases = leases
        self._runs: dict[int, Run] = {}  # by fence
        self._needed: Callable[[], bool] | None = None
        self._turn = 0
        self._is_leaving = False
        self._look = False
        self._idle_scope: trio.CancelScope | None = None
        self._claim_scope: trio.CancelScope | None = None
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def running(self) -> int:
        """How many executions are held here."""
        return len(self._runs)

    def look_again(self) -> None:
        """What may be claimed has changed: do not sleep on."""
        self._look = True
        if self._idle_scope is not None:
            self._idle_scope.cancel()
        self._changed.unpark_all()

    async def run(self) -> None:
        """Claim and run until cancelled. What is held then is given back."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave_with_us)
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()
                await self.slots.wait_for_room()
                self._look = False
                wants = self._wants()
                if not wants:
                    await self._changed.park()
                    continue
                try:
                    next_due = await self._claim(wants, nursery)
                    if next_due is not None and not self._look:
                        await self._wait_for_work(wants, next_due)
                except RECOVERABLE as error:
                    _log.warning("work could not be claimed: %s", error)
                    await trio.sleep(RETRY_PAUSE)

    async def _leave_with_us(self) -> None:
        """Is cancelled with the worker: then what it holds goes back."""
        try:
            await trio.sleep_forever()
        finally:
            self.give_back()
            if self._claim_scope is not None:
                self._claim_scope.deadline = self._node.until(LAST_CLAIM)

    def claim_only_while(self, needed: Callable[[], bool]) -> None:
        """From now on, claim only while somebody needs it here: we are about to stop."""
        self._needed = needed
        self.look_again()

    async def drained(self) -> None:
        """Return when nothing is held any more."""
        while self._runs or self._claim_scope is not None:
            await self._changed.park()

    def give_back(self) -> None:
        """Stop everything that is held; each goes back to the queue, uncounted."""
        self._node.leave()
        self._is_leaving = True
        for run in list(self._runs.values()):
            run.give_back()

    def _wants(self) -> list[tuple[str, int]]:
        """What to claim, best first: by priority, and in turn among equals."""
        if self._is_leaving:
            return []
        if self._needed is not None and not self._needed():
            return []
        self._turn += 1
        ranked = sorted(self._registry.all(), key=_priority)
        wants: list[tuple[str, int]] = []
        for _, equals in groupby(ranked, key=_priority):
            group = list(equals)
            first = self._turn % len(group)
            for processor in group[first:] + group[:first]:
                room = self.slots.room(processor)
                if room > 0:
                    wants.append((processor.name, room))
        return wants

    async def _claim(self, wants: list[tuple[str, int]], nursery: trio.Nursery) -> float | None:
        """Claim what there is room for. Without work: how long to wait for some, at most."""
        node = self._node
        room = self.slots.total - self.slots.active
        claims = Claims([], None)
        # Shielded: what Redis has given us while we are cancelled must be known, to go back.
        self._claim_scope = trio.CancelScope(shield=True)
        with self._claim_scope:
            try:
                claims = await node.protocol.claim(
                    node.runtime_id, wants, total=room, lease=node.config.lease
                )
            finally:
                self._claim_scope = None
                if self._needed is not None:
                    self._changed.unpark_all()
        for claimed in claims.items:
            self._begin(claimed, nursery)
        if claims.items:
            return None
        return IDLE if claims.next_due is None else min(IDLE, claims.next_due)

    def _begin(self, claimed: Claimed, nursery: trio.Nursery) -> None:
        processor = self._registry.find(claimed.processor)
        if processor is None:  # unregistered while the claim was under way
            nursery.start_soon(self._decline, claimed)
            return
        slot = Slot(self.slots, processor)
        slot.try_acquire()  # the room was there when we asked; if it is gone, the run waits for it
        outbox = Outbox(self._node, nursery)
        run = Run(
            self._node,
            self._dispatch,
            self._emitter,
            claimed,
            processor,
            slot,
            outbox,
            self._called,
        )
        self._runs[claimed.fence] = run
        # Its lease can have ended while we had it ourselves: that older run has lost it.
        self._leases.lose(claimed.id)
        self._leases.hold(claimed.id, claimed.fence, run.lose)
        if self._is_leaving:
            run.give_back()
        nursery.start_soon(self._run_one, run, name=f"execution {claimed.id}")

    async def _run_one(self, run: Run) -> None:
        try:
            await run.run()
        except Exception:  # ours, not the processor's: it must not end all the others here
            _log.exception(
                "execution %s broke its worker; it runs again when its lease has ended",
                run.claimed.id,
            )
        finally:
            run.slot.release()
            self._leases.drop(run.claimed.id, run.claimed.fence)
            del self._runs[run.claimed.fence]
            if run.slot.line.options.concurrency is not None:
                self.look_again()  # work that its limit kept back may be claimed now
            else:
                self._changed.unpark_all()

    def _called(self, slot: Slot) -> None:
        """A run waits for one that it called, and its slot is free."""
        if self._needed is not None or slot.line.options.concurrency is not None:
            self.look_again()  # there is something to claim now that was not wanted before

    async def _decline(self, claimed: Claimed) -> None:
        try:
            await self._node.protocol.nack(claimed.id, claimed.fence, retry=False)
        except RECOVERABLE as error:
            _log.warning("%s could not be given back: %s", claimed.id, error)

    async def _wait_for_work(self, wants: list[tuple[str, int]], timeout: float) -> None:
        """Block until somebody says that there is work, or it is time to look anyway."""
        prefix = self._node.key("wake:")
        keys = [prefix + encode(name) for name, _ in wants]
        # Redis ends waits in steps of 100 ms, too coarse for a short back-off: we end it ourselves.
        deadline = trio.current_time() + timeout
        with trio.CancelScope(deadline=deadline) as self._idle_scope:
            await self._node.client.block("BLPOP", *keys, IDLE, timeout=IDLE)
        self._idle_scope = None


def _priority(processor: Processor[Any]) -> int:
    return -processor.queue.priority
