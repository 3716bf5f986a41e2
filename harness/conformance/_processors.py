"""Processors and small helpers that several groups of rules use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import trio

from am2z import (
    BusinessError,
    Context,
    Processor,
    ProcessorExecutionError,
    QueueOptions,
    RetryPolicy,
    processor,
)
from harness.audit import look
from harness.kit import Kit
from harness.states import TestState

__all__ = ["Broken", "Gate", "Meeting", "assert_waited", "flaky", "increment", "make", "within"]

Handler = Callable[[TestState, Context], Awaitable[Any]]

CLOCK_GRAIN = 0.005
"""How much two clocks of different resolution may disagree about a wait, in seconds."""


@processor
async def increment(state: TestState, ctx: Context) -> TestState:
    """Adds one to ``count``."""
    look(ctx, state)
    return state.evolve(count=state.count + 1)


def make(name: str, handler: Handler, **options: Any) -> Processor[TestState]:
    """A processor around ``handler`` with the options of ``@processor``."""
    made: Processor[TestState] = processor(name=name, state_type=TestState, **options)(handler)
    return made


class Gate:
    """A processor that tells when it has begun, and goes on when it is let.

    ``started`` and ``ended`` are set with its first run; ``open()`` lets all of them go on.
    """

    def __init__(self, name: str = "gate", **options: Any) -> None:
        self.started, self.ended = trio.Event(), trio.Event()
        self.runs: list[TestState] = []
        self.was_cancelled = False
        self._opened = trio.Event()
        self.processor = make(name, self.run, **options)

    def open(self) -> None:
        """Let every run, those to come too, go on."""
        self._opened.set()

    async def run(self, state: TestState, ctx: Context) -> TestState:
        """What the processor does; other processors may do it as part of theirs."""
        look(ctx, state)
        self.runs.append(state)
        self.started.set()
        try:
            await self._opened.wait()
        except trio.Cancelled:
            self.was_cancelled = True
            raise
        finally:
            self.ended.set()
        return state.evolve(processed=True)


class Broken:
    """A processor that fails until it is mended, and adds one to ``count`` then."""

    def __init__(self) -> None:
        self.is_mended = False
        self.processor = make("broken", self._run)

    async def _run(self, state: TestState, ctx: Context) -> TestState:
        look(ctx, state)
        if not self.is_mended:
            raise BusinessError("not today")
        return state.evolve(count=state.count + 1)


class Meeting:
    """Lets ``size`` runs wait for each other, which only those that run at the same time can."""

    def __init__(self, size: int, patience: float) -> None:
        self._missing = size
        self._complete = trio.Event()
        self._patience = patience

    async def join(self) -> None:
        """Return when all are there; raise a ``ProcessorExecutionError`` where they never are."""
        self._missing -= 1
        if self._missing <= 0:
            self._complete.set()
        with trio.move_on_after(self._patience):
            await self._complete.wait()
            return
        raise ProcessorExecutionError(f"{self._missing} of those to meet never ran at this time")


class Headcount:
    """Counts the runs that are in it at once; each stays until ``size`` were there together."""

    def __init__(self, size: int, patience: float) -> None:
        self.most = 0
        self._now = 0
        self._meeting = Meeting(size, patience)

    async def visit(self) -> None:
        """Come, meet the others and go; see ``Meeting.join``."""
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await self._meeting.join()
            for _ in range(3):  # one that comes too early is seen
                await trio.lowlevel.checkpoint()
        finally:
            self._now -= 1


def flaky(
    name: str,
    errors: Sequence[Exception],
    *,
    retry: RetryPolicy | None = None,
    runs: list[int] | None = None,
    timeout: float | None = None,
    queue: QueueOptions | None = None,
) -> Processor[TestState]:
    """A processor whose attempt ``n`` raises ``errors[n - 1]``; later ones add one to ``count``.

    The attempts are noted in ``runs``. Without ``retry`` there is a try for each error and one
    more, with no wait between them.
    """
    policy = retry or RetryPolicy(max_attempts=len(errors) + 1, backoff=0)

    async def run(state: TestState, ctx: Context) -> TestState:
        look(ctx, state)
        attempt = ctx.metadata.attempt
        if runs is not None:
            runs.append(attempt)
        if attempt <= len(errors):
            raise errors[attempt - 1]
        return state.evolve(count=state.count + 1)

    return make(name, run, retry=policy, timeout=timeout, queue=queue)


@contextmanager
def within(kit: Kit, what: str) -> Iterator[None]:
    """A block that must be done in the kit's time for one thing; else ``what`` is said."""
    with trio.move_on_after(kit.timeout) as scope:
        yield
    if scope.cancelled_caught:
        raise AssertionError(f"{what} did not happen within {kit.timeout:g} s")


def assert_waited(kit: Kit, waits: Sequence[float], expected: Sequence[float]) -> None:
    """Compare measured times: exactly on a virtual clock, as least times on a real one.

    A busy machine makes real waits longer, never shorter.
    """
    assert len(waits) == len(expected), f"waited {waits}, expected {expected}"
    for wait, least in zip(waits, expected, strict=True):
        if kit.virtual_time:
            assert abs(wait - least) < 1e-6, f"waited {waits}, expected exactly {expected}"
        else:
            assert wait >= least - CLOCK_GRAIN, f"waited {waits}, expected at least {expected}"
