"""Reads and changes the committed states of a runtime."""

from __future__ import annotations

from contextlib import suppress

import trio

from am2z import AM2ZError, BusinessError, StateConflictError, StateNotFoundError
from harness.oracle.model import Seen
from harness.oracle.play.stage import Stage, together
from harness.oracle.program import Op
from harness.oracle.workers import Piece

__all__ = ["States"]

_SOON = 0.002


class States:
    """The operations on committed states."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def do_set(self, op: Op) -> Seen:
        return await self._set(op, None)

    async def do_set_right(self, op: Op) -> Seen:
        return await self._set(op, await self._stage.runtime.state.version(op.session))

    async def do_set_wrong(self, op: Op) -> Seen:
        return await self._set(op, await self._stage.runtime.state.version(op.session) + 1)

    async def _set(self, op: Op, expected: int | None) -> Seen:
        state = Piece(count=op.number)
        states = self._stage.runtime.state
        return {"version": await states.set(op.session, state, expected_version=expected)}

    async def do_update(self, op: Op) -> Seen:
        def add(state: Piece) -> Piece:
            return state.evolve(count=state.count + op.number)

        return {"answer": (await self._stage.runtime.state.update(op.session, add)).count}

    async def do_spoil(self, op: Op) -> Seen:
        def refuse(_state: Piece) -> Piece:
            raise BusinessError("the program does not want it")

        return {"answer": (await self._stage.runtime.state.update(op.session, refuse)).count}

    async def do_expire(self, op: Op) -> Seen:
        """With a time to live, until that is over."""
        states = self._stage.runtime.state
        version = await states.set(op.session, Piece(count=op.number), ttl=_SOON)
        with suppress(StateNotFoundError):  # an update leaves it the time that it has
            await self.do_update(op)
        while await states.exists(op.session):  # noqa: ASYNC110 - nobody tells
            await trio.sleep(_SOON)
        return {"version": version, "then": "gone"}

    async def do_updates(self, op: Op) -> Seen:
        answers: list[str] = []

        async def add(state: Piece) -> Piece:
            await trio.lowlevel.checkpoint()  # so that others are in between
            return state.evolve(count=state.count + 1)

        async def update() -> None:
            try:
                changed = await self._stage.runtime.state.update(op.session, add)
                answers.append(str({"answer": changed.count}))
            except AM2ZError as error:
                answers.append(str({"error": type(error).__name__}))

        await together([update] * op.number)
        return {"answers": sorted(answers)}

    async def do_race(self, op: Op) -> Seen:
        seen = {"won": 0, "lost": 0}
        version = await self._stage.runtime.state.version(op.session)

        async def race() -> None:
            try:
                await self._set(op, version)
            except StateConflictError:
                seen["lost"] += 1
            else:
                seen["won"] += 1

        await together([race] * op.number)
        return seen

    async def do_delete(self, op: Op) -> Seen:
        await self._stage.runtime.state.delete(op.session)
        return {}

    async def do_get(self, op: Op) -> Seen:
        state = self._stage.runtime.state
        found, any_class = await state.get(op.session, Piece), await state.get(op.session)
        seen: Seen = {
            "exists": await state.exists(op.session),
            "version": await state.version(op.session),
        }
        return seen if found is None else {**seen, "the same without its class": found == any_class}
