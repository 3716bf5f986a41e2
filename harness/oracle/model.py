"""The pure model: what a program may show on a conformant runtime. No runtime is needed for it.

Programs are made so that every legal run of one shows the same: what runs at the same time is
commutative, or is held where we want it. So a prediction is one value; what the contract leaves
open is ``ANY``. Operations that make no sense where they stand (``release`` of what does not hold)
are left out of the script, so that any part of a program is a program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from harness.oracle.lives import Ended, Life, Outcome, Value, live, perform
from harness.oracle.program import DOOMED, LOCKS, SESSIONS, Op, Program

__all__ = ["ANY", "CLOSING", "Planned", "Seen", "script", "sensible"]

CLOSING = "afterwards"
"""What the last entry of a script is called: what is looked at when all is over."""

Seen = dict[str, Any]
"""What an operation shows, as plain data."""


class _Any:
    def __repr__(self) -> str:
        return "(anything)"


ANY: Final = _Any()
"""What the contract does not say."""


@dataclass(frozen=True)
class Planned:
    """An operation, and what it is to show. ``op`` is ``None`` for the look at the end."""

    op: Op | None
    expected: Seen

    @property
    def title(self) -> str:
        """The operation as text."""
        return CLOSING if self.op is None else str(self.op)


def script(program: Program) -> list[Planned]:
    """What is done for ``program``, each operation with what it shows on a conformant runtime.

    The operations that make sense, then those that end what is left, then a last look.
    """
    world = _World()
    planned = [Planned(op, seen) for op in program if (seen := world.apply(op)) is not None]
    for op in world.closing():
        seen = world.apply(op)
        assert seen is not None
        planned.append(Planned(op, seen))
    return [*planned, Planned(None, world.afterwards())]


def sensible(program: Program) -> Program:
    """Those operations of a program that make sense where they stand."""
    world = _World()
    return Program(tuple(op for op in program if world.apply(op) is not None))


@dataclass
class _Session:
    is_active: bool = False
    is_stopped: bool = False
    kept: Value | None = None
    version: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def write(self, value: Value) -> int:
        self.kept = value
        self.version += 1
        return self.version

    def forget(self) -> None:
        self.kept, self.version = None, 0


@dataclass
class _Flight:
    """What a label stands for: an execution that was submitted."""

    op: Op
    life: Life
    phase: str
    outcome: Outcome | None = None
    can_be_asked_again: bool = True

    @property
    def is_live(self) -> bool:
        return self.outcome is None

    def is_single(self, *phases: str) -> bool:
        assert self.op.call is not None
        return self.op.call.name == "single" and self.phase in phases

    @property
    def calls_after_hold(self) -> bool:
        """Whether it calls somebody once it is let go on."""
        assert self.op.call is not None
        verbs = [step.verb for step in self.op.call.steps]
        return "hold" in verbs and "call" in verbs[verbs.index("hold") :]

    def advance(self) -> None:
        self._step(lambda: next(self.life))

    def end(self, error: str) -> None:
        if self.is_live:
            self._step(lambda: self.life.throw(Ended(error)))

    def _step(self, move: Callable[[], str]) -> None:
        try:
            self.phase = move()
        except StopIteration as end:
            self.phase, self.outcome = "done", end.value


class _World:
    """A conformant runtime, as far as a program can tell. It is the ledger of its executions."""

    def __init__(self) -> None:
        self._sessions = {name: _Session() for name in SESSIONS}
        self._flights: dict[str, _Flight] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._stories: list[str] = []
        self._dead: list[list[str]] = []
        self._waits = dict.fromkeys(LOCKS, 0)  # how many have a lock or wait for it

    def apply(self, op: Op) -> Seen | None:
        """What the operation shows; ``None`` where it makes no sense, and then changes nothing."""
        before = {label for label, flight in self._flights.items() if flight.is_live}
        act: Callable[[Op], Seen | None] = getattr(self, f"do_{op.verb.replace('-', '_')}")
        seen = act(op)
        if seen is None:
            return None
        self._let_waiting_begin()
        if op.verb in ("submit", "delay"):
            before.add(op.label)
        ended: Seen = {}
        for label in sorted(before):
            outcome = self._flights[label].outcome
            if outcome is not None:
                ended[label] = outcome.seen()
        live = {name: f.phase for name, f in sorted(self._flights.items()) if f.is_live}
        return {**seen, "ended": ended, "live": live, "kept": self._kept()}

    def closing(self) -> list[Op]:
        """The operations that end what a program left."""
        live = [label for label, flight in sorted(self._flights.items()) if flight.is_live]
        ops = [Op("cancel", label=label) for label in live]
        return ops + [Op("unlock", lock=lock) for lock in LOCKS for _ in range(self._waits[lock])]

    def afterwards(self) -> Seen:
        """What is there when all is over."""
        return {
            **self._all_stats(),
            "stories": sorted(self._stories),
            "told": {name: session.told for name, session in self._sessions.items()},
            "dead": sorted(self._dead),
        }

    def _kept(self) -> Seen:
        return {
            name: None if s.kept is None else [s.kept[0], list(s.kept[1]), s.version]
            for name, s in self._sessions.items()
        }

    # --- the ledger of executions

    def ended(self, name: str, session: str, story: str, *, success: bool) -> None:
        kind = "completed" if success else "failed"
        self._counts[name, kind] += 1
        self._stories.append(f"{name} {story}")
        if session in self._sessions and self._sessions[session].is_active:
            self._sessions[session].counts[name, kind] += 1

    def commit(self, session: str, value: Value) -> None:
        if session in self._sessions:
            self._sessions[session].write(value)

    def bury(self, name: str, session: str, error: str) -> None:
        self._dead.append([name, session, error])

    # --- executions

    def _ask(self, op: Op) -> tuple[Value, str]:
        """With what an execution begins, and why it is refused, if it is. Opens its session."""
        assert op.call is not None
        session = self._sessions.get(op.session)
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
        taken = any(f.is_single("held", "waiting") for f in self._flights.values())
        if op.call.name == "later" or (op.call.name == "single" and taken):
            return None  # nobody would answer
        session = self._sessions.get(op.session)
        if op.call.name == "nobody" and session is not None and session.is_stopped:
            return None  # there are two reasons to refuse it, and no law says which comes first
        value, refused = self._ask(op)
        if refused:
            return [Outcome(value, refused).seen() for _ in range(times)]
        return [perform(self, op.call, op.session, value).seen() for _ in range(times)]

    def do_submit(self, op: Op) -> Seen | None:
        return self._fly(op, "waiting")

    def do_delay(self, op: Op) -> Seen | None:
        assert op.call is not None
        session = self._sessions.get(op.session)
        if op.call.name == "nobody" or (session is not None and session.is_stopped):
            return None  # refused or delayed: that cannot be told apart without waiting
        return self._fly(op, "delayed")

    def _fly(self, op: Op, begins: str) -> Seen | None:
        assert op.call is not None
        known = self._flights.get(op.label)
        waiting = any(f.is_single("waiting") for f in self._flights.values())
        taken = any(f.is_single("held") for f in self._flights.values())
        session = self._sessions.get(op.session)
        if op.call.name == "nobody":
            return None
        if taken and op.call.name == "single" and session is not None and session.is_stopped:
            return None  # refused or waiting: that cannot be told apart without waiting
        if (known is not None and known.is_live) or (op.call.name == "single" and waiting):
            return None
        value, refused = self._ask(op)
        life = live(self, op.call, op.session, value, begins)
        flight = self._flights[op.label] = _Flight(op, life, begins)
        if refused:
            flight.phase, flight.outcome = "done", Outcome(value, refused)
            flight.can_be_asked_again = False
            return {}
        flight.advance()
        if begins == "waiting" and op.call.name != "single":
            flight.advance()
        return {}

    def _let_waiting_begin(self) -> None:
        """Who waits for the one slot of ``single`` has it as soon as nobody else does."""
        if any(flight.is_single("held") for flight in self._flights.values()):
            return
        for flight in self._flights.values():
            if flight.is_single("waiting"):
                flight.advance()

    def do_release(self, op: Op) -> Seen | None:
        flight = self._flights.get(op.label)
        if flight is None or flight.phase != "held":
            return None
        waiting = any(other.is_single("waiting") for other in self._flights.values())
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

    # --- sessions

    def do_stop(self, op: Op) -> Seen:
        session = self._sessions[op.session]
        if session.is_active:
            session.told.append("stopped")
        session.is_stopped, session.is_active = True, False
        session.counts.clear()
        for flight in self._flights.values():
            if flight.op.session == op.session:
                flight.can_be_asked_again = False
                flight.end("SessionStoppedError")
        return {}

    def do_clean(self, op: Op) -> Seen:
        session = self._sessions[op.session]
        if session.is_active:
            self.do_stop(op)
        session.is_stopped = False
        session.forget()
        return {}

    def do_clean_all(self, _op: Op) -> Seen:
        for name, session in self._sessions.items():
            if session.is_active:
                self.do_clean(Op("clean", session=name))
        return {}

    # --- state

    def do_set(self, op: Op) -> Seen:
        return {"version": self._sessions[op.session].write((op.number, ()))}

    def do_set_right(self, op: Op) -> Seen:
        return self.do_set(op)

    def do_set_wrong(self, _op: Op) -> Seen:
        return {"error": "StateConflictError"}

    def do_update(self, op: Op) -> Seen:
        session = self._sessions[op.session]
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
        self._sessions[op.session].forget()
        return {}

    def do_get(self, op: Op) -> Seen:
        session = self._sessions[op.session]
        is_there = session.kept is not None
        return {"exists": is_there, "version": session.version, "checksum": is_there or None}

    # --- locks

    def do_lock(self, op: Op) -> Seen | None:
        if self._waits[op.lock] >= 2:
            return None
        self._waits[op.lock] += 1
        return self._holder(op) if self._waits[op.lock] == 1 else {"holder": "another"}

    def do_unlock(self, op: Op) -> Seen | None:
        if not self._waits[op.lock]:
            return None
        self._waits[op.lock] -= 1
        left = {"left": "in order"}
        return {**left, **(self._holder(op) if self._waits[op.lock] else {"holder": "nobody"})}

    def _holder(self, _op: Op) -> Seen:
        return {"holder": "the next", "fence": "greater"}

    def do_line(self, op: Op) -> Seen | None:
        if self._waits[op.lock]:
            return None
        return {"turns": op.number, "at once": 1, "fence": "greater"}

    # --- the runtime

    def do_stats(self, _op: Op) -> Seen:
        return self._all_stats()

    def _all_stats(self) -> Seen:
        return {
            "stats": self._sorted(self._counts, self._flights.values()),
            "session stats": {
                name: ANY
                if session.is_stopped
                else self._sorted(
                    session.counts, [f for f in self._flights.values() if f.op.session == name]
                )
                for name, session in self._sessions.items()
            },
            "active sessions": [n for n, session in self._sessions.items() if session.is_active],
        }

    def _sorted(self, counts: Counter[tuple[str, str]], flights: Any) -> Seen:
        now = Counter(counts)
        names = {"held": "active", "waiting": "waiting", "delayed": "delayed"}
        for flight in flights:
            if flight.is_live:
                now[flight.op.call.name, names[flight.phase]] += 1
        return {f"{name} {kind}": number for (name, kind), number in sorted(now.items()) if number}

    def do_restart(self, _op: Op) -> Seen | None:
        if any(flight.is_live for flight in self._flights.values()):
            return None
        ends = {}
        for lock, number in self._waits.items():
            if number:
                ends[lock] = ["LockLostError", "RuntimeStoppedError"][:number]
            self._waits[lock] = 0
        return {"locks": ends}

    def do_reopen(self, op: Op) -> Seen | None:
        return self.do_restart(op)
