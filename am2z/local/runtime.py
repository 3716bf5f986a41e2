"""The runtime that runs processors in this process, on trio."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar

import trio

from am2z.admission import Request, refusal, runtime_stopped, session_stopped
from am2z.base import BaseRuntime
from am2z.capabilities import Capability
from am2z.codec import copy_event
from am2z.config import RuntimeConfig
from am2z.context import Delivery
from am2z.dead import DeadLetter
from am2z.errors import (
    AM2ZError,
)
from am2z.events import EventType
from am2z.ids import check_name
from am2z.local.dead import LocalDeadLetters
from am2z.local.engine import Engine
from am2z.local.handle import LocalHandle
from am2z.local.locks import LocalLocks
from am2z.local.remembered import Remembered
from am2z.local.sessions import SessionTable
from am2z.local.state import LocalStateManager
from am2z.resources import ResourceLimits
from am2z.result import ProcessorResult
from am2z.runtime import ProcessorRef
from am2z.state import StateT
from am2z.stats import QueueStats, RuntimeStats

__all__ = ["LocalRuntime"]


class LocalRuntime(BaseRuntime):
    """Runs processors in this process. The twin of ``QueueRuntime`` that you test with.

    ::

        async with LocalRuntime() as runtime:
            runtime.register(price)
            result = await runtime.execute(price, Order(items=["chair"]))
    """

    component: ClassVar[str] = "local_runtime"
    capabilities = frozenset({Capability.PRIORITY, Capability.VIRTUAL_TIME})

    def __init__(
        self, *, config: RuntimeConfig | None = None, limits: ResourceLimits | None = None
    ) -> None:
        super().__init__(config=config, limits=limits)
        self._store = LocalStateManager(
            max_bytes=self.config.max_payload_bytes, ttl=self.config.state_ttl
        )
        self._sessions = SessionTable(self.limits.session_ttl)
        self._lock_table = LocalLocks()  # for good: blocks of before a stop may still be ending
        self._remembered = Remembered(self.config.result_ttl)
        self._dead = LocalDeadLetters(self._resubmit)
        self._work = Engine(
            self,
            self.config,
            self._registry,
            self._admission,
            self.resources,
            self._bus,
            self._store,
            self._sessions,
            self._dead,
            is_accepting=lambda: self._accepting,
        )

    @property
    def dead(self) -> LocalDeadLetters:
        """See ``RuntimeCore.dead``."""
        return self._dead

    @property
    def state(self) -> LocalStateManager:
        """See ``RuntimeCore.state``."""
        return self._store

    # --- work

    async def execute(
        self, processor: ProcessorRef[StateT], state: StateT, session_id: str | None = None
    ) -> ProcessorResult[StateT]:
        """See ``Runtime.execute``. It runs in the caller's task, and is cancelled with it."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        request = self._admission.admit(processor, state, session_id)
        execution = self._work.begin(request)
        if isinstance(execution, AM2ZError):
            return refusal(request, execution)
        return await self._work.run(execution)

    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> LocalHandle[StateT]:
        """See ``RuntimeCore.submit``."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._require_started()
        request = self._admission.admit(
            processor, state, session_id, execution_id=execution_id, delay=delay, at=at
        )
        handle = self._submit(request)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return handle

    def _submit(self, request: Request[StateT]) -> LocalHandle[StateT]:
        if (known := self._remembered.find(request)) is not None:
            return known
        execution = self._work.begin(request)
        if isinstance(execution, AM2ZError):
            handle = LocalHandle[StateT](request.execution_id, None)
            handle.resolve(refusal(request, execution))
            return handle
        handle = LocalHandle[StateT](request.execution_id, execution)
        self._remembered.keep(request, handle)
        self._work.wait(execution)

        async def run() -> None:
            try:
                handle.resolve(await self._work.run(execution))
            except BaseException:
                # The runtime's block failed; whoever waits outside of it must learn so.
                handle.resolve(refusal(request, runtime_stopped(request.name)))
                raise
            finally:
                self._remembered.ended(request)

        assert self._nursery is not None
        self._nursery.start_soon(run, name=f"execution {request.execution_id}")
        return handle

    async def _resubmit(self, letter: DeadLetter, execution_id: str) -> None:
        """Hand a dead letter over again."""
        self._require_started()
        request = self._admission.admit(
            letter.processor_name, letter.state(), letter.session_id, execution_id=execution_id
        )
        handle = self._submit(request)
        if handle.refused is not None:
            raise handle.refused

    # --- events

    def _publish_runtime_event(self, event: str, data: Mapping[str, Any]) -> Delivery:
        self._work.publish(event, "", "", "", copy_event(data))
        return Delivery(trio.lowlevel.checkpoint)

    # --- life

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[None]:
        self._locks = lambda _: self._lock_table
        for session_id in self._sessions.names():
            self.resources.register_session(session_id)  # those of the life before, if any
        try:
            yield
        finally:
            self._locks = None
            self._lock_table.end()
            self._work.end_all()

    async def _drain(self) -> None:
        """See ``BaseRuntime._drain``."""
        with trio.move_on_after(self.config.shutdown_grace):
            await self._work.wait_until_done()
        self._work.end_all()
        await self._work.wait_until_done()

    async def sync_processors(self) -> None:
        """See ``RuntimeCore.sync_processors``. Here a registration takes part at once."""
        self._require_started()
        await trio.lowlevel.checkpoint()

    # --- sessions and statistics

    async def stop_session(self, session_id: str) -> None:
        """See ``RuntimeCore.stop_session``."""
        self._require_started()
        check_name(session_id, "session")
        await trio.lowlevel.checkpoint()
        self._stop_session(session_id)

    def _stop_session(self, session_id: str) -> None:
        live, was_active = self._sessions.stop(session_id)
        for execution in live:
            execution.end_with(session_stopped(session_id))
        self.resources.unregister_session(session_id)
        self._store.expire(session_id, self.limits.session_ttl)
        if was_active:
            self._work.publish(EventType.SESSION_STOPPED, "", session_id, "", {})

    async def clean_session(self, session_id: str) -> None:
        """See ``RuntimeCore.clean_session``."""
        self._require_started()
        check_name(session_id, "session")
        await trio.lowlevel.checkpoint()
        if session_id in self._sessions.names():
            self._stop_session(session_id)
        self._sessions.clean(session_id)
        self._store.forget(session_id)

    async def active_sessions(self) -> list[str]:
        """See ``RuntimeCore.active_sessions``."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        return self._sessions.names()

    async def session_stats(self, session_id: str) -> dict[str, QueueStats]:
        """See ``RuntimeCore.session_stats``."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        check_name(session_id, "session")
        return self._sessions.stats(session_id)

    async def queue_stats(self) -> dict[str, QueueStats]:
        """See ``RuntimeCore.queue_stats``."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        live: dict[str, Counter[str]] = {}
        for execution in self._work.executions.values():
            live.setdefault(execution.request.name, Counter())[execution.phase] += 1
        names = {*self._registry.names(), *self._work.completed, *self._work.failed, *live}
        return {
            name: QueueStats(
                **live.get(name, Counter()),
                completed=self._work.completed[name],
                failed=self._work.failed[name],
            )
            for name in sorted(names)
        }

    async def stats(self) -> RuntimeStats:
        """See ``RuntimeCore.stats``."""
        await trio.lowlevel.checkpoint()
        self._require_started()
        phases = Counter(execution.phase for execution in self._work.executions.values())
        return RuntimeStats(
            registered_processors=len(self._registry),
            waiting=phases["waiting"],
            active=phases["active"],
            running=phases["active"],
            completed=self._work.completed.total(),
            failed=self._work.failed.total(),
            active_sessions=len(self._sessions.names()),
            uptime=self._uptime,
        )

    async def _idle_sessions(self) -> list[str]:
        return self._sessions.idle()
