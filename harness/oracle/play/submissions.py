"""Submits executions to a runtime, and lets them on, cancels them and asks for them again."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from am2z import ExecutionHandle
from harness.oracle.flights import Flight
from harness.oracle.model import Seen
from harness.oracle.observe import seen_result
from harness.oracle.play.stage import Stage, session_of
from harness.oracle.program import Op
from harness.oracle.staff import AN_HOUR
from harness.oracle.workers import Piece

__all__ = ["Submissions"]


class Submissions:
    """The operations on executions that stand under a label."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def do_submit(self, op: Op) -> Seen:
        return await self._submit(op)

    async def do_past(self, op: Op) -> Seen:
        return await self._submit(op, at=time.time() - AN_HOUR)

    async def do_delay(self, op: Op) -> Seen:
        return await self._submit(op, is_delayed=True, delay=AN_HOUR)

    async def do_at(self, op: Op) -> Seen:
        when = datetime.now(UTC) + timedelta(seconds=AN_HOUR)
        return await self._submit(op, is_delayed=True, at=when)

    async def _submit(self, op: Op, *, is_delayed: bool = False, **when: Any) -> Seen:
        assert op.call is not None
        flight_id = f"{op.label}{self._stage.number}"
        given = await self._stage.given(op)
        flight = self._stage.flights.begin(op, flight_id, given, is_delayed=is_delayed)
        self._stage.props.gates[flight_id] = flight.gate
        try:
            flight.handle = await self._ask_for(flight, **when)
        except BaseException:
            flight.is_told = True
            raise
        self._stage.nursery.start_soon(self._await_result, flight)
        return {}

    async def _ask_for(self, flight: Flight, name: str = "", **when: Any) -> ExecutionHandle[Piece]:
        """Submit it under its id, for the first time or again."""
        assert flight.op.call is not None
        handle: ExecutionHandle[Piece] = await self._stage.runtime.submit(
            name or flight.op.call.name,
            flight.given,
            session_of(flight.op),
            execution_id=flight.execution_id,
            **when,
        )
        return handle

    async def _await_result(self, flight: Flight) -> None:
        assert flight.handle is not None
        try:
            flight.result = await flight.handle.result()
        except Exception:  # shown as a flight that is not done
            flight.is_lost = True
        self._stage.flights.change()

    async def do_twin(self, op: Op) -> Seen:
        flight = self._stage.flights[op.label]
        twin = flight.handle = await self._ask_for(flight)
        flight.twins += 1
        self._stage.nursery.start_soon(self._await_twin, flight, twin)
        return {}

    async def _await_twin(self, flight: Flight, twin: ExecutionHandle[Piece]) -> None:
        mine = seen_result(await twin.result(), flight.op, flight.execution_id)
        while flight.result is None:
            await self._stage.flights.changed()
        if mine != seen_result(flight.result, flight.op, flight.execution_id):
            flight.differs = str(mine)
        flight.twins -= 1
        self._stage.flights.change()

    async def do_clash(self, op: Op) -> Seen:
        flight = self._stage.flights[op.label]
        assert flight.op.call is not None
        await self._ask_for(flight, "wary" if flight.op.call.name != "wary" else "plain")
        return {}

    async def do_release(self, op: Op) -> Seen:
        self._stage.flights[op.label].gate.release()
        return {}

    async def do_cancel(self, op: Op) -> Seen:
        flight = self._stage.flights[op.label]
        flight.must_end = True
        if flight.handle is not None:
            await flight.handle.cancel()
        return {}

    async def do_again(self, op: Op) -> Seen:
        flight = self._stage.flights[op.label]
        handle = await self._ask_for(flight)
        return {"result": seen_result(await handle.result(), flight.op, flight.execution_id)}
