"""What operations on committed states do: each writer counts one version on."""

from __future__ import annotations

from harness.oracle.model.books import Books
from harness.oracle.model.seen import Seen
from harness.oracle.program import Op

__all__ = ["States"]


class States:
    """The committed states."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def do_set(self, op: Op) -> Seen:
        return {"version": self._books.sessions[op.session].write((op.number, ()))}

    def do_set_right(self, op: Op) -> Seen:
        return self.do_set(op)

    def do_set_wrong(self, _op: Op) -> Seen:
        return {"error": "StateConflictError"}

    def do_update(self, op: Op) -> Seen:
        session = self._books.sessions[op.session]
        if session.kept is None:
            return {"error": "StateNotFoundError"}
        count, trail = session.kept
        session.write((count + op.number, trail))
        return {"answer": count + op.number}

    def do_updates(self, op: Op) -> Seen:
        seen = [self.do_update(Op("update", op.session, number=1)) for _ in range(op.number)]
        return {"answers": sorted(map(str, seen))}

    def do_race(self, op: Op) -> Seen:
        self.do_set(op)
        return {"won": 1, "lost": op.number - 1}

    def do_delete(self, op: Op) -> Seen:
        self._books.sessions[op.session].forget()
        return {}

    def do_get(self, op: Op) -> Seen:
        session = self._books.sessions[op.session]
        is_there = session.kept is not None
        return {"exists": is_there, "version": session.version, "checksum": is_there or None}
