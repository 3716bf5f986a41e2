"""The locks of a program: who holds one, who waits for it, and with which fence."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from am2z import AM2ZError, LockLostError, Runtime, RuntimeStoppedError
from harness.oracle.model import Seen

__all__ = ["Lockers"]


@dataclass
class _Turn:
    """One task that wants a lock, holds it, and leaves when it is let."""

    name: str
    holds: trio.Event = field(default_factory=trio.Event)
    may_leave: trio.Event = field(default_factory=trio.Event)
    left: trio.Event = field(default_factory=trio.Event)
    fence: int = 0
    ended_by: str = "in order"


class Lockers:
    """The tasks that lock for a program."""

    def __init__(self, nursery: trio.Nursery, patience: float) -> None:
        self._nursery = nursery
        self._patience = patience
        self._lines: dict[str, list[_Turn]] = {}
        self._fences: dict[str, int] = {}

    async def lock(self, runtime: Runtime, name: str) -> Seen:
        """Begin to wait for a lock, and wait for it where nobody has it."""
        line = self._lines.setdefault(name, [])
        turn = _Turn(name)
        line.append(turn)
        self._nursery.start_soon(self._take_turn, runtime, turn)
        if len(line) == 1:
            return await self._see_holder(turn)
        # Another lock, got later, shows that the wish has been heard; and here is the time in which
        # a lock for two would be had.
        async with runtime.lock("barrier"):
            await trio.lowlevel.checkpoint()
        return {"holder": "two" if turn.holds.is_set() else "another"}

    async def unlock(self, name: str) -> Seen:
        """The holder leaves; who waits has it."""
        line = self._lines[name]
        turn = line.pop(0)
        turn.may_leave.set()
        seen: Seen = {"left": "never"}
        with trio.move_on_after(self._patience):
            await turn.left.wait()
            seen = {"left": turn.ended_by}
        if not line:
            return {**seen, "holder": "nobody"}
        return {**seen, **await self._see_holder(line[0])}

    async def line(self, runtime: Runtime, name: str, number: int) -> Seen:
        """Many tasks that have a lock in turn."""
        turns = inside = most = 0
        fences = [self._fences.get(name, 0)]

        async def take() -> None:
            nonlocal turns, inside, most
            async with runtime.lock(name) as lock:
                inside += 1
                most = max(most, inside)
                fences.append(lock.fence)
                await trio.lowlevel.checkpoint()
                inside -= 1
            turns += 1

        with trio.move_on_after(self._patience):
            async with trio.open_nursery() as nursery:
                for _ in range(number):
                    nursery.start_soon(take)
        self._fences[name] = max(fences)
        fence = "greater" if fences == sorted(set(fences)) else "not greater"
        return {"turns": turns, "at once": most, "fence": fence}

    async def ended(self) -> dict[str, list[str]]:
        """How those ended who were there when the runtime stopped; the lines are empty then."""
        ends: dict[str, list[str]] = {}
        for name, line in sorted(self._lines.items()):
            for turn in line:
                with trio.move_on_after(self._patience) as scope:
                    await turn.left.wait()
                ended_by = "never" if scope.cancelled_caught else turn.ended_by
                ends.setdefault(name, []).append(ended_by)
            line.clear()
        return ends

    async def _take_turn(self, runtime: Runtime, turn: _Turn) -> None:
        try:
            async with runtime.lock(turn.name) as lock:
                turn.fence = lock.fence
                turn.holds.set()
                await turn.may_leave.wait()
        except (LockLostError, RuntimeStoppedError) as error:
            turn.ended_by = type(error).__name__
        except AM2ZError as error:
            turn.ended_by = f"{type(error).__name__}: {error}"[:200]
        finally:
            turn.left.set()

    async def _see_holder(self, turn: _Turn) -> Seen:
        with trio.move_on_after(self._patience) as scope:
            await turn.holds.wait()
        if scope.cancelled_caught:
            return {"holder": f"nobody ({turn.ended_by})" if turn.left.is_set() else "nobody"}
        before, self._fences[turn.name] = self._fences.get(turn.name, 0), turn.fence
        fence = "greater" if turn.fence > before else "not greater"
        return {"holder": "the next", "fence": fence}
