"""One clock for everything that measures: trio's inside a run, the monotonic one elsewhere."""

import time

import trio

__all__ = ["now", "wall_clock"]


def now() -> float:
    """Seconds on the clock that applies here; only the difference of two readings means anything.

    Inside ``trio.run`` this is ``trio.current_time()``, so a ``MockClock`` moves it. In a worker
    thread and outside of trio it is ``time.monotonic()``. The clocks start anywhere: never compare
    readings of two runs, or of a run and of a thread.

    Example: ``started = now(); ...; took = now() - started``.
    """
    try:
        return trio.current_time()
    except RuntimeError:
        return time.monotonic()


def wall_clock() -> float:
    """Seconds since the epoch, for what people read. Durations come from trio's clock."""
    return time.time()
