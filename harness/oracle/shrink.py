"""Makes a program smaller for as long as it still shows what it showed.

Programs are plain data and any part of one is a program, so nothing clever is needed: leave
operations out, in large pieces first, then steps, then make names and numbers plain. It takes far
fewer runs than shrinking the choices from which a program was drawn, and runs are what costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from harness.oracle.program import (
    LABELS,
    LOCKS,
    NO_SESSION,
    OPERANDS,
    SESSIONS,
    Call,
    Op,
    Program,
    Step,
)

__all__ = ["shrink"]

_LEAST = 1


def shrink(program: Program, still_shows: Callable[[Program], bool]) -> Program:
    """The smallest program on the way down from ``program`` that ``still_shows`` says yes to."""
    changed = True
    while changed:
        changed = False
        for candidates in (_without_operations, _simpler_operations, _renamed):
            smaller = _descend(program, candidates, still_shows)
            changed |= smaller != program
            program = smaller
    return program


def _descend(
    program: Program,
    candidates: Callable[[Program], Iterator[Program]],
    still_shows: Callable[[Program], bool],
) -> Program:
    """Take the first candidate that will do, and begin anew with it, until none does."""
    while (found := next(filter(still_shows, candidates(program)), None)) is not None:
        program = found
    return program


def _without_operations(program: Program) -> Iterator[Program]:
    ops, size = program.ops, len(program.ops)
    while size:
        for start in range(len(ops) - size, -1, -size):
            if rest := ops[:start] + ops[start + size :]:
                yield Program(rest)
        size //= 2


def _simpler_operations(program: Program) -> Iterator[Program]:
    for index, op in enumerate(program.ops):
        for simpler in _simpler(op):
            yield Program((*program.ops[:index], simpler, *program.ops[index + 1 :]))


def _renamed(program: Program) -> Iterator[Program]:
    """The program with its sessions, handles and locks named in the order of their appearance."""
    names: dict[str, dict[str, str]] = {"session": {}, "label": {}, "lock": {}}
    for field, order in (("session", SESSIONS), ("label", LABELS), ("lock", LOCKS)):
        for op in program.ops:
            now = getattr(op, field)
            if now in order and now not in names[field]:
                names[field][now] = order[len(names[field])]
    renamed = [
        replace(
            op,
            session=names["session"].get(op.session, op.session),
            label=names["label"].get(op.label, op.label),
            lock=names["lock"].get(op.lock, op.lock),
        )
        for op in program.ops
    ]
    if (new := Program(tuple(renamed))) != program:
        yield new


def _simpler(op: Op) -> Iterator[Op]:
    if op.call is not None:
        yield from (replace(op, call=call) for call in _simpler_calls(op.call))
    if op.number > _LEAST:
        yield from (replace(op, number=number) for number in sorted({_LEAST, op.number - 1}))
    # Towards the first of each, never back: so this comes to an end.
    for field, order in (
        ("session", (NO_SESSION, *SESSIONS)),
        ("label", LABELS),
        ("lock", LOCKS),
    ):
        now = getattr(op, field)
        least = 1 if field == "session" and "named" in OPERANDS[op.verb] else 0
        for other in order[least : order.index(now)] if now in order else ():
            yield _changed(op, field, other)
    if op.verb in ("at", "past"):
        yield replace(op, verb="delay" if op.verb == "at" else "submit")
    if op.verb in ("many", "submit", "inside") and op.call is not None:
        yield Op("execute", op.session, call=op.call)
    if op.verb in ("set-right", "race"):
        yield replace(op, verb="set")


def _changed(op: Op, field: str, value: str) -> Op:
    changes: dict[str, Any] = {field: value}
    return replace(op, **changes)


def _simpler_calls(call: Call) -> Iterator[Call]:
    steps = call.steps
    for index, step in enumerate(steps):
        yield replace(call, steps=steps[:index] + steps[index + 1 :])
        if step.call is not None:
            yield replace(call, steps=steps[:index] + step.call.steps + steps[index + 1 :])
    for index, step in enumerate(steps):
        for simpler in _simpler_steps(step):
            yield replace(call, steps=(*steps[:index], simpler, *steps[index + 1 :]))
    if call.name not in ("once", "nobody"):
        yield replace(call, name="once")
    if call.name not in ("once", "thrice", "nobody"):
        yield replace(call, name="thrice")


def _simpler_steps(step: Step) -> Iterator[Step]:
    if step.call is not None:
        yield from (replace(step, call=call) for call in _simpler_calls(step.call))
        if step.survives:
            yield replace(step, survives=False)
    elif step.verb == "add" and step.number > _LEAST:
        yield replace(step, number=_LEAST)
    elif step.verb == "fail":
        if step.word != "network":
            yield replace(step, word="network")
        yield from (replace(step, number=number) for number in (0, 2) if number < step.number)
