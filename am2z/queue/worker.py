"""Claims executions while there are slots for them, and runs each in a task of its own.

A worker talks to Redis in turns: one exchange reports what has ended and takes as much again. While
it is under way, others end; so the busier a worker is, the more it does in one turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import ceil

import trio
from redis.exceptions import NoScriptError

from am2z.context import RuntimeEmitter
from am2z.queue.bell import Bell
from am2z.queue.client import ConnectionLostError
from am2z.queue.dispatch import Dispatch
from am2z.queue.leases import Leases
from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node, will_pass
from am2z.queue.reports import MOST_AT_ONCE, Reports
from am2z.queue.run import Run
from am2z.queue.wants import Wants
from am2z.queue.wire import Claimed, Claims
from am2z.registry import Registry
from am2z.slots import Slot, Slots

__all__ = ["Worker"]

_log = logging.getLogger("am2z.worker")

LAST_TURN = 2.0
"""How long a worker that is cancelled waits for the answer to its last turn, in seconds."""
IDLE = 2.0
"""Seconds for which an idle worker waits for a token before it looks by itself."""


class Worker:
    """The working half of a runtime."""

    def __init__(
        self,
        node: Node,
        registry: Registry,
        slots: Slots,
        leases: Leases,
        dispatch: Dispatch,
        emitter: RuntimeEmitter,
        *,
        shards: int = 1,
    ) -> None:
        self._slots = slots
        self._shards = shards
        # Half of the slots: Redis is busy with one half of them while the other half runs. Where
        # shards share them, an equal part: those whose server hangs leave the others theirs.
        parts = max(2, shards)
        self._most_at_once = min(ceil(node.config.concurrency / parts), MOST_AT_ONCE)
        self._node = node
        self._dispatch = dispatch
        self._emitter = emitter
        self._registry = registry
        self._leases = leases
        self._runs: dict[int, Run] = {}  # by fence
        self._reports = Reports()
        self._wishes = Wants(registry, slots)
        self._needed: Callable[[], bool] | None = None
        self._is_leaving = False
        self._may_find_work = True
        self._is_claiming = False
        self._claims_when_woken = False
        self._to_do = Bell()
        self._out_of_work = Bell()
        self._idle_for = IDLE
        self._idle_scope: trio.CancelScope | None = None
        self._turn_scope: trio.CancelScope | None = None
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def running(self) -> int:
        """How many executions are held here."""
        return len(self._runs)

    def look_again(self) -> None:
        """What may be claimed has changed: do not sleep on."""
        self._may_find_work = True
        self._to_do.ring()
        if self._idle_scope is not None:
            self._idle_scope.cancel()

    async def run(self) -> None:
        """Claim and run until cancelled. What is held then is given back."""
        self._slots.on_room.append(self._to_do.ring)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._leave_with_us)
                nursery.start_soon(self._wait_for_work, nursery)
                self._to_do.ring()
                while True:
                    await self._to_do.wait()
                    while await self._take_turn(nursery):
                        pass
        finally:
            self._slots.on_room.remove(self._to_do.ring)
            await self._report_the_rest()

    async def _leave_with_us(self) -> None:
        """Is cancelled with the worker: then what it holds goes back."""
        try:
            await trio.sleep_forever()
        finally:
            self.give_back()
            if self._turn_scope is not None:
                self._turn_scope.deadline = self._node.until(LAST_TURN)

    def claim_only_while(self, needed: Callable[[], bool]) -> None:
        """From now on, claim only while somebody needs it here: we are about to stop."""
        self._needed = needed
        self.look_again()

    async def drained(self) -> None:
        """Return when nothing is held any more."""
        while self._runs or self._turn_scope is not None or self._claims_when_woken:
            await self._changed.park()

    def give_back(self) -> None:
        """Stop everything that is held; each goes back to the queue, uncounted."""
        self._node.leave()
        self._is_leaving = True
        for run in list(self._runs.values()):
            run.give_back()
        if self._idle_scope is not None:
            self._idle_scope.cancel()

    async def _claims_no_more(self) -> None:
        """Return when no claim waits on the server: it would take what is given back."""
        while self._claims_when_woken:
            await self._changed.park()

    # --- turns

    async def _take_turn(self, nursery: trio.Nursery) -> bool:
        """Report what has ended and claim what there is room for; whether there was either."""
        room = min(self._slots.free, self._most_at_once)
        if not self._may_find_work or self._claims_when_woken:
            room = 0
        ended = self._reports.next()
        wants = self._wants() if room > 0 and not (ended and ended[0].refusals) else []
        if not (wants or ended):
            return False
        if wants:
            # Before we ask: news of work that comes meanwhile is not known to what we ask.
            self._may_find_work = False
            self._is_claiming = True
        try:
            claims = await self._exchange(ended, wants, room)
        except RECOVERABLE as error:
            self._may_find_work |= bool(wants)
            _log.warning("work could not be claimed or reported: %s", error)
            given_up = None if will_pass(error) else self._reports.refused(ended, error)
            if given_up is not None:
                self._forget(given_up)
            await trio.sleep(RETRY_PAUSE)
            return True
        finally:
            self._is_claiming = False
        self._reports.told(ended)
        for run in ended:
            self._forget(run)
        if wants:
            self._begin_all(claims, nursery, has_room=len(claims.items) < room)
        return True

    def _begin_all(self, claims: Claims, nursery: trio.Nursery, *, has_room: bool) -> None:
        """Begin what was claimed. ``has_room``: it would have been more, had there been more."""
        for claimed in claims.items:
            self._begin(claimed, nursery)
        if claims.next_due == 0 or not has_room:
            self._may_find_work = True
        elif not self._may_find_work:
            self._idle_for = IDLE if claims.next_due is None else min(IDLE, claims.next_due)
            self._out_of_work.ring()

    async def _exchange(
        self, ended: Sequence[Run], wants: Sequence[tuple[str, int]], room: int
    ) -> Claims:
        node = self._node
        reports = [run.report for run in ended if run.report is not None]
        # Shielded: what Redis has given us while we are cancelled must be known, to go back.
        self._turn_scope = trio.CancelScope(shield=True)
        if self._is_leaving:
            self._turn_scope.deadline = self._node.until(LAST_TURN)
        with self._turn_scope:
            try:
                if not wants:
                    return Claims([], None, await node.protocol.ack_many(reports))
                with self._slots.promising(room):
                    return await node.protocol.claim(
                        node.runtime_id,
                        wants,
                        total=room,
                        lease=node.config.lease,
                        reports=reports,
                    )
            finally:
                self._turn_scope = None
                if self._needed is not None:
                    self._changed.unpark_all()
        await trio.lowlevel.checkpoint()  # a worker that is cancelled goes no further
        raise ConnectionLostError("there was no answer while we leave", maybe_sent=True)

    def _may_claim(self) -> bool:
        """Also while we are about to stop, what is needed: by somebody here, or by what runs."""
        if self._is_leaving or self._needed is None:
            return not self._is_leaving
        return self._needed() or any(run.slot.is_calling() for run in self._runs.values())

    def _wants(self) -> list[tuple[str, int]]:
        return self._wishes.now() if self._may_claim() else []

    async def _wait_for_work(self, nursery: trio.Nursery) -> None:
        """Whenever a claim found too little: block until somebody says that there is work."""
        while True:
            await self._out_of_work.wait()
            if self._is_claiming:
                continue  # it rings again if it finds too little
            names = self._wishes.soon() if self._may_claim() and not self._may_find_work else []
            if not names:
                self._may_find_work = True  # whoever changes that rings
                continue
            # Redis ends waits in steps of 100 ms, too coarse for a short back-off: so do we.
            deadline = trio.current_time() + self._idle_for
            has_claimed = False
            try:
                with trio.CancelScope(deadline=deadline) as self._idle_scope:
                    if self._has_room_for_long():
                        has_claimed = await self._claim_when_woken(nursery)
                    else:
                        await self._hear_of_work(names)
            except RECOVERABLE as error:
                _log.warning("news of work could not be read: %s", error)
                await trio.sleep(RETRY_PAUSE)
            finally:
                self._idle_scope = None
            if not has_claimed:
                self._may_find_work = True
            if self._may_find_work:
                self._to_do.ring()

    def _has_room_for_long(self) -> bool:
        """Whether one more could begin at any time from now on, if nothing else is claimed.

        Those who wait for their calls take their slots again. What other shards claim cannot be
        known: with several there is no such room.
        """
        if self._shards > 1 or self._needed is not None:
            return False
        return self._slots.free > sum(run.slot.is_calling() for run in self._runs.values())

    async def _claim_when_woken(self, nursery: trio.Nursery) -> bool:
        """Wait with a claim that is sent already; whether it was made."""
        lease = self._node.config.lease
        # Where we stand still, it is over before our leases are: it must not get what we had.
        patience = min(IDLE, lease / 2)
        asked = trio.current_time()
        self._claims_when_woken = True
        try:
            claims, refused = await self._node.protocol.claim_when_woken(
                self._node.runtime_id, self._wants(), lease=lease, patience=patience
            )
        except NoScriptError:
            return False
        finally:
            self._claims_when_woken = False
            self._changed.unpark_all()
        if trio.current_time() - asked > lease:
            # We did stand still, and the lease may be over: somebody else may run it by now.
            for claimed in claims.items:
                nursery.start_soon(self._decline, claimed)
            claims = Claims([], claims.next_due)
        self._begin_all(claims, nursery, has_room=True)
        if refused is not None:
            raise refused
        return True

    async def _hear_of_work(self, names: Sequence[str]) -> None:
        keys = [self._node.protocol.keys.wake(name) for name in names]
        await self._node.client.block("BLPOP", *keys, IDLE, timeout=IDLE)

    # --- runs

    def _begin(self, claimed: Claimed, nursery: trio.Nursery) -> None:
        processor = self._registry.find(claimed.processor)
        if processor is None:  # unregistered while the claim was under way
            nursery.start_soon(self._decline, claimed)
            return
        slot = Slot(self._slots, processor)
        slot.try_acquire()  # the room was there when we asked; if it is gone, the run waits for it
        run = Run(
            self._node,
            self._dispatch,
            self._emitter,
            claimed,
            processor,
            slot,
            nursery,
            self._called,
            self._claims_no_more,
        )
        self._runs[claimed.fence] = run
        # Its lease can have ended while we had it ourselves: that older run has lost it.
        self._leases.lose(claimed.id)
        self._leases.hold(claimed.id, claimed.fence, run.lose)
        if self._is_leaving:
            run.give_back()
        nursery.start_soon(self._run_one, run, name=claimed.id)

    async def _run_one(self, run: Run) -> None:
        try:
            await run.run()
        except Exception:  # ours, not the processor's: it must not end all the others here
            _log.exception(
                "execution %s broke its worker; it runs again when its lease has ended",
                run.claimed.id,
            )
        finally:
            if run.report is None:
                self._forget(run)
            else:
                self._reports.add(run)
                self._to_do.ring()
            run.slot.release()
            if run.slot.line.options.concurrency is not None:
                self.look_again()  # work that its limit kept back may be claimed now

    def _forget(self, run: Run) -> None:
        """Nothing of this run is ours any more."""
        self._leases.drop(run.claimed.id, run.claimed.fence)
        del self._runs[run.claimed.fence]
        self._changed.unpark_all()

    async def _report_the_rest(self) -> None:
        """The worker was cancelled: what has ended all the same is reported, for a bounded time."""
        with trio.CancelScope(shield=True, deadline=self._node.until(LAST_TURN)):
            try:
                while ended := self._reports.next():
                    await self._exchange(ended, (), 0)
                    self._reports.told(ended)
                    for run in ended:
                        self._forget(run)
            except RECOVERABLE as error:
                # Their leases end soon, and then another worker runs them again.
                _log.warning("%d ends could not be reported: %s", len(self._reports), error)

    def _called(self, slot: Slot) -> None:
        """A run waits for one that it called, and its slot is free."""
        if self._needed is not None or slot.line.options.concurrency is not None:
            self.look_again()  # there is something to claim now that was not wanted before

    async def _decline(self, claimed: Claimed) -> None:
        try:
            await self._node.protocol.nack(claimed.id, claimed.fence, retry=False)
        except RECOVERABLE as error:
            _log.warning("%s could not be given back: %s", claimed.id, error)
