"""How often to try again, and how a processor shares its worker with others."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard

import msgspec

from am2z.errors import AM2ZError, ConfigurationError

__all__ = ["QueueOptions", "RetryPolicy", "check_duration"]

RetryHook = Callable[..., object | Awaitable[object]]


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a failed execution is tried again, and after how long.

    The wait before attempt ``n + 1`` is ``backoff * multiplier ** (n - 1)`` seconds, at most
    ``max_backoff``; ``jitter`` (a share, 0 to 1) takes a random part of it away or adds it.
    An error that is not ``retryable`` is never retried; ``should_retry(error, attempt)`` may refuse
    further ones. ``on_retry(error, attempt)`` is called before each wait and
    ``on_exhausted(error, attempt)`` when the last attempt failed. A hook may take the error alone,
    and may be async. One that raises makes the failure final: it is the cause of the
    ``ConfigurationError`` that the caller gets.

    Raises ``ConfigurationError`` for values that make no sense.

    Example: ``RetryPolicy(max_attempts=4, backoff=0.5)`` waits 0.5 s, 1 s and 2 s.
    """

    max_attempts: int = 3
    backoff: float = 0.1
    multiplier: float = 2.0
    max_backoff: float = 30.0
    jitter: float = 0.0
    should_retry: Callable[..., bool | Awaitable[bool]] | None = None
    on_retry: RetryHook | None = None
    on_exhausted: RetryHook | None = None

    def __post_init__(self) -> None:
        if not _is_whole(self.max_attempts) or self.max_attempts < 1:
            raise ConfigurationError(
                f"max_attempts is {self.max_attempts!r}; give a whole number of at least 1"
            )
        check_duration("backoff", self.backoff, zero=True)
        check_duration("max_backoff", self.max_backoff, zero=True)
        if not _is_number(self.multiplier) or self.multiplier < 1:
            raise ConfigurationError(f"multiplier is {self.multiplier!r}; give at least 1")
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"jitter is {self.jitter!r}; give a share from 0 to 1")
        for name in ("should_retry", "on_retry", "on_exhausted"):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                raise ConfigurationError(f"{name} is {hook!r}; give a function, or None")

    def delay(self, attempt: int, rng: random.Random | None = None) -> float:
        """Seconds to wait after the failed attempt number ``attempt`` (from 1)."""
        if not self.backoff:
            return 0.0
        try:
            wait = min(self.backoff * self.multiplier ** (attempt - 1), self.max_backoff)
        except OverflowError:
            wait = self.max_backoff
        if self.jitter:
            spread = (rng or random).uniform(-self.jitter, self.jitter)
            wait = min(wait * (1 + spread), self.max_backoff)
        return wait

    async def next_delay(self, error: AM2ZError, attempt: int) -> float | None:
        """Seconds until the next attempt, or ``None`` if this failure is final. Runs the hooks."""
        if not error.retryable:
            return None
        if attempt >= self.max_attempts:
            if self.on_exhausted is not None:
                await call_hook(self.on_exhausted, error, attempt)
            return None
        if self.should_retry is not None and not await call_hook(self.should_retry, error, attempt):
            return None
        if self.on_retry is not None:
            await call_hook(self.on_retry, error, attempt)
        return self.delay(attempt)


class QueueOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a processor shares a worker.

    ``concurrency``: at most so many at once in each worker (``None``: as many as the worker has
    slots). ``priority``: processors with a higher one are served first.
    """

    concurrency: int | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        wrong = self.concurrency is not None and (
            not _is_whole(self.concurrency) or self.concurrency < 1
        )
        if wrong:
            raise ConfigurationError(
                f"concurrency is {self.concurrency!r}; give a whole number of at least 1, or None"
            )
        if not _is_whole(self.priority):
            raise ConfigurationError(f"priority is {self.priority!r}; give a whole number")


def check_duration(name: str, value: object, *, zero: bool = False) -> None:
    """Raise ``ConfigurationError`` unless ``value`` is a positive number of seconds.

    ``zero`` says that 0 is fine too. Infinity is not: a wait without an end hides mistakes.
    """
    if not _is_number(value) or value < 0 or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise ConfigurationError(f"{name} is {value!r}; give a number of seconds, {least}")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


async def call_hook(hook: Callable[..., Any], error: AM2ZError, attempt: int) -> Any:
    """Call a policy's hook with as many of (error, attempt) as it takes; await what it returns."""
    answer = hook(error, attempt) if _takes_two(hook) else hook(error)
    return await answer if inspect.isawaitable(answer) else answer


def _takes_two(hook: Callable[..., Any]) -> bool:
    try:
        inspect.signature(hook).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # builtins without a signature
        return True
    return True
