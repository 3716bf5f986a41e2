"""AM2Z: async processors that run in one process or on many machines.

The floors, lowest first; a module imports from its own floor and those below it only:

0. values: ``error``, ``errors``, ``result``, ``state``, ``events``, ``policy``, ``ids``, ``codec``
1. contracts: ``context``, ``processor``, ``runtime``, ``config``, ``stats``, ``capabilities``
2. what both runtimes share: ``executor``, ``admission``, ``compose``, ``base`` …
3. ``local``: the runtime in this process
4. ``queue``: the runtime on Redis
5. ``cli``, and this module with the public names
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from am2z.capabilities import Capability
from am2z.cleanup import (
    batch_cleanup,
    cleanup_resources,
    create_cleanup_error_handler,
    create_timeout_cleanup,
)
from am2z.compose import batch, chain, parallel, route
from am2z.config import RuntimeConfig
from am2z.context import Context, Delivery, ThreadContext
from am2z.dead import DeadLetter, DeadLetters
from am2z.errors import (
    AM2ZError,
    BusinessError,
    CallDepthExceededError,
    ConfigurationError,
    ErrorCategory,
    ErrorSeverity,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    LeaseLostError,
    LockLostError,
    NetworkError,
    PayloadTooLargeError,
    PoisonExecutionError,
    ProcessorExecutionError,
    ProcessorNotFoundError,
    ResourceError,
    RuntimeNotStartedError,
    RuntimeStoppedError,
    SessionStoppedError,
    StateConflictError,
    StateCorruptError,
    StateNotFoundError,
    UnsupportedCapability,
    ValidationError,
)
from am2z.events import Event, EventType
from am2z.local import LocalRuntime, LocalStateManager
from am2z.log import component_loggers, create_component_logger, create_contextual_logger
from am2z.naming import NamingUtility
from am2z.policy import QueueOptions, RetryPolicy
from am2z.processor import Processor, ProcessorBuilder, create_processor, processor
from am2z.resilience import (
    extract_errors_from_results,
    extract_first_error,
    handle_error,
    retry_with_backoff,
    with_error_handling,
    with_timeout,
)
from am2z.resources import ResourceLimits, ResourceMonitor, ResourceStats
from am2z.result import ExecutionMetadata, Failure, ProcessorResult, Result, Success
from am2z.runtime import ExecutionHandle, Lock, Runtime, RuntimeCore, RuntimeMixin
from am2z.sessions import SessionManager
from am2z.state import AppState, StateManager, StateMetadata, Versioned, create_app_state
from am2z.stats import QueueStats, RuntimeStats

if TYPE_CHECKING:
    from am2z.queue import QueueRuntime, RedisStateManager

__version__ = "0.1.0"

__all__ = [
    "AM2ZError",
    "AppState",
    "BusinessError",
    "CallDepthExceededError",
    "Capability",
    "ConfigurationError",
    "Context",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "ErrorCategory",
    "ErrorSeverity",
    "Event",
    "EventType",
    "ExecutionCancelledError",
    "ExecutionHandle",
    "ExecutionMetadata",
    "ExecutionTimeoutError",
    "Failure",
    "LeaseLostError",
    "LocalRuntime",
    "LocalStateManager",
    "Lock",
    "LockLostError",
    "NamingUtility",
    "NetworkError",
    "PayloadTooLargeError",
    "PoisonExecutionError",
    "Processor",
    "ProcessorBuilder",
    "ProcessorExecutionError",
    "ProcessorNotFoundError",
    "ProcessorResult",
    "QueueOptions",
    "QueueRuntime",
    "QueueStats",
    "RedisStateManager",
    "ResourceError",
    "ResourceLimits",
    "ResourceMonitor",
    "ResourceStats",
    "Result",
    "RetryPolicy",
    "Runtime",
    "RuntimeConfig",
    "RuntimeCore",
    "RuntimeMixin",
    "RuntimeNotStartedError",
    "RuntimeStats",
    "RuntimeStoppedError",
    "SessionManager",
    "SessionStoppedError",
    "StateConflictError",
    "StateCorruptError",
    "StateManager",
    "StateMetadata",
    "StateNotFoundError",
    "Success",
    "ThreadContext",
    "UnsupportedCapability",
    "ValidationError",
    "Versioned",
    "batch",
    "batch_cleanup",
    "chain",
    "cleanup_resources",
    "component_loggers",
    "create_app_state",
    "create_cleanup_error_handler",
    "create_component_logger",
    "create_contextual_logger",
    "create_processor",
    "create_timeout_cleanup",
    "extract_errors_from_results",
    "extract_first_error",
    "handle_error",
    "parallel",
    "processor",
    "retry_with_backoff",
    "route",
    "with_error_handling",
    "with_timeout",
]

_QUEUE_NAMES = frozenset({"QueueRuntime", "RedisStateManager"})


def __getattr__(name: str) -> Any:
    """The distributed runtime on first use: who runs locally need not pay for redis-py."""
    if name in _QUEUE_NAMES:
        from am2z import queue  # noqa: PLC0415 - the point of this function

        return getattr(queue, name)
    raise AttributeError(f"module 'am2z' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
