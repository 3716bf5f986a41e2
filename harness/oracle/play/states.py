"""Reads and changes the committed states of a runtime."""

from __future__ import annotations

from am2z import AM2ZError, StateConflictError
from harness.oracle.model import Seen
from harness.oracle.play.stage import Stage, together
from harness.oracle.program import Op
from harness.oracle.workers import Piece

__all__ = ["States"]


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

    async def do_updates(self, op: Op) -> Seen:
        answers: list[str] = []

        async def update() -> None:
            try:
                answers.append(str(await self.do_update(Op("update", op.session, number=1))))
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
        found = await state.get(op.session, Piece)
        checksum = found and len(found.checksum) == 64
        exists, version = await state.exists(op.session), await state.version(op.session)
        return {"exists": exists, "version": version, "checksum": checksum}
