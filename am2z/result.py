"""What processors return and what callers get."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from am2z.errors import AM2ZError
from am2z.state import AppState

__all__ = ["ExecutionMetadata", "Failure", "ProcessorResult", "Result", "Success"]

T_co = TypeVar("T_co", bound=AppState, covariant=True)


class Success(msgspec.Struct, Generic[T_co], frozen=True):
    """A processor's way to say that it succeeded: ``return Success(state)``.

    Returning the state itself means the same.
    """

    state: T_co


class Failure(Exception, Generic[T_co]):  # noqa: N818 - one half of a result, not an error's name
    """A processor's way to say that it failed: ``return Failure(error)``.

    Raising the error means the same. ``state`` is the partial state that the caller shall see
    (``None``: the input, unchanged), by value as everything; one that cannot cross is left out.
    ``completed_steps`` tells how many steps were done by then.
    """

    def __init__(
        self, error: BaseException, *, state: T_co | None = None, completed_steps: int = 0
    ) -> None:
        super().__init__(error)
        self.error = error
        self.state = state
        self.completed_steps = completed_steps


Result = Success[T_co] | Failure[T_co]


class ExecutionMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Which execution this is.

    ``attempt`` counts from 1. ``started_at`` is wall-clock time in seconds since the epoch, of this
    attempt's start. ``completed_steps`` counts the steps of a composition that were done.
    """

    processor_name: str
    execution_id: str
    session_id: str
    attempt: int = 1
    started_at: float = 0.0
    completed_steps: int = 0


class ProcessorResult(msgspec.Struct, Generic[T_co], frozen=True, kw_only=True):
    """How an execution ended.

    ``state`` is the new state of a success; of a failure the state that came in, or the partial
    state of a chain that failed on its way. ``error`` is ``None`` exactly when ``success`` is true.
    ``execution_time`` is the time in seconds that the last attempt took.
    """

    success: bool
    state: T_co
    error: AM2ZError | None = None
    execution_time: float = 0.0
    metadata: ExecutionMetadata

    def unwrap(self) -> T_co:
        """The state of a success; raises the error of a failure.

        Example: ``order = (await runtime.execute(price, order)).unwrap()``.
        """
        if self.error is not None:
            raise self.error
        return self.state
