"""How a rule is run in the zoo: as everywhere, but a runtime that stands still costs no time.

Mutants hang a lot; to wait five seconds for each thing that will never happen would take hours.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from am2z import QueueRuntime, Runtime
from harness.builtin import LOCAL, QUEUE_FAKE
from harness.kit import Kit
from harness.leaks import running_tasks
from harness.rules import Body
from harness.subject import Environment
from harness.zoo.mutant import Base

__all__ = ["BASES", "ZooKit"]

_CUSHION = 0.002
"""For how long nothing may happen in this process before it counts as standing still, seconds."""

_PAUSE = 0.03
"""For how long, in seconds, real time gets its way where it is needed."""


@asynccontextmanager
async def _make_queue(env: Environment) -> AsyncIterator[Runtime]:
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


@dataclass
class ZooKit(Kit):
    """``Kit`` whose rules in real time skip every wait in which nothing else can happen.

    Time stands still while something runs; where every task waits for a time, that time comes at
    once. So it does not matter how fast the machine is. Only beside a thread, which knows nothing
    of this clock, it runs as always. On a queue times are the server's: there it does too.
    """

    base: Base = "local"

    def _run(self, body: Body) -> list[str]:
        if self._clock is not None or self.base != "local":
            return super()._run(body)
        clock = MockClock()

        async def hurried(kit: Kit) -> None:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_skip_waits, clock)
                    await body(kit)
                    nursery.cancel_scope.cancel()
            finally:
                clock.rate = 1.0  # what was left behind gets its time to end

        return trio.run(self._main, hurried, clock=clock)


async def _skip_waits(clock: MockClock) -> None:
    while True:
        await wait_all_tasks_blocked(_CUSHION)
        pause = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if _needs_real_time():
            clock.rate = 1.0
            await trio.sleep(_PAUSE)
            clock.rate = 0.0
        elif 0 < pause < math.inf:
            clock.jump(pause)


def _needs_real_time() -> bool:
    """Whether a task waits for a thread, which knows nothing of our clock, or for quiet."""
    return any(
        frame.f_code.co_name in ("to_thread_run_sync", "wait_all_tasks_blocked")
        for task in running_tasks()
        for frame, _ in task.iter_await_frames()
    )
