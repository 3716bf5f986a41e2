"""What went wrong on the way to a server, in words that say what to do."""

from __future__ import annotations

from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError

from .tls import explain_tls

__all__ = ["explain"]


def explain(error: BaseException) -> str:
    """One line about an error of dialling."""
    if isinstance(error, BusyLoadingError):
        return "it is still loading its data set"
    if isinstance(error, RedisConnectionError):
        return str(error)
    # A broken stream, or a host none of whose addresses answers, says why only in its cause.
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[-1]
    if not isinstance(cause, OSError):
        cause = error
    if (told := explain_tls(cause)) is not None:
        return told
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return text or type(cause).__name__
