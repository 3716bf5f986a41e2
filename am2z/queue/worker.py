"""Claims executions while there are slots for them, and reports how they have ended.

A worker talks to Redis in turns: one exchange reports what has ended and takes as much again. While
it is under way, others end; so the busier a worker is, the more it does in one turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import ceil

import trio
from redis.exceptions import NoScriptError

from am2z.queue.bell import Bell
from am2z.queue.client import ConnectionLostError
from am2z.queue.inflight import InFlight
from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node
from am2z.queue.reports import MOST_AT_ONCE
from am2z.queue.run import Run
from am2z.queue.wants import Wants
from am2z.queue.wire import Claims
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
        self, node: Node, slots: Slots, wishes: Wants, in_flight: InFlight, *, shards: int = 1
    ) -> None:
        self._slots = slots
        self._shards = shards
        # Half of the slots: Redis is busy with one half of them while the other half runs. Where
        # shards share them, an equal part: those whose server hangs leave the others theirs.
        parts = max(2, shards)
        self._most_at_once = min(ceil(node.config.concurrency / parts), MOST_AT_ONCE)
        self._node = node
        self._wishes = wishes
        self._in_flight = in_flight
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
        self._changed = in_flight.changed
        in_flight.on_end = self._to_do.ring
        in_flight.on_room = self.look_again
        in_flight.on_call = self._called
        in_flight.before_return = self._claims_no_more

    @property
    def running(self) -> int:
        """How many executions are held here."""
        return len(self._in_flight)

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
        while self._in_flight or self._turn_scope is not None or self._claims_when_woken:
            await self._changed.park()

    def give_back(self) -> None:
        """Stop everything that is held; each goes back to the queue, uncounted."""
        self._node.leave()
        self._is_leaving = True
        self._in_flight.give_back()
        if self._idle_scope is not None:
            self._idle_scope.cancel()

    # --- hooks of those in flight

    async def _claims_no_more(self) -> None:
        """Return when no claim waits on the server: it would take what is given back."""
        while self._claims_when_woken:
            await self._changed.park()

    def _called(self, slot: Slot) -> None:
        """A run waits for one that it called, and its slot is free."""
        if self._needed is not None or slot.line.options.concurrency is not None:
            self.look_again()  # there is something to claim now that was not wanted before

    # --- turns

    async def _take_turn(self, nursery: trio.Nursery) -> bool:
        """Report what has ended and claim what there is room for; whether there was either."""
        room = min(self._slots.free, self._most_at_once)
        if not self._may_find_work or self._claims_when_woken:
            room = 0
        ended = self._in_flight.ended()
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
            self._in_flight.untold(ended, error)
            await trio.sleep(RETRY_PAUSE)
            return True
        finally:
            self._is_claiming = False
        self._in_flight.told(ended)
        if wants:
            self._begin_all(claims, nursery, has_room=len(claims.items) < room)
        return True

    def _begin_all(self, claims: Claims, nursery: trio.Nursery, *, has_room: bool) -> None:
        """Begin what was claimed. ``has_room``: it would have been more, had there been more."""
        self._in_flight.begin(claims.items, nursery)
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
        return self._needed() or self._in_flight.calling() > 0

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
        return self._slots.free > self._in_flight.calling()

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
            self._in_flight.decline(claims.items, nursery)
            claims = Claims([], claims.next_due)
        self._begin_all(claims, nursery, has_room=True)
        if refused is not None:
            raise refused
        return True

    async def _hear_of_work(self, names: Sequence[str]) -> None:
        keys = [self._node.protocol.keys.wake(name) for name in names]
        await self._node.client.block("BLPOP", *keys, IDLE, timeout=IDLE)

    async def _report_the_rest(self) -> None:
        """The worker was cancelled: what has ended all the same is reported, for a bounded time."""
        with trio.CancelScope(shield=True, deadline=self._node.until(LAST_TURN)):
            try:
                while ended := self._in_flight.ended():
                    await self._exchange(ended, (), 0)
                    self._in_flight.told(ended)
            except RECOVERABLE as error:
                # Nothing else is held by now. Their leases end soon, and then another worker runs
                # them again.
                _log.warning("%d ends could not be reported: %s", len(self._in_flight), error)
