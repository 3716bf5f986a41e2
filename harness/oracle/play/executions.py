"""Asks a runtime for executions, and lets them on, cancels them and asks for them again."""

from __future__ import annotations

from harness.oracle.flights import Flight
from harness.oracle.model import Seen
from harness.oracle.observe import seen_result
from harness.oracle.play.stage import Stage, session_of
from harness.oracle.program import SESSIONS, Op
from harness.oracle.workers import AN_HOUR, Piece, piece

__all__ = ["Executions"]


class Executions:
    """The operations on executions."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def _given(self, op: Op) -> Piece:
        """What an application would hand over: the committed state, or a new one."""
        assert op.call is not None
        kept = None
        if op.session in SESSIONS:
            kept = await self._stage.runtime.state.get(op.session, Piece)
        if kept is None:
            return piece(op.call)
        given: Piece = kept.state.evolve(plan=op.call.plan)
        return given

    async def do_execute(self, op: Op) -> Seen:
        assert op.call is not None
        given = await self._given(op)
        before = list(given.trail)
        result = await self._stage.runtime.execute(op.call.name, given, session_of(op))
        seen: Seen = {"result": seen_result(result, op, None, given)}
        if given.trail != before:
            seen["the caller's own state"] = given.trail
        return seen

    async def do_many(self, op: Op) -> Seen:
        assert op.call is not None
        given = await self._given(op)
        results = await self._stage.runtime.execute_many(
            op.call.name, [given] * op.number, session_id=session_of(op)
        )
        return {"results": [seen_result(result, op, None, given) for result in results]}

    async def do_crash(self, op: Op) -> Seen:
        assert self._stage.crash is not None
        given = await self._given(op)
        result = await self._stage.crash(self._stage.runtime, given, session_of(op))
        return {"result": seen_result(result, op)}

    async def do_submit(self, op: Op) -> Seen:
        return await self._submit(op)

    async def do_delay(self, op: Op) -> Seen:
        return await self._submit(op, AN_HOUR)

    async def _submit(self, op: Op, delay: float | None = None) -> Seen:
        assert op.call is not None
        flight_id = f"{op.label}{self._stage.number}"
        given = await self._given(op)
        flight = self._stage.flights.begin(op, flight_id, given, is_delayed=delay is not None)
        self._stage.gates[flight_id] = flight.gate
        try:
            flight.handle = await self._stage.runtime.submit(
                op.call.name,
                given,
                session_of(op),
                execution_id=flight.execution_id,
                delay=delay,
            )
        except BaseException:
            flight.is_told = True
            raise
        self._stage.nursery.start_soon(self._await_result, flight)
        return {}

    async def _await_result(self, flight: Flight) -> None:
        assert flight.handle is not None
        try:
            flight.result = await flight.handle.result()
        except Exception:  # shown as a flight that is not done
            flight.is_lost = True
        self._stage.flights.change()

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
        assert flight.op.call is not None
        handle = await self._stage.runtime.submit(
            flight.op.call.name,
            flight.given,
            session_of(flight.op),
            execution_id=flight.execution_id,
        )
        return {"result": seen_result(await handle.result(), flight.op, flight.execution_id)}
