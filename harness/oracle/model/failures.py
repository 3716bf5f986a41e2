"""What operations do about work that failed for good."""

from __future__ import annotations

from harness.oracle.model.books import Books
from harness.oracle.model.executions import Executions
from harness.oracle.model.lives import perform
from harness.oracle.model.seen import Seen
from harness.oracle.program import Op

__all__ = ["Failures"]


class Failures:
    """Dead letters: looked at, run again, dropped; and the cause that is removed."""

    def __init__(self, books: Books, executions: Executions) -> None:
        self._books = books
        self._executions = executions

    def do_mend(self, _op: Op) -> Seen | None:
        if self._books.is_mended:
            return None
        if any("swarm(" in str(flight.op.call) for flight in self._executions.live().values()):
            return None  # what it will show was foreseen as the world is now
        self._books.is_mended = True
        return {}

    def do_letters(self, _op: Op) -> Seen:
        ours = [letter for letter in self._books.letters if letter.name == "once"]
        return {
            "all": self._books.seen_letters(),
            "of once": len(ours),
            "at most 2": min(len(self._books.letters), 2),
        }

    def do_drop(self, op: Op) -> Seen | None:
        flight = self._executions.flights.get(op.label)
        if flight is None or flight.is_live:
            return None
        letter = self._books.letter_of(op.label)
        if letter is not None:
            self._books.letters.remove(letter)
        return {"dropped": letter is not None}

    def do_revive(self, op: Op) -> Seen | None:
        flight = self._executions.flights.get(op.label)
        letter = self._books.letter_of(op.label)
        if flight is None or flight.is_live:
            return None
        if letter is None:
            return {"revived": False}
        call, session, given = flight.op.call, letter.session, letter.given
        assert call is not None
        refused = self._executions.refusal(call.name, session)
        if refused == "?" or not self._executions.would_end(call, session, given):
            return None
        if refused:
            return {"error": refused}
        self._books.letters.remove(letter)
        self._executions.open(session)
        again = perform(self._books, call, session, given, owner=op.label)
        return {"revived": True, "result": again.seen()}
