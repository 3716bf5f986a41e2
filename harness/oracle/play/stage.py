"""Where a program is played: its runtime, and what was seen of it so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import trio

from am2z import Event, Processor, ProcessorResult, Runtime, RuntimeConfig
from harness.oracle.flights import Flights
from harness.oracle.lockers import Lockers
from harness.oracle.program import NO_SESSION, SESSIONS, Op
from harness.oracle.staff import make_processors
from harness.oracle.workers import EVENT, Piece, Props, piece

__all__ = ["Bench", "CrashTest", "Stage", "session_of", "together"]

_PATTERNS = ("processor:*", "queue:failed", "*:created", EVENT)
"""Under which it listens, beside listening to everything."""


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
    props: Props = field(default_factory=Props)
    events: list[Event] = field(default_factory=list)
    learned: Counter[str] = field(default_factory=Counter)
    number: int = 0
    """Which operation it is, counted from 0."""

    def __post_init__(self) -> None:
        self.flights = Flights(self.bench.timeout)
        self.lockers = Lockers(self.nursery, self.bench.timeout)
        self._heard: dict[str, list[Event]] = {pattern: [] for pattern in _PATTERNS}
        self._strange: list[Event] = []

    async def enter(self) -> None:
        """Begin with a runtime."""
        self._may_leave, self._left = trio.Event(), trio.Event()
        self.runtime = await self.nursery.start(self._host)
        self.runtime.on("*", self._take)
        for pattern, heard in self._heard.items():
            self.runtime.on(pattern, heard.append)
            self.runtime.on(pattern, self._strange.append)
            self.runtime.off(pattern, self._strange.append)
        async with self.runtime.subscribe("*"):
            pass  # from here on every event arrives

    async def given(self, op: Op) -> Piece:
        """What an application would hand over: the committed state, or a new one."""
        assert op.call is not None
        kept = None
        if op.session in SESSIONS:
            kept = await self.runtime.state.get(op.session, Piece)
        if kept is None:
            return piece(op.call)
        given: Piece = kept.state.evolve(plan=op.call.plan)
        return given

    async def leave(self) -> None:
        """End the block of the runtime."""
        self._may_leave.set()
        await self._left.wait()

    async def _host(self, task_status: trio.TaskStatus[Runtime]) -> None:
        """The block of one runtime. In a task: it ends where another operation's time does not."""
        self.processors = {one.name: one for one in make_processors(self.props)}
        async with self.bench.runtime(*self.processors.values(), config=self.config) as runtime:
            task_status.started(runtime)
            await self._may_leave.wait()
        self._left.set()

    def heard(self) -> str:
        """Whether each handler had what its pattern says, and nothing else."""
        for pattern, heard in self._heard.items():
            if heard != [event for event in self.events if fnmatchcase(event.type, pattern)]:
                return f"something else under {pattern!r}"
        return "something after off()" if self._strange else "as told"

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
