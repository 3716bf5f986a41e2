"""One worker process: serves until it is told to stop, by signals or by its parent."""

from __future__ import annotations

import math
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import trio

from am2z.errors import AM2ZError
from am2z.queue import QueueRuntime

__all__ = ["FINISH", "INTERRUPTED", "LEAVE", "READY", "orders", "say", "serve"]

READY = b"r"
"""What a child tells its parent once it serves."""
FINISH = b"f"
"""What a parent tells its child: finish what runs, for the grace period."""
LEAVE = b"l"
"""Give back what runs, now."""
INTERRUPTED = 130
SAME = 0.2
"""A signal that comes again within so many seconds is the same one: some senders signal a process
and its whole group."""


def say(text: str) -> None:
    """Print a line, if anybody reads: a worker must not end because its output does."""
    with suppress(OSError):
        print(text, flush=True)


async def orders(signals: AsyncIterator[int]) -> AsyncIterator[tuple[bytes, int]]:
    """What signals mean: SIGTERM is FINISH, a further one LEAVE, and so is SIGINT."""
    last = -math.inf
    async for number in signals:
        now = trio.current_time()
        if number == signal.SIGINT:
            yield LEAVE, number
        elif now - last > SAME:
            yield (FINISH if last == -math.inf else LEAVE), number
            last = now


class _Orders:
    """What the worker was told so far; the same order twice from two sides counts once."""

    def __init__(self, grace: float, tell: Callable[[str], None]) -> None:
        self.finish = trio.Event()
        self.hurry = trio.CancelScope()
        self.was_interrupted = False
        self._grace = grace
        self._tell = tell

    def take(self, order: bytes) -> None:
        if order == LEAVE and not self.hurry.cancel_called:
            self._tell("giving back what runs")
            self.hurry.cancel()
        elif order == FINISH and not self.finish.is_set():
            self._tell(f"stopping: what runs has {self._grace:g} s to end")
        self.finish.set()

    async def from_signals(self, signals: AsyncIterator[int]) -> None:
        async for order, number in orders(signals):
            self.was_interrupted |= number == signal.SIGINT
            self.take(order)

    async def from_parent(self, line: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            while told := await line.receive_some(1):
                self.take(told)
        self._tell("the parent process is gone")
        self.take(FINISH)


async def serve(
    runtime: QueueRuntime,
    greet: Callable[[], None],
    tell: Callable[[str], None] = say,
    line: trio.SocketStream | None = None,
) -> int:
    """Run the runtime until told to stop; answers the exit status.

    ``greet`` is called when it serves, ``tell`` with each line for the user; ``line`` leads to the
    parent process, if there is one. Raises what entering the runtime raises.
    """
    told = _Orders(runtime.config.shutdown_grace, tell)
    failure: AM2ZError | None = None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(told.from_signals, signals)
            if line is not None:
                nursery.start_soon(told.from_parent, line)
            try:
                with told.hurry:
                    async with runtime:
                        greet()
                        if line is not None:
                            with suppress(trio.BrokenResourceError):
                                await line.send_all(READY)
                        await told.finish.wait()
            except AM2ZError as error:
                failure = error  # kept aside, for the nursery would wrap it into a group
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    tell("stopped")
    return INTERRUPTED if told.was_interrupted else 0
