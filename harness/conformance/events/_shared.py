"""What several rules of this group use."""

from __future__ import annotations

from am2z import (
    BusinessError,
    Context,
)
from harness.conformance._processors import (
    make,
)
from harness.states import TestState

SUCCEEDED = ["processor:active", "processor:completed", "queue:completed"]


FAILED = ["processor:active", "processor:failed", "queue:failed"]


async def _refuse(_state: TestState, _ctx: Context) -> TestState:
    raise BusinessError("refused", context={"order": 7})


refuse = make("refuse", _refuse)


async def _tell(state: TestState, ctx: Context) -> TestState:
    """Emits progress and events of its own, with and without waiting for their delivery."""
    ctx.update_progress(10)
    await ctx.emit("order:packed", {"boxes": [1, 2], "by": {"name": "Ada"}})
    await ctx.update_progress(50.5)
    ctx.emit("order:sent")
    ctx.update_progress(100)
    return state.evolve(processed=True)


tell = make("tell", _tell)
