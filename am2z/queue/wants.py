"""What a worker would take, best first."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from am2z.processor import Processor
from am2z.registry import Registry
from am2z.slots import Slots

__all__ = ["Wants"]


class Wants:
    """The registered processors, as far as there are slots for their work."""

    def __init__(self, registry: Registry, slots: Slots) -> None:
        self._registry = registry
        self._slots = slots
        self._rotation = 0

    def now(self) -> list[tuple[str, int]]:
        """What could begin now: names, by priority and in turn among equals, and how many of each.

        One after the other asks for all the room that there is: together they may not have it.
        """
        self._rotation += 1
        ranked = sorted(self._registry.all(), key=_priority)
        wants: list[tuple[str, int]] = []
        for _, equals in groupby(ranked, key=_priority):
            group = list(equals)
            first = self._rotation % len(group)
            for processor in group[first:] + group[:first]:
                room = self._slots.room(processor)
                if room > 0:
                    wants.append((processor.name, room))
        return wants

    def soon(self) -> list[str]:
        """The processors below their own limits: also while every slot is in use."""
        return [one.name for one in self._registry.all() if not self._slots.is_full(one)]


def _priority(processor: Processor[Any]) -> int:
    return -processor.queue.priority
