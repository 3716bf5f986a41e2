"""Cleaning up so that one failure never keeps the rest from being cleaned.

Errors of a cleanup are logged and collected, not raised: whoever cleans up is usually on the way
out already, often with a better error. Cancellation is no error: it always passes, only later where
a function says that it shields the work.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar

import trio

from am2z.errors import AM2ZError, ConfigurationError, ExecutionTimeoutError, to_am2z_error
from am2z.policy import check_duration
from am2z.redact import redact_text

__all__ = [
    "Cleanable",
    "batch_cleanup",
    "cleanup_resources",
    "create_cleanup_error_handler",
    "create_timeout_cleanup",
]

T = TypeVar("T")
Cleanup = Callable[[], Awaitable[object]]
AnyLogger = logging.Logger | logging.LoggerAdapter[Any]


class Cleanable(Protocol):
    """Something that has a name and can be cleaned up."""

    @property
    def name(self) -> str:
        """What the logs call it."""
        ...

    async def cleanup(self) -> object:
        """Give back whatever it holds."""
        ...


def create_cleanup_error_handler(
    resource_name: str, logger: AnyLogger
) -> Callable[[BaseException], None]:
    """A function that logs an error of cleaning up ``resource_name`` as a warning, and that is all.

    What is not an ``Exception`` (cancellation, a keyboard interrupt) it raises again.

    Example::

        on_error = create_cleanup_error_handler("cache", logger)
        try:
            await cache.aclose()
        except Exception as error:
            on_error(error)
    """

    def handle(error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        logger.warning(
            "cleaning up %s failed: %s: %s",
            resource_name,
            type(error).__name__,
            redact_text(str(error)),
        )

    return handle


async def cleanup_resources(
    resources: Iterable[tuple[str, Cleanup] | Cleanable],
    logger: AnyLogger,
    *,
    timeout: float = 5.0,
) -> list[AM2ZError]:
    """Run every cleanup, whatever the others do, and answer the errors in the order they came.

    ``resources`` are pairs of a name and an async function, or objects with ``name`` and
    ``cleanup()``, in the order in which they were acquired. They are cleaned up one after the other
    in **reverse** order, as an exit stack does: what was acquired later may need what was there
    before it, even to close.

    Each has ``timeout`` seconds and is shielded for so long, so that a cancelled task still cleans
    up; cancellation passes afterwards. One that takes longer is stopped, and
    counts as failed with ``ExecutionTimeoutError``. Errors are logged to ``logger``; in the answer
    each has the resource's name in its context, and a foreign one is a ``ProcessorExecutionError``
    that the original caused. Raises ``ConfigurationError`` for a timeout that is no time.

    Example: ``await cleanup_resources([("db", db.aclose), ("cache", cache.aclose)], logger)``.
    """
    check_duration("timeout", timeout)
    errors: list[AM2ZError] = []

    async def clean(name: str, cleanup: Cleanup) -> None:
        try:
            await create_timeout_cleanup(
                cleanup, timeout, f"cleaning up {name} took longer than {timeout:g} s"
            )()
        except Exception as error:
            create_cleanup_error_handler(name, logger)(error)
            errors.append(_named(error, name))

    # The exit stack gives the order, and goes on to the rest also past a keyboard interrupt.
    async with AsyncExitStack() as stack:
        for resource in resources:
            name, cleanup = (
                resource if isinstance(resource, tuple) else (resource.name, resource.cleanup)
            )
            stack.push_async_callback(clean, name, cleanup)
    await trio.lowlevel.checkpoint()
    return errors


def create_timeout_cleanup(
    cleanup: Callable[[], Awaitable[T]], timeout: float, message: str
) -> Callable[[], Awaitable[T]]:
    """``cleanup`` as a function that is shielded from cancellation for at most ``timeout`` seconds.

    Calling it gives what ``cleanup`` gives, raises what it raises, and raises
    ``ExecutionTimeoutError(message)`` when it took too long. Cancellation that came meanwhile
    passes at the caller's next checkpoint, so that an answer or an error is never lost on the way.
    Raises ``ConfigurationError`` for a timeout that is no time.

    Example::

        close = create_timeout_cleanup(db.aclose, 2.0, "the database did not close in 2 s")
        await close()
    """
    check_duration("timeout", timeout)

    async def run() -> T:
        with trio.move_on_after(timeout, shield=True):
            return await cleanup()
        # Only its own deadline ends the block without a value.
        raise ExecutionTimeoutError(message, context={"timeout": timeout})

    return run


async def batch_cleanup(
    items: Iterable[T],
    fn: Callable[[T], Awaitable[object]],
    *,
    batch_size: int = 10,
    on_progress: Callable[[int, int], object] | None = None,
    logger: AnyLogger | None = None,
) -> list[AM2ZError]:
    """Call ``fn`` for every item, ``batch_size`` at once, and answer the errors in items' order.

    A batch begins when the one before it is done. ``on_progress(completed, total)`` is called after
    each item, failed ones too, so that it ends at the total; an error of its own is logged and
    stops nothing. Errors of ``fn`` are logged where there is a ``logger``.

    Not shielded, for the number of items has no bound: cancellation stops it at once. Wrap the work
    of one item with ``create_timeout_cleanup`` where it has to be finished. Raises
    ``ConfigurationError`` for a batch size below 1.

    Example: ``errors = await batch_cleanup(keys, redis.delete, batch_size=50)``.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigurationError(f"batch_size is {batch_size!r}; give a whole number of at least 1")
    todo = list(items)
    failures: dict[int, AM2ZError] = {}
    completed = 0

    async def clean(index: int) -> None:
        nonlocal completed
        try:
            await fn(todo[index])
        except Exception as error:
            name = f"item {index + 1} of {len(todo)}"
            if logger is not None:
                create_cleanup_error_handler(name, logger)(error)
            failures[index] = _named(error, name)
        completed += 1
        if on_progress is not None:
            try:
                on_progress(completed, len(todo))
            except Exception:
                report = logger or logging.getLogger("am2z.cleanup")
                report.warning("on_progress failed", exc_info=True)

    for first in range(0, len(todo), batch_size):
        async with trio.open_nursery() as nursery:
            for index in range(first, min(first + batch_size, len(todo))):
                nursery.start_soon(clean, index)
    await trio.lowlevel.checkpoint()
    return [failures[index] for index in sorted(failures)]


def _named(error: Exception, name: str) -> AM2ZError:
    answer = to_am2z_error(error, where=f"cleaning up {name}")
    answer.context.setdefault("resource", name)
    return answer
