"""Small helpers around things that fail: collect, log, translate, bound in time, try again.

None of them ever catches a cancellation or a keyboard interrupt.
"""

from __future__ import annotations

import inspect
import logging
import random
import traceback
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import outcome
import trio

from am2z.errors import (
    AM2ZError,
    ErrorSeverity,
    ExecutionTimeoutError,
    ProcessorExecutionError,
    to_am2z_error,
)
from am2z.policy import RetryPolicy, check_duration
from am2z.redact import as_pairs, redact_text
from am2z.result import ProcessorResult

__all__ = [
    "extract_errors_from_results",
    "extract_first_error",
    "handle_error",
    "retry_with_backoff",
    "with_error_handling",
    "with_timeout",
]

T = TypeVar("T")
AnyLogger = logging.Logger | logging.LoggerAdapter[Any]

_LEVELS: dict[str, int] = {
    ErrorSeverity.LOW: logging.WARNING,
    ErrorSeverity.MEDIUM: logging.WARNING,
    ErrorSeverity.HIGH: logging.ERROR,
    ErrorSeverity.CRITICAL: logging.CRITICAL,
}

# Which errors were logged already. Beside the errors and not on them: attributes of an error travel
# to other machines, where nobody has logged it yet.
_logged: dict[int, weakref.ref[AM2ZError]] = {}


def extract_errors_from_results(
    outcomes: Iterable[outcome.Maybe[Any]], error_context: str
) -> list[AM2ZError]:
    """The errors among ``outcomes``, in their order; an empty list if all succeeded.

    A foreign exception becomes a ``ProcessorExecutionError`` that it caused, with ``error_context``
    in front of its message; an ``AM2ZError`` stays itself and gets ``error_context`` in its
    context. The outcomes are not used up. One that captured a cancellation or a keyboard interrupt
    raises it.

    Example::

        done = [await outcome.acapture(fetch, url) for url in urls]
        errors = extract_errors_from_results(done, "fetching the feeds")
    """
    return [
        _translate(one.error, error_context) for one in outcomes if isinstance(one, outcome.Error)
    ]


def extract_first_error(
    results: Iterable[ProcessorResult[Any]], composition_name: str = "", execution_id: str = ""
) -> AM2ZError | None:
    """The error of the first result that failed, ``None`` if all succeeded.

    It is told which processor failed (``failed_processor``) and, in its context, in which
    composition and execution, where it does not know yet.

    Example: ``if error := extract_first_error(results, "checkout"): return Failure(error)``.
    """
    for result in results:
        if result.success:
            continue
        name = result.metadata.processor_name
        error = result.error or ProcessorExecutionError(f"{name} failed and did not say why")
        if error.failed_processor is None:
            error.failed_processor = name
        if composition_name:
            error.context.setdefault("composition_name", composition_name)
        if execution_id:
            error.context.setdefault("execution_id", execution_id)
        return error
    return None


def handle_error(
    error: BaseException, logger: AnyLogger, context: Mapping[str, Any] | None = None
) -> AM2ZError:
    """Log ``error`` and answer it as an ``AM2ZError`` that knows ``context``.

    The level follows the severity: warning for low and medium, error for high, critical for
    critical; the last two come with the traceback. An error that was logged here once is not logged
    again further up. Whatever looks like a secret, in the message, the context or the traceback, is
    ``***`` in the log; the error itself keeps it.

    What is not an ``Exception`` is raised again.

    Example::

        except Exception as error:
            raise handle_error(error, logger, {"order": order.id}) from error
    """
    answer = _translate(error, "")
    for name, value in (context or {}).items():
        answer.context.setdefault(name, value)
    if id(answer) not in _logged:
        key = id(answer)
        _logged[key] = weakref.ref(answer, lambda _: _logged.pop(key, None))
        level = _LEVELS.get(answer.severity, logging.ERROR)
        if logger.isEnabledFor(level):
            logger.log(level, "%s", _describe(answer, with_traceback=level >= logging.ERROR))
    return answer


async def with_error_handling(
    fn: Callable[[], Awaitable[T]], error_context: str, logger: AnyLogger | None = None
) -> T:
    """What ``await fn()`` gives; whatever it raises is raised as an ``AM2ZError``.

    An ``AM2ZError`` stays itself; another exception becomes a ``ProcessorExecutionError`` that it
    caused, with ``error_context`` in front of its message. With a ``logger`` it is logged as
    ``handle_error`` does. Cancellation passes untouched.

    Example: ``feed = await with_error_handling(lambda: fetch(url), "fetching the feed", logger)``.
    """
    try:
        return await fn()
    except Exception as error:
        answer = _translate(error, error_context)
        if logger is not None:
            handle_error(answer, logger)
        if answer is error:
            raise
        raise answer from error


async def with_timeout(
    fn: Callable[[], Awaitable[T]], timeout: float, message: str | None = None
) -> T:
    """What ``await fn()`` gives, within ``timeout`` seconds.

    Raises ``ExecutionTimeoutError`` (with ``message``) when this time is over, and only then: a
    timeout that ``fn`` raises itself, ``trio.TooSlowError`` too, passes as it is. Raises
    ``ConfigurationError`` for a timeout that is no time; 0 lets ``fn`` run up to its first wait.

    Example: ``page = await with_timeout(lambda: fetch(url), 5.0)``.
    """
    check_duration("timeout", timeout, zero=True)
    with trio.move_on_after(timeout):
        return await fn()
    # Only its own deadline ends the block without a value: any other cancellation passes through.
    raise ExecutionTimeoutError(
        message or f"it took longer than {timeout:g} s; give it more time or less to do",
        context={"timeout": timeout},
    )


async def retry_with_backoff(
    fn: Callable[[], Awaitable[T]],
    *,
    max_attempts: int = 3,
    initial_delay: float = 0.1,
    max_delay: float = 10.0,
    multiplier: float = 2.0,
    jitter: float = 0.0,
    should_retry: Callable[[Exception, int], bool | Awaitable[bool]] | None = None,
    on_retry: Callable[[Exception, int], object] | None = None,
    rng: random.Random | None = None,
) -> T:
    """What ``await fn()`` gives at the first attempt that succeeds, up to ``max_attempts``.

    The waits are those of ``RetryPolicy``: ``initial_delay`` seconds after the first failure, then
    ``multiplier`` times as long each time, at most ``max_delay``, spread by ``jitter`` (a share, 0
    to 1; from ``rng`` where it is given). The **last** attempt's error is raised.

    An ``AM2ZError`` that is not ``retryable`` is raised at once, and so is an error for which
    ``should_retry(error, attempt)`` says no. ``on_retry(error, attempt)`` is called before each
    wait; attempts count from 1, and both may be async. Cancellation passes at once. Raises
    ``ConfigurationError`` for numbers that make no sense.

    Example: ``page = await retry_with_backoff(lambda: fetch(url), max_attempts=5)``.
    """
    policy = RetryPolicy(
        max_attempts=max_attempts,
        backoff=initial_delay,
        max_backoff=max_delay,
        multiplier=multiplier,
        jitter=jitter,
    )
    attempt = 0
    while True:
        attempt += 1
        try:
            return await fn()
        except Exception as error:
            final = attempt >= policy.max_attempts or (
                isinstance(error, AM2ZError) and not error.retryable
            )
            if final or (should_retry and not await _call(should_retry, error, attempt)):
                raise
            if on_retry is not None:
                await _call(on_retry, error, attempt)
        # Outside of the handler, so that what ends the wait is not chained to the failure.
        await trio.sleep(policy.delay(attempt, rng))


async def _call(hook: Callable[[Exception, int], Any], error: Exception, attempt: int) -> Any:
    answer = hook(error, attempt)
    return await answer if inspect.isawaitable(answer) else answer


def _translate(error: BaseException, where: str) -> AM2ZError:
    if not isinstance(error, Exception):
        raise error
    answer = to_am2z_error(error, where=where)
    if answer is error and where:
        answer.context.setdefault("error_context", where)
    return answer


def _describe(error: AM2ZError, *, with_traceback: bool) -> str:
    text = f"{type(error).__name__}: {redact_text(str(error))} [{error.code}]"
    if error.context:
        text += f" {as_pairs(error.context)}"
    # One made just now, for a foreign exception, was never raised: only its cause was.
    source = error if error.__traceback__ is not None else error.__cause__
    if with_traceback and source is not None and source.__traceback__ is not None:
        lines = traceback.format_exception(source, limit=-20)
        text += "\n" + redact_text("".join(lines).rstrip())
    return text
