"""Looks at the dead letters of a runtime, and has them run again."""

from __future__ import annotations

from harness.oracle.model import Seen
from harness.oracle.observe import seen_letter, seen_result
from harness.oracle.play.stage import Stage, session_of
from harness.oracle.program import Op

__all__ = ["Failures"]


class Failures:
    """The operations on what failed for good."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def do_mend(self, _op: Op) -> Seen:
        self._stage.props.is_mended = True
        return {}

    async def do_letters(self, _op: Op) -> Seen:
        dead = self._stage.runtime.dead
        return {
            "all": sorted(map(seen_letter, await dead.list()), key=str),
            "of once": len(await dead.list("once")),
            "at most 2": len(await dead.list(limit=2)),
        }

    async def do_drop(self, op: Op) -> Seen:
        flight = self._stage.flights[op.label]
        return {"dropped": await self._stage.runtime.dead.drop(flight.letter_id)}

    async def do_revive(self, op: Op) -> Seen:
        """Run a dead letter again; who asks for the new id has its result."""
        flight, runtime = self._stage.flights[op.label], self._stage.runtime
        assert flight.op.call is not None
        letter = await runtime.dead.get(flight.letter_id)
        new_id = await runtime.dead.retry(flight.letter_id)
        if letter is None or new_id is None:
            return {"revived": (letter, new_id) != (None, None)}
        flight.letter_id = new_id
        name, session = flight.op.call.name, session_of(flight.op)
        handle = await runtime.submit(name, flight.given, session, execution_id=new_id)
        return {"revived": True, "result": seen_result(await handle.result(), flight.op, new_id)}
