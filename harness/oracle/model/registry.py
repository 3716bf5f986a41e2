"""What operations on registrations do."""

from __future__ import annotations

from harness.oracle.model.books import Books
from harness.oracle.model.executions import Executions
from harness.oracle.model.seen import Seen
from harness.oracle.program import Op

__all__ = ["Registry"]


class Registry:
    """Processors are forgotten, and learned anew. Not while some of their work is under way."""

    def __init__(self, books: Books, executions: Executions) -> None:
        self._books = books
        self._executions = executions

    def do_forget(self, op: Op) -> Seen | None:
        if self._is_busy(op.name) or not self._books.serves(op.name):
            return None
        self._books.served.remove(op.name)
        return {"was there": True, "processors": self._books.processors()}

    def do_learn(self, op: Op) -> Seen | None:
        if self._is_busy(op.name):
            return None
        self._books.served.add(op.name)
        self._books.learned[op.name] += 1
        return {"processors": self._books.processors()}

    def _is_busy(self, name: str) -> bool:
        calls = [str(flight.op.call) for flight in self._executions.live().values()]
        return any(call.startswith(f"{name}(") or "swarm(" in call for call in calls)
