"""Stops and cleans the sessions of a runtime."""

from __future__ import annotations

from harness.oracle.model import Seen
from harness.oracle.play.stage import Stage
from harness.oracle.program import SESSIONS, Op

__all__ = ["Sessions"]


class Sessions:
    """The operations on sessions."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def do_stop(self, op: Op) -> Seen:
        self._must_end(op.session)
        await self._stage.runtime.stop_session(op.session)
        return {}

    async def do_clean(self, op: Op) -> Seen:
        self._must_end(op.session)
        await self._stage.runtime.clean_session(op.session)
        return {}

    async def do_clean_all(self, _op: Op) -> Seen:
        self._must_end(*SESSIONS)
        await self._stage.runtime.clean_all_sessions()
        return {}

    def _must_end(self, *sessions: str) -> None:
        for flight in self._stage.flights.live():
            flight.must_end |= flight.op.session in sessions
