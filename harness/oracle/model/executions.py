"""What operations do that ask for executions and wait for them."""

from __future__ import annotations

from dataclasses import replace

from harness.oracle.model.books import Books
from harness.oracle.model.compositions import Unforeseen
from harness.oracle.model.flight import Flight
from harness.oracle.model.lives import live, perform
from harness.oracle.model.outcome import Outcome, Value
from harness.oracle.model.seen import Seen
from harness.oracle.program import DOOMED, MIXED_IN, NO_SESSION, Call, Op

__all__ = ["Executions"]


class Executions:
    """The executions of a program; ``flights`` are those that have a label."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.flights: dict[str, Flight] = {}

    def live(self) -> dict[str, Flight]:
        """Those flights that have not ended, by label."""
        return {label: one for label, one in sorted(self.flights.items()) if one.is_live}

    def some_single(self, *phases: str) -> bool:
        """Whether one of ``single`` is in one of these phases."""
        return any(flight.is_single(*phases) for flight in self.flights.values())

    def given(self, session: str) -> Value:
        """With what a caller begins."""
        known = self._books.sessions.get(session)
        return known.kept if known is not None and known.kept is not None else (0, ())

    def refusal(self, name: str, session: str) -> str:
        """Why it would be refused, empty where it would not; ``?`` where there are two reasons."""
        is_unknown = not self._books.serves(name) and name != DOOMED
        known = self._books.sessions.get(session)
        if known is not None and known.is_stopped:
            return "?" if is_unknown else "SessionStoppedError"
        return "ProcessorNotFoundError" if is_unknown else ""

    def open(self, session: str) -> None:
        """Work is accepted: its session comes to be."""
        if session in self._books.sessions:
            self._books.sessions[session].open()

    def is_unforeseen(self, call: Call, session: str, given: Value) -> bool:
        """Whether nobody can say what it would show, from its first attempt to its last."""
        try:
            for _ in live(_Scratch(self._books), call, session, given):
                pass
        except Unforeseen:
            return True
        return False

    def would_end(self, call: Call, session: str, given: Value) -> bool:
        """Whether it would be at its end soon, and we know at which."""
        if call.name == "single" and self.some_single("held", "waiting"):
            return False
        try:
            phase = next(live(_Scratch(self._books), call, session, given), "")
        except Unforeseen:
            return False
        return not phase

    # --- operations

    def do_execute(self, op: Op) -> Seen | None:
        assert op.call is not None
        seen = self._run(op.session, [(op.call, self.given(op.session))])
        return None if seen is None else {"result": seen[0]}

    def do_inside(self, op: Op) -> Seen | None:
        return self.do_execute(op)

    def do_many(self, op: Op) -> Seen | None:
        assert op.call is not None
        count, trail = self.given(op.session)
        # In a session nobody knows who commits last: there they are all the same.
        apart = op.session == NO_SESSION
        given = [(count + apart * one, trail) for one in range(op.number)]
        seen = self._run(op.session, [(op.call, one) for one in given])
        return None if seen is None else {"results": seen}

    def do_mixed(self, op: Op) -> Seen | None:
        assert op.call is not None
        calls = [op.call, MIXED_IN]
        seen = self._run(NO_SESSION, [(calls[one % 2], (one, ())) for one in range(op.number)])
        return None if seen is None else {"results": seen}

    def do_crash(self, op: Op) -> Seen | None:
        # That a worker died with it is nobody's business. No runtime of ours has this processor.
        assert op.call is not None
        if "!broken" in str(op.call):
            return None  # what mends it does so in this process
        return self.do_execute(replace(op, call=replace(op.call, name=DOOMED)))

    def _run(self, session: str, asked: list[tuple[Call, Value]]) -> list[Seen] | None:
        refusals = [self.refusal(call.name, session) for call, _ in asked]
        would_end = all(self.would_end(call, session, given) for call, given in asked)
        if "?" in refusals or not would_end or any(call.name == "later" for call, _ in asked):
            return None
        if not all(refusals):
            self.open(session)
        return [
            Outcome(given, refused).seen()
            if refused
            else perform(self._books, call, session, given).seen()
            for refused, (call, given) in zip(refusals, asked, strict=True)
        ]


class _Scratch:
    """Books in which nothing is entered: for what would be."""

    def __init__(self, books: Books) -> None:
        self.is_mended = books.is_mended
        self.serves = books.serves
        self.title = books.title

    def ended(self, name: str, session: str, story: str, *, success: bool) -> None:
        pass

    def commit(self, session: str, value: Value) -> None:
        pass

    def bury(self, name: str, session: str, error: str, given: Value, owner: str) -> None:
        pass

    def hooked(self, what: str) -> None:
        pass
