"""What operations on sessions do: each is active, or stopped, or neither."""

from __future__ import annotations

from harness.oracle.model.books import Books
from harness.oracle.model.executions import Executions
from harness.oracle.model.seen import Seen
from harness.oracle.program import Op

__all__ = ["Sessions"]


class Sessions:
    """The lives of the sessions."""

    def __init__(self, books: Books, executions: Executions) -> None:
        self._books = books
        self._executions = executions

    def do_stop(self, op: Op) -> Seen:
        session = self._books.sessions[op.session]
        if session.is_active:
            session.told.append("stopped")
        session.is_stopped, session.is_active = True, False
        session.counts.clear()
        for flight in self._executions.flights.values():
            if flight.op.session == op.session:
                flight.can_be_asked_again = False
                flight.end("SessionStoppedError")
        return {}

    def do_clean(self, op: Op) -> Seen:
        session = self._books.sessions[op.session]
        if session.is_active:
            self.do_stop(op)
        session.is_stopped = False
        session.forget()
        return {}

    def do_clean_all(self, _op: Op) -> Seen:
        for name, session in self._books.sessions.items():
            if session.is_active:
                self.do_clean(Op("clean", session=name))
        return {}
