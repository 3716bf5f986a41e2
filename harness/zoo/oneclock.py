"""One clock for all that a queue consists of: its tasks, its threads and its server.

The tasks have trio's clock. While ``one_clock`` is entered, in-process fakeredis tells the same
time, and the threads that renew leases and locks wait on it, too. They are threads still, but only
ever run while trio's waits for them: so time cannot pass unseen by one of them, and what happens in
which order is no chance.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import outcome
import trio
from trio.testing import MockClock

from harness.zoo.mutant import patch

__all__ = ["one_clock"]

_KEEPERS = ("am2z.queue.leases", "am2z.queue.lockkeeper")
"""The modules with a thread of their own."""

_TIMED = ("am2z.queue.", "fakeredis.")
"""The packages that read a clock which is not trio's: the server's, or that of such a thread."""

_GRAIN = 1e-6
"""For so many seconds a thread waits at least: less may be nothing to a clock that stands."""


@contextmanager
def one_clock(clock: MockClock) -> Iterator[None]:
    """Let everything have the time of ``clock``, which is the one of the next ``trio.run``."""
    for name in ("am2z.queue.runtime", "am2z.queue.client.fake"):
        import_module(name)
    now, epoch = clock.current_time, int(time.time())

    def of_day() -> float:
        # A quarter past a microsecond: the server rounds to those where it tells the time, and cuts
        # off to milliseconds where it numbers events; both are to be the same moment.
        return epoch + (int(now() * 1e6) + 0.25) / 1e6

    told = _Instead(time, time=of_day, monotonic=now)
    threads = _Instead(threading, Event=_Event)
    ours = _Instead(trio, to_thread=_Instead(trio.to_thread, run_sync=_run_in_turns))
    with ExitStack() as stack:
        for name, module in sorted(sys.modules.items()):
            if f"{name}.".startswith(_TIMED) and vars(module).get("time") is time:
                stack.enter_context(patch(module, "time", told))
        for name in _KEEPERS:
            stack.enter_context(patch(import_module(name), "threading", threads))
            stack.enter_context(patch(import_module(name), "trio", ours))
        yield


class _Instead:
    """A module in which some names mean something else."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Event:
    """``threading.Event`` between trio's thread and those that take turns with it."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: trio.Event | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self._waiting is not None:
            self._waiting.set()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """To be called in one of those threads."""
        if not self._is_set:
            _turns.own.give_way(self, math.inf if timeout is None else timeout)
        return self._is_set

    async def come(self) -> None:
        """The same for a task."""
        if not self._is_set:
            self._waiting = trio.Event()
            await self._waiting.wait()


class _Turn:
    """A thread that runs only while trio's stands still, and says when it is to go on."""

    def __init__(self, work: Callable[[], object], name: str) -> None:
        self._goes, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._work = work
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()
        self.ended: outcome.Outcome[Any] | None = None
        self.event = _Event()
        self.pause = math.inf

    def run(self) -> None:
        """In trio's thread: let it run until it waits, or ends."""
        self._goes.release()
        self._stands.acquire()
        if self.ended is not None:
            self._thread.join()

    def give_way(self, event: _Event, pause: float) -> None:
        """In this thread: wait for an event, or for so many seconds."""
        self.event, self.pause = event, pause
        self._stands.release()
        self._goes.acquire()

    def _live(self) -> None:
        _turns.own = self
        self._goes.acquire()
        self.ended = outcome.capture(self._work)
        self._stands.release()


class _Turns(threading.local):
    own: _Turn


_turns = _Turns()


async def _run_in_turns(
    sync_fn: Callable[..., object], *args: Any, thread_name: str | None = None, **_: Any
) -> Any:
    """As ``trio.to_thread.run_sync``. A thread whose task is cancelled is left where it is."""
    turn = _Turn(lambda: sync_fn(*args), thread_name or "am2z")
    while True:
        turn.run()
        if turn.ended is not None:
            return turn.ended.unwrap()
        with trio.move_on_after(max(turn.pause, _GRAIN)):
            await turn.event.come()
