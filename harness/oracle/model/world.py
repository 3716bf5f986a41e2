"""A conformant runtime, as far as a program can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from harness.oracle.model.books import Books
from harness.oracle.model.executions import Executions
from harness.oracle.model.failures import Failures
from harness.oracle.model.flight import Flight
from harness.oracle.model.locks import Locks
from harness.oracle.model.registry import Registry
from harness.oracle.model.seen import ANY, Seen
from harness.oracle.model.sessions import Sessions
from harness.oracle.model.states import States
from harness.oracle.model.submissions import SUBMITTING, Submissions
from harness.oracle.program import Op

__all__ = ["World"]

_PHASES = {"held": "active", "waiting": "waiting", "delayed": "delayed"}
"""What statistics call the phases of a flight."""


class World:
    """Applies operations one after the other; each part of it knows some of them."""

    def __init__(self) -> None:
        books = self._books = Books()
        self._executions = Executions(books)
        self._submissions = Submissions(books, self._executions)
        self._locks = Locks()
        self._parts = (
            self,
            self._executions,
            self._submissions,
            Failures(books, self._executions),
            Sessions(books, self._executions),
            States(books),
            self._locks,
            Registry(books, self._executions),
        )

    def apply(self, op: Op) -> Seen | None:
        """What the operation shows; ``None`` where it makes no sense, and then changes nothing."""
        before = {*self._executions.live()}
        seen = self._act(op)
        if seen is None:
            return None
        self._submissions.let_waiting_begin()
        if op.verb in SUBMITTING:
            before.add(op.label)
        ended: Seen = {}
        for label in sorted(before):
            outcome = self._executions.flights[label].outcome
            if outcome is not None:
                ended[label] = outcome.seen()
        live = {label: flight.phase for label, flight in self._executions.live().items()}
        return {**seen, "ended": ended, "live": live, "kept": self._books.kept()}

    def _act(self, op: Op) -> Seen | None:
        name = f"do_{op.verb.replace('-', '_')}"
        act: Callable[[Op], Seen | None]
        [act] = [getattr(part, name) for part in self._parts if hasattr(part, name)]
        return act(op)

    def closing(self) -> list[Op]:
        """The operations that end what a program left."""
        ops = [Op("cancel", label=label) for label in self._executions.live()]
        return ops + [Op("unlock", lock=lock) for lock in self._locks.left()]

    def afterwards(self) -> Seen:
        """What is there when all is over."""
        return {
            **self.do_stats(Op("stats")),
            "stories": sorted(self._books.stories),
            "told": {name: session.told for name, session in self._books.sessions.items()},
            "dead": self._books.seen_letters(),
            "heard": "as told",
            "hooks": sorted(self._books.hooks),
        }

    def do_stats(self, _op: Op) -> Seen:
        sessions = self._books.sessions
        flights = self._executions.live().values()
        in_all = _figures(self._books.counts, flights)
        return {
            "stats": _named(in_all),
            "totals": _totals(in_all),
            "session stats": {
                name: ANY
                if session.is_stopped
                else _named(_figures(session.counts, [f for f in flights if f.op.session == name]))
                for name, session in sessions.items()
            },
            "active sessions": [n for n, session in sessions.items() if session.is_active],
        }

    def do_restart(self, _op: Op) -> Seen | None:
        if self._executions.live():
            return None
        return {"locks": self._locks.stop()}

    def do_reopen(self, op: Op) -> Seen | None:
        if self._books.learned or not self._books.served >= {"once", "thrice", "single"}:
            return None  # a new runtime has what it had at first
        return self.do_restart(op)


def _figures(
    counts: Counter[tuple[str, str]], flights: Iterable[Flight]
) -> Counter[tuple[str, str]]:
    """What has ended, and where the others are."""
    now = Counter(counts)
    for flight in flights:
        assert flight.op.call is not None
        now[flight.op.call.name, _PHASES[flight.phase]] += 1
    return now


def _named(figures: Counter[tuple[str, str]]) -> Seen:
    return {f"{name} {kind}": number for (name, kind), number in sorted(figures.items()) if number}


def _totals(figures: Counter[tuple[str, str]]) -> Seen:
    """The sums of a runtime. What is delayed is in none of them."""
    total: Counter[str] = Counter()
    for (_, kind), number in figures.items():
        total[kind] += number
    return {kind: total[kind] for kind in ("waiting", "active", "completed", "failed")}
