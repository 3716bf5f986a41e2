"""Where a program is played: its runtime, and what was seen of it so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from am2z import Event, Processor, ProcessorResult, Runtime, RuntimeConfig
from harness.oracle.flights import Flights
from harness.oracle.lockers import Lockers
from harness.oracle.program import NO_SESSION, Op
from harness.oracle.workers import Gate, Piece, make_processors

__all__ = ["Bench", "CrashTest", "Stage", "session_of", "together"]


class Bench(Protocol):
    """What a program is run on; a ``Kit`` is one."""

    @property
    def timeout(self) -> float:
        """How long to wait for one thing that must happen, in seconds."""
        ...

    def runtime(
        self, *processors: Processor[Any], config: RuntimeConfig | None = None
    ) -> AbstractAsyncContextManager[Runtime]:
        """A runtime, started; several share what is kept."""
        ...


CrashTest = Callable[[Runtime, Piece, str | None], Awaitable[ProcessorResult[Piece]]]
"""Executes while the worker that does it is killed."""


@dataclass
class Stage:
    """What the operations of one program share, and the runtime on which they act."""

    bench: Bench
    nursery: trio.Nursery
    crash: CrashTest | None
    config: RuntimeConfig
    gates: dict[str, Gate] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    number: int = 0
    """Which operation it is, counted from 0."""

    def __post_init__(self) -> None:
        self.flights = Flights(self.bench.timeout)
        self.lockers = Lockers(self.nursery, self.bench.timeout)

    async def enter(self) -> None:
        """Begin with a runtime."""
        self._may_leave, self._left = trio.Event(), trio.Event()
        self.runtime = await self.nursery.start(self._host)
        self.runtime.on("*", self._take)
        async with self.runtime.subscribe("*"):
            pass  # from here on every event arrives

    async def leave(self) -> None:
        """End the block of the runtime."""
        self._may_leave.set()
        await self._left.wait()

    async def _host(self, task_status: trio.TaskStatus[Runtime]) -> None:
        """The block of one runtime. In a task: it ends where another operation's time does not."""
        processors = make_processors(self.gates)
        async with self.bench.runtime(*processors, config=self.config) as runtime:
            task_status.started(runtime)
            await self._may_leave.wait()
        self._left.set()

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self.flights.take(event)


def session_of(op: Op) -> str | None:
    """The session of an operation as a runtime takes it."""
    return None if op.session == NO_SESSION else op.session


async def together(tasks: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Do all of these at the same time."""
    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(task)
