"""A runtime that tells nothing about itself."""

from __future__ import annotations

from typing import Any

import trio
from msgspec.structs import replace

from am2z import (
    ExecutionHandle,
    LocalRuntime,
    ProcessorResult,
    ResourceLimits,
    RuntimeConfig,
)
from am2z.authoring import ForwardingRuntime, ProcessorRef, StateT

__all__ = ["QuietRuntime"]


class QuietRuntime(ForwardingRuntime):
    """A ``LocalRuntime`` for small devices: it collects no metrics and keeps no progress."""

    capabilities = LocalRuntime.capabilities

    def __init__(
        self, *, config: RuntimeConfig | None = None, limits: ResourceLimits | None = None
    ) -> None:
        quiet = replace(config or RuntimeConfig(), metrics_interval=None)
        super().__init__(LocalRuntime(config=quiet, limits=limits))

    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        **options: Any,
    ) -> ExecutionHandle[StateT]:
        return QuietHandle(await super().submit(processor, state, session_id, **options))


class QuietHandle:
    """A handle that does not know how far its execution is."""

    def __init__(self, handle: ExecutionHandle[Any]) -> None:
        self._handle = handle

    @property
    def execution_id(self) -> str:
        return self._handle.execution_id

    async def result(self) -> ProcessorResult[Any]:
        return await self._handle.result()

    async def progress(self) -> float:
        await trio.lowlevel.checkpoint()
        return 0.0

    async def cancel(self) -> None:
        await self._handle.cancel()
