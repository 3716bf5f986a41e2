"""The executions in flight: claimed here, and Redis has not heard yet how they ended."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

from am2z.context import RuntimeEmitter
from am2z.queue.dispatch import Dispatch
from am2z.queue.leases import Leases
from am2z.queue.node import RECOVERABLE, Node, will_pass
from am2z.queue.reports import Reports
from am2z.queue.run import Run
from am2z.queue.wire import Claimed
from am2z.registry import Registry
from am2z.slots import Slot, Slots

__all__ = ["InFlight"]

_log = logging.getLogger("am2z.worker")


class InFlight:
    """What a worker holds: each execution in a task of its own, and its lease renewed meanwhile.

    The worker that claims them sets the hooks before the first begins.
    """

    def __init__(
        self,
        node: Node,
        registry: Registry,
        slots: Slots,
        leases: Leases,
        dispatch: Dispatch,
        emitter: RuntimeEmitter,
    ) -> None:
        self.on_end: Callable[[], None]
        """Called when one has ended and its report waits."""
        self.on_room: Callable[[], None]
        """Called when one has ended whose processor has a limit of its own."""
        self.on_call: Callable[[Slot], None]
        """Called when one waits for another that it called, and its slot is free."""
        self.before_return: Callable[[], Awaitable[None]]
        """Awaited before one goes back to the queue."""
        self.changed = trio.lowlevel.ParkingLot()
        """Unparked whenever one is held no more."""
        self._node = node
        self._registry = registry
        self._slots = slots
        self._leases = leases
        self._dispatch = dispatch
        self._emitter = emitter
        self._runs: dict[int, Run] = {}  # by fence
        self._reports = Reports()
        self._goes_back = False

    def __len__(self) -> int:
        return len(self._runs)

    def calling(self) -> int:
        """How many wait for executions that they called, on nobody's slot."""
        return sum(run.slot.is_calling() for run in self._runs.values())

    def give_back(self) -> None:
        """Stop all, also what begins from now on; each goes back to the queue, uncounted."""
        self._goes_back = True
        for run in list(self._runs.values()):
            run.give_back()

    # --- from the claim

    def begin(self, claims: Iterable[Claimed], nursery: trio.Nursery) -> None:
        """Hold and run what was claimed, each in a task of ``nursery``."""
        for claimed in claims:
            self._begin(claimed, nursery)

    def decline(self, claims: Iterable[Claimed], nursery: trio.Nursery) -> None:
        """Give back what was claimed, without ever holding it."""
        for claimed in claims:
            nursery.start_soon(self._decline, claimed)

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
            self.on_call,
            self.before_return,
        )
        self._runs[claimed.fence] = run
        # Its lease can have ended while we had it ourselves: that older run has lost it.
        self._leases.lose(claimed.id)
        self._leases.hold(claimed.id, claimed.fence, run.lose)
        if self._goes_back:
            run.give_back()
        nursery.start_soon(self._run_one, run, name=claimed.id)

    async def _decline(self, claimed: Claimed) -> None:
        try:
            await self._node.protocol.nack(claimed.id, claimed.fence, retry=False)
        except RECOVERABLE as error:
            _log.warning("%s could not be given back: %s", claimed.id, error)

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
                self.on_end()
            run.slot.release()
            if run.slot.line.options.concurrency is not None:
                self.on_room()  # work that its limit kept back may be claimed now

    # --- to the report

    def ended(self) -> list[Run]:
        """Those to report next, as many as go into one exchange."""
        return self._reports.next()

    def told(self, ended: Sequence[Run]) -> None:
        """Redis has heard of these, which came from ``ended``: they are not held any more."""
        self._reports.told(ended)
        for run in ended:
            self._forget(run)

    def untold(self, ended: Sequence[Run], error: Exception) -> None:
        """Redis has not heard of these. What it will not hear is given up."""
        given_up = None if will_pass(error) else self._reports.refused(ended, error)
        if given_up is not None:
            self._forget(given_up)

    def _forget(self, run: Run) -> None:
        """Nothing of this run is ours any more."""
        self._leases.drop(run.claimed.id, run.claimed.fence)
        del self._runs[run.claimed.fence]
        self.changed.unpark_all()
