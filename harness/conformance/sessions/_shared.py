"""What several rules of this group use."""

from __future__ import annotations

from am2z import BusinessError, Context
from harness.conformance._processors import make
from harness.states import TestState


async def _refuse(_state: TestState, _ctx: Context) -> TestState:
    raise BusinessError("refused")


refuse = make("refuse", _refuse)
