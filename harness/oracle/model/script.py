"""From a program to what is done for it, and what each operation is to show."""

from __future__ import annotations

from harness.oracle.model.seen import Planned
from harness.oracle.model.world import World
from harness.oracle.program import Program

__all__ = ["script", "sensible"]


def script(program: Program) -> list[Planned]:
    """What is done for ``program``, each operation with what it shows on a conformant runtime.

    The operations that make sense, then those that end what is left, then a last look.
    """
    world = World()
    planned = [Planned(op, seen) for op in program if (seen := world.apply(op)) is not None]
    for op in world.closing():
        seen = world.apply(op)
        assert seen is not None
        planned.append(Planned(op, seen))
    return [*planned, Planned(None, world.afterwards())]


def sensible(program: Program) -> Program:
    """Those operations of a program that make sense where they stand."""
    world = World()
    return Program(tuple(op for op in program if world.apply(op) is not None))
