"""How a rule is run in the zoo: as everywhere, but a runtime that stands still costs no time.

Mutants hang a lot; to wait five seconds for each thing that will never happen would take hours.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from am2z import QueueRuntime, Runtime
from harness.builtin import LOCAL, QUEUE_FAKE
from harness.kit import Kit
from harness.leaks import running_tasks
from harness.rules import Body, RuleCheck
from harness.subject import Environment
from harness.trial import Trial
from harness.zoo.mutant import Base
from harness.zoo.oneclock import one_clock

__all__ = ["BASES", "ZooTrial"]

_CUSHION = 0.002
"""For how long nothing may happen in this process before it counts as standing still, seconds."""

_BETWEEN = 0.002
"""How long after the last thing that happened a runtime on a queue begins, seconds."""

_TRAPS = frozenset({"wait_task_rescheduled", "_async_yield", "_real_async_yield"})
_HARNESS = Path(__file__).parents[1]

_PAUSE = 0.03
"""For how long, in seconds, real time gets its way where it is needed."""


@asynccontextmanager
async def _make_queue(env: Environment) -> AsyncIterator[Runtime]:
    # Where time stands still, it would begin in the very millisecond in which another one ended:
    # no machine is so fast, and a runtime tells what was before it from what is after by the time.
    await trio.sleep(_BETWEEN)
    async with QueueRuntime(
        "fake://",
        namespace=env.namespace,
        role=env.role,
        config=env.config,
        limits=env.limits,
    ) as runtime:
        # The server lives as long as its process does, and so longer than any rule.
        runtime.capabilities = QueueRuntime.capabilities
        yield runtime


_ON_A_QUEUE = replace(
    QUEUE_FAKE,
    make=_make_queue,
    supports=QueueRuntime.capabilities,
    lacks={
        what: why for what, why in QUEUE_FAKE.lacks.items() if what not in QueueRuntime.capabilities
    },
)

BASES = {"local": LOCAL, "queue": _ON_A_QUEUE}
"""What a mutant of each base is made of. ``DURABLE`` is asked too: no server has to be started."""


class ZooTrial(Trial):
    """``Trial`` of a rule that, in real time, skips every wait in which nothing else can happen.

    Time stands still while something runs; where every task waits for a time, that time comes at
    once. So it does not matter how fast the machine is. Only beside a thread, which knows nothing
    of this clock, it runs as always; those of a queue do know of it, and so does its server.
    """

    def __init__(self, kit: Kit, check: RuleCheck, base: Base = "local") -> None:
        super().__init__(kit, check)
        self._base = base

    def run(self, body: Body) -> list[str]:
        """See ``Trial``."""
        if self.kit.virtual_time:
            return super().run(body)
        clock = MockClock()

        async def hurried(kit: Kit) -> None:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_skip_waits, clock)
                    await body(kit)
                    nursery.cancel_scope.cancel()
            finally:
                clock.rate = 1.0  # what was left behind gets its time to end

        with one_clock(clock) if self._base == "queue" else nullcontext():
            return trio.run(self.main, hurried, clock=clock)


async def _skip_waits(clock: MockClock) -> None:
    while True:
        await wait_all_tasks_blocked(_CUSHION)
        waits = {_waits_for(task) for task in running_tasks()}
        pause = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if "time" in waits:
            clock.rate = 1.0
            await trio.sleep(_PAUSE)
            clock.rate = 0.0
        elif "work" not in waits and 0 < pause < math.inf:
            clock.jump(pause)


def _waits_for(task: trio.lowlevel.Task) -> Literal["time", "work", ""]:
    """What a task waits for that knows nothing of our clock, and whether that needs time to pass.

    It does where a processor is in a thread, which may wait there for its deadline, and where a
    rule waits for quiet. The kit's own threads only compute.
    """
    codes = [frame.f_code for frame, _ in task.iter_await_frames()]
    if any(code.co_name == "wait_all_tasks_blocked" for code in codes):
        return "time"
    own = [code for code in codes if code.co_name not in _TRAPS]
    # Where a thread waits for trio in turn, this very task runs what it asked for.
    if len(own) < 2 or own[-1].co_name != "to_thread_run_sync":
        return ""
    return "work" if Path(own[-2].co_filename).is_relative_to(_HARNESS) else "time"
