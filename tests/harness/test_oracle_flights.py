"""Where a submitted execution of a generated program is, as its submitter can tell."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from harness.oracle.flights import Flights
from harness.oracle.reading import parse
from harness.oracle.workers import Piece


@pytest.mark.trio
async def test_what_was_let_on_is_not_taken_for_waiting_because_the_next_one_holds() -> None:
    flights = Flights(patience=1.0)
    first, second = (
        flights.begin(op, op.label, Piece(), is_delayed=False)
        for op in parse("submit x - single(hold); submit y - single(hold)")
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.gate.wait)
        await wait_all_tasks_blocked()
        assert flights.tell()["live"] == {"x": "held", "y": "waiting"}
        first.gate.release()
        nursery.start_soon(second.gate.wait)
        await wait_all_tasks_blocked()
        assert flights.tell()["live"] == {"x": "", "y": "held"}, "its result is still on its way"
        second.gate.release()
