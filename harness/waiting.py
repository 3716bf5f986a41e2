"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import trio

from harness.scale import scaled

__all__ = ["wait_for_condition"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


async def wait_for_condition(
    predicate: Callable[[], bool | Awaitable[bool]],
    timeout: float = 5.0,
    *,
    message: str = "",
) -> None:
    """Return as soon as ``predicate()`` is true; it may be async.

    ``timeout`` is in seconds, times ``--am2z-timeout-scale``. Past it a ``TimeoutError`` says what
    was waited for: ``message``, or the predicate's name. ::

        await wait_for_condition(lambda: len(seen) == 3, message="three events")
    """
    limit = scaled(timeout)
    pause = _FIRST_PAUSE
    with trio.move_on_after(limit):
        while True:
            answer = predicate()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
            await trio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
    what = message or getattr(predicate, "__qualname__", repr(predicate))
    raise TimeoutError(f"waited {limit:g} s for: {what}; it did not come true")
