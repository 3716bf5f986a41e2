"""What several rules of this group use."""

from __future__ import annotations

from am2z import (
    Context,
    RuntimeConfig,
    processor,
)
from harness.states import TestState

ONE_SLOT = RuntimeConfig(concurrency=1)


@processor
async def double(state: TestState, _ctx: Context) -> TestState:
    """Doubles ``count``."""
    return state.evolve(count=state.count * 2)


@processor
async def spoil(state: TestState, _ctx: Context) -> TestState:
    """Changes the list inside its input, as careless code does."""
    state.items.append("spoiled")
    return state.evolve(count=state.count + 1)
