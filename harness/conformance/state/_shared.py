"""What several rules of this group use."""

from __future__ import annotations

from am2z import (
    BusinessError,
    Context,
)
from harness.conformance._processors import make
from harness.states import TestState


async def _work_and_refuse(state: TestState, _ctx: Context) -> TestState:
    state.items.append("half done")
    raise BusinessError("refused")


work_and_refuse = make("work_and_refuse", _work_and_refuse)


def add_one(state: TestState) -> TestState:
    """What ``update`` may be given."""
    return state.evolve(count=state.count + 1)
