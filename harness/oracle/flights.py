"""What was submitted: where each execution is, and the wait until each has come to stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from am2z import Event, ExecutionHandle, ProcessorResult
from harness.oracle.model import Seen
from harness.oracle.observe import seen_result
from harness.oracle.program import Op
from harness.oracle.workers import Gate, Piece

__all__ = ["Flight", "Flights"]


@dataclass
class Flight:
    """A submitted execution, as its submitter sees it."""

    op: Op
    execution_id: str
    gate: Gate
    given: Piece
    letter_id: str
    """Under which id it is a dead letter, if it is one."""
    handle: ExecutionHandle[Piece] | None = None
    result: ProcessorResult[Piece] | None = None
    twins: int = 0
    """How many others have asked for the same and have no result."""
    is_delayed: bool = False
    is_told: bool = False
    must_end: bool = False
    is_lost: bool = False
    differs: str = ""
    """What a twin was told instead."""

    @property
    def is_single(self) -> bool:
        """Whether it needs the one slot of ``single``."""
        return self.op.call is not None and self.op.call.name == "single"


class Flights:
    """The flights of a program by label."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._by_label: dict[str, Flight] = {}
        self._changed = trio.Event()

    def __getitem__(self, label: str) -> Flight:
        return self._by_label[label]

    def begin(self, op: Op, execution_id: str, given: Piece, *, is_delayed: bool) -> Flight:
        """A new flight, whose handle is still to come."""
        gate = Gate(self.change)
        flight = Flight(op, execution_id, gate, given, execution_id, is_delayed=is_delayed)
        self._by_label[op.label] = flight
        return flight

    def live(self) -> list[Flight]:
        """Those whose end has not been told."""
        return [flight for flight in self._by_label.values() if not flight.is_told]

    def change(self) -> None:
        """Something has happened to one of them."""
        self._changed.set()
        self._changed = trio.Event()

    async def changed(self) -> None:
        """Return when something happens to one of them."""
        await self._changed.wait()

    def take(self, event: Event) -> None:
        """Learn from an event that a flight waits for its next attempt."""
        if event.type == "processor:retrying":
            for flight in self.live():
                if flight.execution_id == event.execution_id and flight.op.call is not None:
                    flight.is_delayed = flight.op.call.name == "later"
                    flight.gate.is_let_on = False  # it may have to wait for its slot again
            self.change()

    async def settle(self) -> None:
        """Return when every flight has come to where it stays, or has had its time to."""
        with trio.move_on_after(self._patience) as scope:
            while not all(self._phase(flight) for flight in self.live()):
                await self._changed.wait()
        if scope.cancelled_caught:
            for flight in self.live():
                flight.is_lost |= not self._phase(flight)

    def tell(self) -> Seen:
        """What has ended since it was last asked, and where the others are."""
        ended: Seen = {}
        live: Seen = {}
        for label, flight in sorted(self._by_label.items()):
            if flight.is_told:
                continue
            if flight.result is None or flight.twins:
                live[label] = self._phase(flight)
            else:
                flight.is_told = True
                ended[label] = seen_result(flight.result, flight.op, flight.execution_id)
                if flight.differs:
                    ended[label]["its twin"] = flight.differs
        return {"ended": ended, "live": live}

    def _phase(self, flight: Flight) -> str:
        """Where a flight is; empty where it is on its way."""
        phases: tuple[tuple[str, Callable[[], bool]], ...] = (
            ("done", lambda: flight.result is not None and not flight.twins),
            ("neither held nor done", lambda: flight.is_lost),
            ("", lambda: flight.must_end),
            ("held", lambda: flight.gate.is_held),
            ("delayed", lambda: flight.is_delayed),
            ("", lambda: flight.gate.is_let_on),
            ("waiting", lambda: flight.is_single and self._others_hold(flight)),
        )
        return next((name for name, applies in phases if applies()), "")

    def _others_hold(self, flight: Flight) -> bool:
        return any(
            other.is_single and other.gate.is_held for other in self.live() if other is not flight
        )
