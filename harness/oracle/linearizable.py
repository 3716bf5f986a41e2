"""Is a history of concurrent operations one that a sequential object could have had?

The search of J. M. Wing and C. Gong, "Testing and verifying concurrent objects" (Journal of
Parallel and Distributed Computing 17, 1993): of the operations that have begun before any other one
has ended, take one that the specification allows next, and go back where none is left. With the
memory of G. Lowe, "Testing for linearizability" (Concurrency and Computation: Practice and
Experience 29(4), 2017): a set of operations that was taken before, and led to the same state, is
not tried again. Without it the search is exponential in all but the luckiest histories.

One thing is added. An operation that fits here and can never change anything (a read, a refusal) is
taken at once, and nothing else is tried in its place: in any order that has it later it may as well
be here. One that only changes nothing here (to delete what is not there) is no such operation.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.outcome import Undecided

__all__ = ["UNKNOWN", "LockSpec", "Operation", "RegisterSpec", "Spec", "Verdict", "linearize"]


class _Unknown:
    def __repr__(self) -> str:
        return "?"


UNKNOWN = _Unknown()
"""The answer of an operation of which nobody knows whether it happened."""


@dataclass(frozen=True)
class Operation:
    """One operation of one client: when it was asked for and when it was answered.

    The moments are numbers of one counter. ``returned`` is ``None`` where no answer came: then it
    may have happened at any later time, or never.
    """

    client: str
    call: tuple[Any, ...]
    answer: Any
    invoked: int
    returned: int | None

    def __str__(self) -> str:
        name, *operands = self.call
        shown = ", ".join(map(repr, operands))
        end = "" if self.returned is None else self.returned
        return f"[{self.invoked:>4} - {end:>4}] {self.client}: {name}({shown}) -> {self.answer!r}"


class Spec(Protocol):
    """A sequential object."""

    @property
    def initial(self) -> Hashable:
        """The state at the beginning."""
        ...

    def step(self, state: Any, call: tuple[Any, ...], answer: Any) -> Hashable | None:
        """The state after an operation; ``None`` where it cannot have that answer here."""
        ...

    def is_idle(self, call: tuple[Any, ...], answer: Any) -> bool:
        """Whether an operation with that answer changes nothing, wherever it stands."""
        ...


@dataclass(frozen=True)
class Verdict:
    """``order``: the operations one after the other; of a bad history, as far as it is explained.

    ``stuck`` are those of which one would have to be next, and none can be. ``state`` is where the
    order leads.
    """

    is_linearizable: bool
    order: tuple[Operation, ...] = ()
    stuck: tuple[Operation, ...] = ()
    state: Any = None
    tried: int = 0

    def lines(self, shown: int = 12) -> list[str]:
        """Why a history is bad, to be read."""
        last = self.order[-shown:]
        left_out = len(self.order) - len(last)
        lines = [f"({left_out} operations before these are explained)"] if left_out else []
        lines += map(str, last)
        lines += [f"leads to {self.state!r}, and from there none of these can be next:"]
        return lines + [f"    {operation}" for operation in self.stuck]


class _Entry:
    """A begin or an end in the list of moments."""

    __slots__ = ("after", "before", "index", "operation", "partner")

    def __init__(self, operation: Operation | None, index: int) -> None:
        self.operation = operation  # of a begin; an end has none
        self.index = index
        self.partner: _Entry | None = None
        self.before: _Entry | None = None
        self.after: _Entry | None = None

    def unlink(self) -> None:
        assert self.before is not None
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def relink(self) -> None:
        assert self.before is not None
        self.before.after = self
        if self.after is not None:
            self.after.before = self


def linearize(history: Sequence[Operation], spec: Spec, *, limit: int = 200_000) -> Verdict:
    """Whether there is an order of ``history`` that ``spec`` allows and real time does not forbid.

    An operation that ended before another began comes before it. Raises ``Undecided`` where more
    than ``limit`` combinations had to be remembered (some 150 bytes each): an answer that would
    cost all memory is none.
    """
    operations = sorted(history, key=lambda operation: operation.invoked)
    head = _linked(operations)
    state: Any = spec.initial
    taken = 0  # a bit for each operation that has its place
    left = sum(operation.returned is not None for operation in operations)
    seen: set[tuple[int, int, Hashable]] = set()
    stack: list[tuple[_Entry, Any, bool]] = []  # the last: nothing else is worth a try
    best: tuple[int, tuple[Operation, ...], tuple[Operation, ...], Any] = (-1, (), (), state)
    entry = head.after
    while left:
        assert entry is not None, "what has ended has an end in the list"
        operation = entry.operation
        if operation is not None:
            after = spec.step(state, operation.call, operation.answer)
            if after is not None:
                with_it = taken | 1 << entry.index
                # Most of the first ones are taken: what matters is the ragged end.
                low = (~with_it & (with_it + 1)).bit_length() - 1
                key = (low, with_it >> low, after)
                if key not in seen:
                    if len(seen) >= limit:
                        raise Undecided(
                            f"{len(operations)} operations could not be put in an order with "
                            f"{limit} combinations; record a shorter history"
                        )
                    seen.add(key)
                    idle = spec.is_idle(operation.call, operation.answer)
                    stack.append((entry, state, idle))
                    state, taken = after, with_it
                    _take(entry)
                    left -= operation.returned is not None
                    entry = head.after
                    continue
            entry = entry.after
            continue
        # An operation ends here that has no place yet: so one of those before must be undone.
        if len(stack) > best[0]:
            order = tuple(e.operation for e, *_ in stack if e.operation is not None)
            best = (len(stack), order, _open(head, entry), state)
        forced = True
        while forced:
            if not stack:
                return Verdict(False, best[1], best[2], best[3], len(seen))
            entry, state, forced = stack.pop()
            assert entry.operation is not None
            taken &= ~(1 << entry.index)
            left += entry.operation.returned is not None
            _give_back(entry)
        entry = entry.after
    order = tuple(e.operation for e, *_ in stack if e.operation is not None)
    return Verdict(True, order, (), state, len(seen))


def _linked(operations: Sequence[Operation]) -> _Entry:
    moments: list[tuple[int, _Entry]] = []
    for index, operation in enumerate(operations):
        begin = _Entry(operation, index)
        moments.append((operation.invoked, begin))
        if operation.returned is not None:
            begin.partner = _Entry(None, index)
            moments.append((operation.returned, begin.partner))
    moments.sort(key=lambda moment: moment[0])
    head = last = _Entry(None, -1)
    for _, entry in moments:
        last.after, entry.before = entry, last
        last = entry
    return head


def _take(entry: _Entry) -> None:
    entry.unlink()
    if entry.partner is not None:
        entry.partner.unlink()


def _give_back(entry: _Entry) -> None:
    if entry.partner is not None:
        entry.partner.relink()
    entry.relink()


def _open(head: _Entry, end: _Entry) -> tuple[Operation, ...]:
    """The operations that have begun before ``end`` and have no place."""
    found = []
    entry = head.after
    while entry is not None and entry is not end:
        if entry.operation is not None:
            found.append(entry.operation)
        entry = entry.after
    return tuple(found)


# --- what runtimes promise


@dataclass(frozen=True)
class RegisterSpec:
    """A committed state: a number with a version that counts its writes.

    ``get() -> (version, value)`` (0 and ``None``: there is none), ``set(value) -> version``,
    ``set-if(value, expected) -> version`` or ``"conflict"``, ``add(n) -> value`` or ``"absent"``,
    ``commit(value) -> "done"`` for what an execution writes, and ``delete() -> "done"``, after
    which versions begin at 1 again.
    """

    initial: tuple[int, int | None] = (0, None)

    def step(
        self, state: tuple[int, int | None], call: tuple[Any, ...], answer: Any
    ) -> tuple[int, int | None] | None:
        """See ``Spec.step``."""
        version, value = state
        after: tuple[int, int | None]
        right: Any
        match call:
            case ("get",):
                after, right = state, state
            case ("set", new):
                after, right = (version + 1, new), version + 1
            case ("set-if", new, expected) if expected == version:
                after, right = (version + 1, new), version + 1
            case ("set-if", _, _):
                after, right = state, "conflict"
            case ("add", _) if value is None:
                after, right = state, "absent"
            case ("add", number):
                after, right = (version + 1, value + number), value + number
            case ("delete",):
                after, right = (0, None), "done"
            case ("commit", new):
                after, right = (version + 1, new), "done"
            case _:
                raise AssertionError(f"a register has no operation {call!r}")
        return after if answer is UNKNOWN or answer == right else None

    def is_idle(self, call: tuple[Any, ...], answer: Any) -> bool:
        """See ``Spec.is_idle``."""
        return call[0] == "get" or answer in ("conflict", "absent")


@dataclass(frozen=True)
class LockSpec:
    """A lock: nobody or somebody has it, with a fence that is greater each time.

    ``acquire() -> fence`` and ``release(fence) -> "done"``.
    """

    initial: tuple[bool, int] = (False, 0)

    def step(
        self, state: tuple[bool, int], call: tuple[Any, ...], answer: Any
    ) -> tuple[bool, int] | None:
        """See ``Spec.step``."""
        is_held, fence = state
        match call:
            case ("acquire",):
                if is_held or answer is UNKNOWN:
                    return None  # a wish that was never granted has no effect
                return (True, answer) if answer > fence else None
            case ("release", mine):
                return (False, fence) if is_held and mine == fence else None
        raise AssertionError(f"a lock has no operation {call!r}")

    def is_idle(self, call: tuple[Any, ...], answer: Any) -> bool:  # noqa: ARG002 - `Model`'s
        """See ``Spec.is_idle``."""
        return False
