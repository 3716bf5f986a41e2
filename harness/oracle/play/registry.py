"""Registers the processors of a runtime, and takes them away."""

from __future__ import annotations

from harness.oracle.model import Seen
from harness.oracle.play.stage import Stage
from harness.oracle.program import Op
from harness.oracle.staff import make_again

__all__ = ["Registry"]


class Registry:
    """The operations on registrations."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def do_forget(self, op: Op) -> Seen:
        was_there = self._stage.runtime.unregister(op.name)
        return {"was there": was_there, **await self._registered()}

    async def do_learn(self, op: Op) -> Seen:
        stage = self._stage
        stage.learned[op.name] += 1
        title = op.name + "'" * stage.learned[op.name]
        stage.processors[op.name] = make_again(op.name, stage.props, title=title)
        stage.runtime.register(stage.processors[op.name])
        return await self._registered()

    async def _registered(self) -> Seen:
        await self._stage.runtime.sync_processors()
        return {"processors": self._stage.runtime.list_processors()}
