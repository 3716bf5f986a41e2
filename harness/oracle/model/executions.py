"""What operations on executions do: asked for now or submitted, let on, cancelled, asked again."""

from __future__ import annotations

from dataclasses import replace

from harness.oracle.model.books import Books
from harness.oracle.model.flight import Flight
from harness.oracle.model.lives import Outcome, Value, live, perform
from harness.oracle.model.seen import Seen
from harness.oracle.program import DOOMED, Op

__all__ = ["Executions"]


class Executions:
    """The executions of a program; ``flights`` are those that have a label."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.flights: dict[str, Flight] = {}

    def live(self) -> dict[str, Flight]:
        """Those flights that have not ended, by label."""
        return {label: one for label, one in sorted(self.flights.items()) if one.is_live}

    def _ask(self, op: Op) -> tuple[Value, str]:
        """With what an execution begins, and why it is refused, if it is. Opens its session."""
        assert op.call is not None
        session = self._books.sessions.get(op.session)
        value: Value = (0, ())
        if session is not None and session.kept is not None:
            value = session.kept
        if op.call.name == "nobody":
            return value, "ProcessorNotFoundError"
        if session is not None:
            if session.is_stopped:
                return value, "SessionStoppedError"
            if not session.is_active:
                session.is_active = True
                session.told.append("created")
        return value, ""

    def do_execute(self, op: Op) -> Seen | None:
        seen = self._run(op, 1)
        return None if seen is None else {"result": seen[0]}

    def do_many(self, op: Op) -> Seen | None:
        seen = self._run(op, op.number)
        return None if seen is None else {"results": seen}

    def do_crash(self, op: Op) -> Seen | None:
        # That a worker died with it is nobody's business. No runtime of ours has this processor.
        assert op.call is not None
        return self.do_execute(replace(op, call=replace(op.call, name=DOOMED)))

    def _run(self, op: Op, times: int) -> list[Seen] | None:
        assert op.call is not None
        taken = any(f.is_single("held", "waiting") for f in self.flights.values())
        if op.call.name == "later" or (op.call.name == "single" and taken):
            return None  # nobody would answer
        session = self._books.sessions.get(op.session)
        if op.call.name == "nobody" and session is not None and session.is_stopped:
            return None  # there are two reasons to refuse it, and no law says which comes first
        value, refused = self._ask(op)
        if refused:
            return [Outcome(value, refused).seen() for _ in range(times)]
        return [perform(self._books, op.call, op.session, value).seen() for _ in range(times)]

    def do_submit(self, op: Op) -> Seen | None:
        return self._fly(op, "waiting")

    def do_delay(self, op: Op) -> Seen | None:
        assert op.call is not None
        session = self._books.sessions.get(op.session)
        if op.call.name == "nobody" or (session is not None and session.is_stopped):
            return None  # refused or delayed: that cannot be told apart without waiting
        return self._fly(op, "delayed")

    def _fly(self, op: Op, begins: str) -> Seen | None:
        assert op.call is not None
        known = self.flights.get(op.label)
        waiting = any(f.is_single("waiting") for f in self.flights.values())
        taken = any(f.is_single("held") for f in self.flights.values())
        session = self._books.sessions.get(op.session)
        if op.call.name == "nobody":
            return None
        if taken and op.call.name == "single" and session is not None and session.is_stopped:
            return None  # refused or waiting: that cannot be told apart without waiting
        if (known is not None and known.is_live) or (op.call.name == "single" and waiting):
            return None
        value, refused = self._ask(op)
        life = live(self._books, op.call, op.session, value, begins)
        flight = self.flights[op.label] = Flight(op, life, begins)
        if refused:
            flight.phase, flight.outcome = "done", Outcome(value, refused)
            flight.can_be_asked_again = False
            return {}
        flight.advance()
        if begins == "waiting" and op.call.name != "single":
            flight.advance()
        return {}

    def let_waiting_begin(self) -> None:
        """Who waits for the one slot of ``single`` has it as soon as nobody else does."""
        if any(flight.is_single("held") for flight in self.flights.values()):
            return
        for flight in self.flights.values():
            if flight.is_single("waiting"):
                flight.advance()

    def do_release(self, op: Op) -> Seen | None:
        flight = self.flights.get(op.label)
        if flight is None or flight.phase != "held":
            return None
        waiting = any(other.is_single("waiting") for other in self.flights.values())
        if waiting and flight.is_single("held") and flight.calls_after_hold:
            return None  # it lends its slot while it calls, and no law says who has it then
        flight.advance()
        return {}

    def do_cancel(self, op: Op) -> Seen | None:
        flight = self.flights.get(op.label)
        if flight is None:
            return None
        flight.end("ExecutionCancelledError")
        return {}

    def do_again(self, op: Op) -> Seen | None:
        flight = self.flights.get(op.label)
        if flight is None or flight.outcome is None or not flight.can_be_asked_again:
            return None
        return {"result": flight.outcome.seen()}
