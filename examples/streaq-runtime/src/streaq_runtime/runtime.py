"""Work goes through streaq's streams in Redis; what arrives is run by a ``LocalRuntime``."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import trio
from anyio import ClosedResourceError
from coredis.exceptions import RedisError
from streaq import Worker

from am2z import (
    AM2ZError,
    Capability,
    ExecutionHandle,
    LocalRuntime,
    NetworkError,
    Processor,
    ProcessorResult,
    ResourceLimits,
    RuntimeConfig,
    RuntimeNotStartedError,
)
from am2z.authoring import (
    Admission,
    ForwardingRuntime,
    ProcessorRef,
    Registry,
    Request,
    StateT,
    check_same_work,
    refusal,
    runtime_stopped,
)
from streaq_runtime.wire import dump, load, pack_request, pack_result, unpack_result, unpack_state

TASK = "am2z"
SETTLING = 2.0
"""How long a stop waits for streaq to store what has ended, in seconds."""

AT_ONCE = 500
"""How many executions streaq has at once, what is delayed among them: for more of them submit()
waits. How many of those that were handed over run is the runtime's own affair."""

CONNECTIONS = AT_ONCE + 64
"""Whoever waits for a result of streaq's holds a connection; its own work needs some beside."""


class StreaqRuntime(ForwardingRuntime):
    """Accepts work into streaq's queue, and runs what its worker is given.

    States, sessions, events, locks and numbers are those of the runtime behind it. ::

    async with StreaqRuntime("redis://localhost:6379/0", namespace="shop") as runtime:
        await runtime.register(price).execute(price, Order(items=["chair"]))
    """

    capabilities = frozenset({Capability.PRIORITY})

    def __init__(
        self,
        redis_url: str,
        namespace: str = "am2z",
        config: RuntimeConfig | None = None,
        limits: ResourceLimits | None = None,
    ) -> None:
        self.config = config or RuntimeConfig()
        super().__init__(LocalRuntime(config=self.config, limits=limits))
        self._url, self._namespace = redis_url, namespace
        self._registry = Registry()
        self._admission = Admission(self._registry, self.config.max_payload_bytes)
        self._handles: dict[str, Handle] = {}
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._followers: trio.Nursery
        self._room = trio.CapacityLimiter(AT_ONCE)
        self._ending, self._over = trio.Event(), trio.Event()
        self._over.set()
        self._worker: Worker[None] | None = None
        logging.getLogger("streaq").setLevel(logging.WARNING)

    # --- life

    async def __aenter__(self) -> Self:
        manager = trio.open_nursery()
        self._nursery = await manager.__aenter__()
        self._manager = manager
        await self.inner.__aenter__()
        try:
            await self.start()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._manager is not None
        assert self._nursery is not None
        try:
            await self.inner.__aexit__(exc_type, exc, traceback)
            await self._settle()
        finally:
            self._stop_worker()
            with trio.move_on_after(SETTLING, shield=True):
                await self._over.wait()
            self._nursery.cancel_scope.cancel()
            await self._manager.__aexit__(None, None, None)
            self._manager = self._nursery = None

    @property
    def is_started(self) -> bool:
        return self.inner.is_started and self._worker is not None

    async def start(self) -> None:
        await self.inner.start()
        if self._worker is not None:
            return
        assert self._nursery is not None
        worker: Worker[None] = Worker(
            redis_url=self._url,
            queue_name=self._namespace,
            redis_kwargs={"max_connections": CONNECTIONS},
            concurrency=AT_ONCE,
            serializer=dump,
            deserializer=load,
            handle_signals=False,
            anyio_backend="trio",
        )
        ttl = timedelta(seconds=max(1.0, self.config.result_ttl))  # it counts whole seconds
        self._task = worker.task(name=TASK, max_tries=None, ttl=ttl, silent=True)(self._run)
        self._ending, self._over = trio.Event(), trio.Event()
        await self._nursery.start(self._live, worker)
        self._worker = worker

    async def _live(self, worker: Worker[None], task_status: trio.TaskStatus[None]) -> None:
        """One life of streaq's worker. Who waits through its connection ends before it does."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(worker.run_async)
                async with trio.open_nursery() as self._followers:
                    task_status.started()
                    await self._ending.wait()
                    self._followers.cancel_scope.cancel()
                nursery.cancel_scope.cancel()
        except* (RedisError, ClosedResourceError):
            if not self._ending.is_set():  # cut off in the middle of a command, streaq fails aloud
                raise
        finally:
            self._over.set()

    async def stop(self) -> None:
        await self.inner.stop()
        await self._settle()
        self._stop_worker()
        await self._over.wait()

    async def _settle(self) -> None:
        """What has ended here is told to streaq, and by it to whoever waits."""
        with trio.move_on_after(SETTLING, shield=True):
            for handle in list(self._handles.values()):
                if handle.inner is not None:
                    await handle.result()

    def _stop_worker(self) -> None:
        self._worker = None
        self._ending.set()
        for handle in list(self._handles.values()):
            handle.resolve(refusal(handle.request, runtime_stopped(handle.request.name)))

    # --- processors and work

    def register(self, *processors: Processor[Any]) -> Self:
        self.inner.register(*processors)
        self._registry.register(processors)
        return self

    def unregister(self, name: str) -> bool:
        self._registry.unregister(name)
        return self.inner.unregister(name)

    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> ExecutionHandle[StateT]:
        await trio.lowlevel.checkpoint()
        if not self.is_started:
            raise RuntimeNotStartedError("use the runtime inside `async with runtime:`")
        request = self._admission.admit(
            processor, state, session_id, execution_id=execution_id, delay=delay, at=at
        )
        if (known := self._handles.get(request.execution_id)) is not None:
            check_same_work(known.request, request)
            handle = known
        else:  # also for an id of before: the runtime behind this one knows how that ended
            handle = self._handles[request.execution_id] = Handle(request)
            self._followers.start_soon(self._follow, handle)
        await handle.accepted.wait()
        if handle.refused is not None:
            raise handle.refused
        return handle

    async def _follow(self, handle: Handle) -> None:
        """Put an execution into the queue, and wait for its result."""
        request = handle.request
        try:
            async with self._room:
                task = await self._task.enqueue(pack_request(request))
                found = await task.result()
            if found.success:
                handle.resolve(unpack_result(found.result))
            elif not self.is_started:
                handle.resolve(refusal(request, runtime_stopped(request.name)))
            else:
                error = NetworkError(f"streaq gave up: {found.exception}")
                handle.resolve(refusal(request, error))
        except Exception as error:
            handle.resolve(refusal(request, NetworkError(f"streaq failed: {error}")))
        finally:
            handle.resolve(refusal(request, runtime_stopped(request.name)))
            handle.accepted.set()
            del self._handles[request.execution_id]

    async def _run(self, packed: dict[str, Any]) -> dict[str, Any]:
        """Streaq's task: one execution, in the runtime of this process."""
        execution_id = packed["execution_id"]
        handle = self._handles.get(execution_id)
        try:
            inner = await self.inner.submit(
                packed["name"],
                unpack_state(packed["state"]),
                packed["session_id"],
                execution_id=execution_id,
                at=packed["begin_at"],
            )
        except AM2ZError as error:
            if handle is not None:
                handle.refused = error
            raise
        if handle is not None:
            handle.inner = inner
            handle.accepted.set()  # from now on statistics and priorities know of it
        return pack_result(await inner.result())


class Handle:
    """See ``am2z.ExecutionHandle``."""

    def __init__(self, request: Request[Any]) -> None:
        self.request = request
        self.accepted = trio.Event()
        self.inner: ExecutionHandle[Any] | None = None
        self.refused: AM2ZError | None = None
        self._result: ProcessorResult[Any] | None = None
        self._done = trio.Event()

    @property
    def execution_id(self) -> str:
        return self.request.execution_id

    def resolve(self, result: ProcessorResult[Any]) -> None:
        """It has ended like this; the first answer counts."""
        if self._result is None:
            self._result = result
            self._done.set()

    async def result(self) -> ProcessorResult[Any]:
        await self._done.wait()
        assert self._result is not None
        return self._result

    async def progress(self) -> float:
        await trio.lowlevel.checkpoint()
        return await self.inner.progress() if self.inner is not None else 0.0

    async def cancel(self) -> None:
        if self.inner is not None:  # it was accepted: what never was has ended without it
            await self.inner.cancel()
        await self._done.wait()
