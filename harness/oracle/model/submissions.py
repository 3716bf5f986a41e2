"""What operations do on executions that are submitted and stand under a label."""

from __future__ import annotations

from harness.oracle.model.books import Books
from harness.oracle.model.executions import Executions
from harness.oracle.model.flight import Flight
from harness.oracle.model.lives import live
from harness.oracle.model.outcome import Outcome
from harness.oracle.model.seen import Seen
from harness.oracle.program import Op

__all__ = ["SUBMITTING", "Submissions"]

SUBMITTING = ("submit", "delay", "at", "past")


class Submissions:
    """Asked for without waiting, let on, cancelled, asked again."""

    def __init__(self, books: Books, executions: Executions) -> None:
        self._books = books
        self._executions = executions
        self._flights = executions.flights
        self._turn = 0

    def do_submit(self, op: Op) -> Seen | None:
        return self._fly(op, "waiting")

    def do_past(self, op: Op) -> Seen | None:
        return self.do_submit(op)

    def do_delay(self, op: Op) -> Seen | None:
        assert op.call is not None
        if self._executions.refusal(op.call.name, op.session):
            return None  # refused or delayed: that cannot be told apart without waiting
        return self._fly(op, "delayed")

    def do_at(self, op: Op) -> Seen | None:
        return self.do_delay(op)

    def _fly(self, op: Op, begins: str) -> Seen | None:
        call, executions = op.call, self._executions
        assert call is not None
        known = self._flights.get(op.label)
        refused = executions.refusal(call.name, op.session)
        given = executions.given(op.session)
        if not self._books.serves(call.name) or (known is not None and known.is_live):
            return None
        if call.name == "single" and not self._can_queue(op, bool(refused)):
            return None
        if executions.is_unforeseen(call, op.session, given):
            return None
        if (old := self._books.letter_of(op.label)) is not None:
            old.owner = ""  # the label stands for another one now
        self._turn += 1
        life = live(self._books, call, op.session, given, begins, op.label)
        flight = self._flights[op.label] = Flight(op, life, begins, self._turn)
        if refused:
            flight.phase, flight.outcome = "done", Outcome(given, refused)
            flight.can_be_asked_again = False
            return {}
        executions.open(op.session)
        flight.advance()
        if begins == "waiting" and call.name != "single":
            flight.advance()
        return {}

    def _can_queue(self, op: Op, is_refused: bool) -> bool:
        if is_refused and self._executions.some_single("held"):
            return False  # refused or waiting: that cannot be told apart without waiting
        # In which order sessions are served is left open, and who has the slot that one lends while
        # it calls.
        return all(
            flight.op.session == op.session and not flight.calls
            for flight in self._flights.values()
            if flight.is_single("waiting")
        )

    def let_waiting_begin(self) -> None:
        """Who waits for the one slot of ``single`` for longest has it as soon as nobody else."""
        while not self._executions.some_single("held"):
            waiting = [one for one in self._flights.values() if one.is_single("waiting")]
            if not waiting:
                return
            min(waiting, key=lambda flight: flight.turn).advance()

    def do_release(self, op: Op) -> Seen | None:
        flight = self._flights.get(op.label)
        if flight is None or flight.phase != "held":
            return None
        waiting = self._executions.some_single("waiting")
        if waiting and flight.is_single("held") and flight.calls_after_hold:
            return None  # it lends its slot while it calls, and no law says who has it then
        flight.advance()
        return {}

    def do_cancel(self, op: Op) -> Seen | None:
        flight = self._flights.get(op.label)
        if flight is None:
            return None
        flight.end("ExecutionCancelledError")
        return {}

    def do_again(self, op: Op) -> Seen | None:
        flight = self._flights.get(op.label)
        if flight is None or flight.outcome is None or not flight.can_be_asked_again:
            return None
        return {"result": flight.outcome.seen()}

    def do_twin(self, op: Op) -> Seen | None:
        """Ask for the same while it is on its way: nothing more runs."""
        flight = self._flights.get(op.label)
        return None if flight is None or not flight.is_live else {}

    def do_clash(self, op: Op) -> Seen | None:
        """Ask for something else under the same id."""
        flight = self._flights.get(op.label)
        if flight is None or not (flight.is_live or flight.can_be_asked_again):
            return None
        return {"error": "ConfigurationError"}
