"""What the processors of a program are, and what their errors are called."""

from __future__ import annotations

__all__ = [
    "BRIEF",
    "CODES",
    "MAX_CALL_DEPTH",
    "PLAIN_STEPS",
    "RAISED",
    "is_exhausted",
    "is_tried_again",
]

MAX_CALL_DEPTH = 2

RAISED = {
    "business": "BusinessError",
    "partial": "BusinessError",
    "group": "BusinessError",
    "broken": "BusinessError",
    "validation": "ValidationError",
    "strange": "ValidationError",
    "network": "NetworkError",
    "torn": "NetworkError",
    "foreign": "ProcessorExecutionError",
    "passing": "PassingError",
    "nothing": "ConfigurationError",
}
"""The error that a processor fails with, by the word in its plan."""

CODES = {
    "NetworkError": "NETWORK_ERROR",
    "ProcessorExecutionError": "PROCESSOR_EXECUTION_FAILED",
    "PassingError": "PASSING",
    "BusinessError": "SAYS_NO",
    "ValidationError": "VALIDATION_FAILED",
    "ConfigurationError": "CONFIGURATION",
    "ProcessorNotFoundError": "PROCESSOR_NOT_FOUND",
    "CallDepthExceededError": "CALL_DEPTH_EXCEEDED",
    "SessionStoppedError": "SESSION_STOPPED",
    "ExecutionCancelledError": "EXECUTION_CANCELLED",
    "ExecutionTimeoutError": "EXECUTION_TIMEOUT",
}

BRIEF = ("brief", "hasty")
"""Who does what takes no time, and then waits beyond its timeout."""

PLAIN_STEPS = frozenset({"add", "note", "who", "emit", "progress"})
"""Steps that neither wait nor fail."""

_RETRYABLE = frozenset(
    {"NetworkError", "ProcessorExecutionError", "PassingError", "ExecutionTimeoutError"}
)
_ATTEMPTS = {"thrice": 3, "later": 2, "wary": 4, "brief": 2, "left": 3, "lane": 2, "hasty": 2}


def is_tried_again(name: str, error: str, attempt: int) -> bool:
    """Whether another attempt follows one that ended with this error (empty: with none)."""
    if error not in _RETRYABLE or attempt >= _ATTEMPTS.get(name, 1):
        return False
    return not (name == "wary" and error == "ProcessorExecutionError" and attempt >= 2)


def is_exhausted(name: str, error: str, attempt: int) -> bool:
    """Whether it would be tried again, were it not the last attempt."""
    return error in _RETRYABLE and attempt >= _ATTEMPTS.get(name, 1)
