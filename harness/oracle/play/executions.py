"""Asks a runtime for executions, and waits for them."""

from __future__ import annotations

from harness.oracle.model import Seen
from harness.oracle.observe import seen_result
from harness.oracle.play.stage import Stage, session_of
from harness.oracle.program import MIXED_IN, NO_SESSION, Op
from harness.oracle.workers import Piece, piece

__all__ = ["Executions"]


class Executions:
    """The operations that ask for executions and wait for them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def do_execute(self, op: Op) -> Seen:
        assert op.call is not None
        given = await self._stage.given(op)
        before = list(given.trail)
        result = await self._stage.runtime.execute(op.call.name, given, session_of(op))
        seen: Seen = {"result": seen_result(result, op, None, given)}
        if given.trail != before:
            seen["the caller's own state"] = given.trail
        return seen

    async def do_inside(self, op: Op) -> Seen:
        """By the processor itself, where it can be had."""
        assert op.call is not None
        given = await self._stage.given(op)
        asked = self._stage.processors.get(op.call.name, op.call.name)
        result = await self._stage.runtime.execute_in_session(asked, given, op.session)
        return {"result": seen_result(result, op, None, given)}

    async def do_many(self, op: Op) -> Seen:
        assert op.call is not None
        given = await self._stage.given(op)
        apart = op.session == NO_SESSION
        states = [
            given.evolve(count=given.count + one) if apart else given for one in range(op.number)
        ]
        results = await self._stage.runtime.execute_many(
            op.call.name, states, session_id=session_of(op)
        )
        return {
            "results": [
                seen_result(result, op, None, state)
                for result, state in zip(results, states, strict=True)
            ]
        }

    async def do_mixed(self, op: Op) -> Seen:
        assert op.call is not None
        calls = [op.call, MIXED_IN]
        pairs = [
            (calls[one % 2].name, piece(calls[one % 2], count=one)) for one in range(op.number)
        ]
        results = await self._stage.runtime.execute_many(pairs)
        apart = Op("mixed", NO_SESSION)
        return {"results": [seen_result(result, apart) for result in results]}

    async def do_crash(self, op: Op) -> Seen:
        assert self._stage.crash is not None
        given: Piece = await self._stage.given(op)
        result = await self._stage.crash(self._stage.runtime, given, session_of(op))
        return {"result": seen_result(result, op)}
