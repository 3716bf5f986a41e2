"""The handle of an execution that was submitted to a ``LocalRuntime``."""

from __future__ import annotations

from typing import Generic

import trio

from am2z.errors import AM2ZError, ExecutionCancelledError
from am2z.local.execution import Execution
from am2z.result import ProcessorResult
from am2z.state import StateT

__all__ = ["LocalHandle"]


class LocalHandle(Generic[StateT]):
    """See ``ExecutionHandle``."""

    def __init__(self, execution_id: str, execution: Execution | None) -> None:
        self._id = execution_id
        self._execution = execution
        self._result: ProcessorResult[StateT] | None = None
        self._done = trio.Event()

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self._id

    def resolve(self, result: ProcessorResult[StateT]) -> None:
        """The execution has ended like this. Called by the runtime."""
        self._result = result
        self._done.set()

    @property
    def refused(self) -> AM2ZError | None:
        """Why the execution was never accepted; ``None`` where it was."""
        if self._execution is None and self._result is not None:
            return self._result.error
        return None

    async def result(self) -> ProcessorResult[StateT]:
        """See ``ExecutionHandle.result``."""
        await self._done.wait()
        assert self._result is not None
        return self._result

    async def progress(self) -> float:
        """See ``ExecutionHandle.progress``."""
        await trio.lowlevel.checkpoint()
        return self._execution.progress if self._execution is not None else 0.0

    async def cancel(self) -> None:
        """See ``ExecutionHandle.cancel``."""
        if self._execution is not None and not self._done.is_set():
            self._execution.end_with(
                ExecutionCancelledError(f"execution {self._id} was cancelled through its handle")
            )
        await self._done.wait()
