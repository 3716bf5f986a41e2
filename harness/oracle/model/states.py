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

    def do_spoil(self, op: Op) -> Seen:
        """An update that raises writes nothing."""
        is_there = self._books.sessions[op.session].kept is not None
        return {"error": "BusinessError" if is_there else "StateNotFoundError"}

    def do_expire(self, op: Op) -> Seen:
        """A state with a time to live is forgotten when that is over."""
        seen = self.do_set(op)
        self._books.sessions[op.session].forget()
        return {**seen, "then": "gone"}

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
        seen: Seen = {"exists": is_there, "version": session.version}
        return {**seen, "the same without its class": True} if is_there else seen
