"""The errors that AM2Z raises and returns; what an error is, stands in ``am2z.error``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from am2z.error import AM2ZError, ErrorCategory, ErrorSeverity, remote_note, say

__all__ = [
    "AM2ZError",
    "BusinessError",
    "CallDepthExceededError",
    "ConfigurationError",
    "ErrorCategory",
    "ErrorSeverity",
    "ExecutionCancelledError",
    "ExecutionTimeoutError",
    "LeaseLostError",
    "LockLostError",
    "NetworkError",
    "PayloadTooLargeError",
    "PoisonExecutionError",
    "ProcessorExecutionError",
    "ProcessorNotFoundError",
    "ResourceError",
    "RuntimeNotStartedError",
    "RuntimeStoppedError",
    "SessionStoppedError",
    "StateConflictError",
    "StateCorruptError",
    "StateNotFoundError",
    "UnsupportedCapability",
    "ValidationError",
    "to_am2z_error",
]


class ValidationError(AM2ZError):
    """A value is not what it has to be. Trying again with the same value cannot help."""

    code = "VALIDATION_FAILED"
    category = ErrorCategory.VALIDATION
    severity = ErrorSeverity.LOW

    def __init__(
        self,
        field: str,
        reason: str = "is not valid",
        value: Any = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{field}: {reason}", context=context)
        self.field = field
        self.reason = reason
        self.value = value


class BusinessError(AM2ZError):
    """A rule of the application says no. Not retried."""

    code = "BUSINESS_RULE"
    category = ErrorCategory.BUSINESS
    severity = ErrorSeverity.LOW

    def __init__(
        self,
        message: str = "",
        code: str = "BUSINESS_RULE",
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, context=context)
        self.code = code


class ProcessorNotFoundError(AM2ZError):
    """Nobody serves a processor of that name."""

    code = "PROCESSOR_NOT_FOUND"
    category = ErrorCategory.CONFIGURATION

    def __init__(
        self,
        processor_name: str,
        available: tuple[str, ...] | list[str] = (),
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        known = ", ".join(sorted(available)) or "none"
        super().__init__(
            f"no processor named {processor_name!r} (known: {known}); "
            "register it with runtime.register(...), or start a worker that serves it",
            context=context,
        )
        self.processor_name = processor_name


class ProcessorExecutionError(AM2ZError):
    """A processor raised something that is not an ``AM2ZError``; the original is the cause."""

    code = "PROCESSOR_EXECUTION_FAILED"
    category = ErrorCategory.EXECUTION
    severity = ErrorSeverity.HIGH
    retryable = True


class ExecutionTimeoutError(AM2ZError):
    """An execution took longer than it may."""

    code = "EXECUTION_TIMEOUT"
    category = ErrorCategory.TIMEOUT
    retryable = True


class ExecutionCancelledError(AM2ZError):
    """Somebody cancelled the execution on purpose. Final: it is not retried."""

    code = "EXECUTION_CANCELLED"
    category = ErrorCategory.EXECUTION
    severity = ErrorSeverity.LOW


class CallDepthExceededError(AM2ZError):
    """Processors call each other deeper than ``RuntimeConfig.max_call_depth``."""

    code = "CALL_DEPTH_EXCEEDED"
    category = ErrorCategory.EXECUTION


class ResourceError(AM2ZError):
    """A limit of ``ResourceLimits`` is reached; the work was refused and nothing was kept."""

    code = "RESOURCE_LIMIT"
    category = ErrorCategory.RESOURCE
    severity = ErrorSeverity.HIGH
    retryable = True

    def __init__(
        self,
        message: str = "",
        resource: str | None = None,
        limit: float | None = None,
        current: float | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, context=context)
        self.resource = resource
        self.limit = limit
        self.current = current


class NetworkError(AM2ZError):
    """A server cannot be reached, or stopped answering."""

    code = "NETWORK_ERROR"
    category = ErrorCategory.NETWORK
    severity = ErrorSeverity.HIGH
    retryable = True

    def __init__(
        self,
        message: str = "",
        endpoint: str | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, context=context)
        self.endpoint = endpoint


class ConfigurationError(AM2ZError):
    """A setting, a name or an argument is wrong. Mend the call; trying again cannot help."""

    code = "CONFIGURATION"
    category = ErrorCategory.CONFIGURATION
    severity = ErrorSeverity.HIGH


class SessionStoppedError(AM2ZError):
    """The session was stopped; its work is refused until ``clean_session`` or its TTL."""

    code = "SESSION_STOPPED"
    category = ErrorCategory.SESSION


class StateConflictError(AM2ZError):
    """Somebody else changed the session's state in between. Read it again and try again."""

    code = "STATE_CONFLICT"
    category = ErrorCategory.STATE
    retryable = True


class StateCorruptError(AM2ZError):
    """The stored state does not match its checksum, or cannot be decoded."""

    code = "STATE_CORRUPT"
    category = ErrorCategory.STATE
    severity = ErrorSeverity.CRITICAL


class StateNotFoundError(AM2ZError):
    """The session has no state."""

    code = "STATE_NOT_FOUND"
    category = ErrorCategory.STATE


class LeaseLostError(AM2ZError):
    """A worker was away for longer than its lease: the execution belongs to another one now."""

    code = "LEASE_LOST"
    category = ErrorCategory.EXECUTION
    retryable = True


class LockLostError(AM2ZError):
    """A lock was lost while its block still ran."""

    code = "LOCK_LOST"
    category = ErrorCategory.EXECUTION
    retryable = True


class PoisonExecutionError(AM2ZError):
    """Every worker that took the execution died with it; it was set aside."""

    code = "POISON_EXECUTION"
    category = ErrorCategory.EXECUTION
    severity = ErrorSeverity.CRITICAL


class PayloadTooLargeError(AM2ZError):
    """What is to cross is too large: a state of more than ``RuntimeConfig.max_payload_bytes``.

    ``context`` has its ``size`` and the ``limit``, in bytes.
    """

    code = "PAYLOAD_TOO_LARGE"
    category = ErrorCategory.RESOURCE


class RuntimeNotStartedError(AM2ZError):
    """The runtime is not running; use it inside ``async with runtime:``."""

    code = "RUNTIME_NOT_STARTED"
    category = ErrorCategory.CONFIGURATION


class RuntimeStoppedError(AM2ZError):
    """The runtime was stopped before the execution finished; nothing was committed."""

    code = "RUNTIME_STOPPED"
    category = ErrorCategory.SYSTEM
    retryable = True


class UnsupportedCapability(AM2ZError):  # noqa: N818 - the contract's name
    """This runtime declares that it cannot do that."""

    code = "UNSUPPORTED_CAPABILITY"
    category = ErrorCategory.CONFIGURATION


def to_am2z_error(error: BaseException, *, where: str = "") -> AM2ZError:
    """``error`` itself if it is one of ours, else a ``ProcessorExecutionError`` caused by it.

    ``where`` names what failed, for the message. The traceback of a foreign error becomes a note
    (PEP 678), so that it can be read on another machine.
    """
    if isinstance(error, AM2ZError):
        return error
    prefix = f"{where}: " if where else ""
    wrapped = ProcessorExecutionError(f"{prefix}{type(error).__name__}: {say(error)}")
    wrapped.__cause__ = error
    wrapped.add_note(remote_note(error))
    return wrapped
