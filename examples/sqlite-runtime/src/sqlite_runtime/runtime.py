"""The runtime: what is asked for goes into a file before it is promised."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import trio

from am2z import (
    AM2ZError,
    Capability,
    DeadLetter,
    DeadLetters,
    Delivery,
    EventType,
    Processor,
    ProcessorResult,
    QueueStats,
    ResourceLimits,
    RuntimeConfig,
    RuntimeStats,
    StateManager,
)
from am2z.authoring import (
    BaseRuntime,
    LocalLocks,
    ProcessorRef,
    Request,
    StateT,
    check_name,
    check_same_work,
    copy_event,
    refusal,
    runtime_stopped,
    session_stopped,
)
from sqlite_runtime.database import Database
from sqlite_runtime.engine import Engine
from sqlite_runtime.ledger import EVERYWHERE, Ledger
from sqlite_runtime.state import SqliteDeadLetters, SqliteStateManager
from sqlite_runtime.work import Handle, Work


class SqliteRuntime(BaseRuntime):
    """Runs processors in this process; what was accepted outlives it, in one SQLite file. ::

    async with SqliteRuntime(Path("work.db")).register(price) as runtime:
        await runtime.submit(price, Order(items=["chair"]), "customer-7")
    """

    component = "sqlite_runtime"
    capabilities = frozenset({Capability.DURABLE, Capability.PRIORITY})

    def __init__(
        self,
        path: Path,
        *,
        config: RuntimeConfig | None = None,
        limits: ResourceLimits | None = None,
    ) -> None:
        super().__init__(config=config, limits=limits)
        self._database = Database(path)
        self._states = SqliteStateManager(
            self._database, max_bytes=self.config.max_payload_bytes, ttl=self.config.state_ttl
        )
        self._letters = SqliteDeadLetters(self._database, self._resubmit)
        self._lock_table = LocalLocks()
        self.admission = self._admission
        self.find = self._registry.find
        self.publish = self._bus.publish
        self._begin_life()

    def _begin_life(self) -> None:
        ttl, result_ttl = self.config.state_ttl, self.config.result_ttl
        self.ledger = Ledger(self._database, state_ttl=ttl, result_ttl=result_ttl)
        self._work = Engine(self)
        self._handles: dict[str, Handle] = {}
        self._orphans: list[Request[Any]] = []

    @property
    def state(self) -> StateManager:
        return self._states

    @property
    def dead(self) -> DeadLetters:
        return self._letters

    # --- life

    async def __aenter__(self) -> Self:
        await self._database.open()
        try:
            return await super().__aenter__()
        except BaseException:
            await self._database.close()
            raise

    async def __aexit__(self, *exc: Any) -> None:
        try:
            await super().__aexit__(*exc)
        finally:
            await self._database.close()

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[None]:
        self._begin_life()
        self._orphans, self._work.fence = await self.ledger.load()
        self._locks = lambda _: self._lock_table
        for session_id in self.ledger.sessions:
            self.resources.register_session(session_id)
        self._adopt()
        try:
            yield
        finally:
            self._locks = None
            self._lock_table.end()
            self._work.end_all()

    async def _drain(self) -> None:
        with trio.move_on_after(self.config.shutdown_grace):
            await self._work.wait_until_done()
        self._work.end_all()
        await self._work.wait_until_done()
        await self.ledger.flush()

    def register(self, *processors: Processor[Any]) -> Self:
        super().register(*processors)
        self._adopt()
        return self

    async def sync_processors(self) -> None:
        self._require_started()
        await trio.lowlevel.checkpoint()

    def _adopt(self) -> None:
        """Go on with the work of the last life whose processors are here."""
        if self._nursery is None:
            return
        waiting, self._orphans = self._orphans, []
        for request in waiting:
            work = self._work.begin(request, is_old=True)
            if isinstance(work, Work):
                self._start(work)
            else:
                self._orphans.append(request)

    # --- work

    async def execute(
        self, processor: ProcessorRef[StateT], state: StateT, session_id: str | None = None
    ) -> ProcessorResult[StateT]:
        self._require_started()
        request = self._admission.admit(processor, state, session_id)
        handle = await self._submit(request, has_caller=True)
        try:
            return await handle.result()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await handle.cancel()
            raise

    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> Handle:
        self._require_started()
        request = self._admission.admit(
            processor, state, session_id, execution_id=execution_id, delay=delay, at=at
        )
        return await self._submit(request)

    async def _submit(self, request: Request[Any], *, has_caller: bool = False) -> Handle:
        await trio.lowlevel.checkpoint_if_cancelled()
        if request.is_chosen and (known := await self._known(request)) is not None:
            return known
        work = self._work.begin(request)
        if isinstance(work, AM2ZError):
            handle = Handle(request.execution_id)
            handle.resolve(refusal(request, work))
            await trio.lowlevel.cancel_shielded_checkpoint()
            return handle
        work.has_caller = has_caller
        handle = self._handles[request.execution_id] = Handle(request.execution_id, work)
        with trio.CancelScope(shield=True):
            await self.ledger.accept(work)
        self._start(work)
        return handle

    async def _known(self, request: Request[Any]) -> Handle | None:
        """The handle of an execution with the same chosen id."""
        if (handle := self._handles.get(request.execution_id)) is not None:
            assert handle.work is not None
            check_same_work(handle.work.request, request)
            return handle
        found = await self.ledger.find(request.execution_id)
        if (handle := self._handles.get(request.execution_id)) is not None:
            return handle  # somebody was faster
        if found is None:
            return None
        check_same_work(found[0], request)
        handle = Handle(request.execution_id)
        handle.resolve(found[1])
        return handle

    def _start(self, work: Work) -> None:
        request = work.request
        handle = self._handles.setdefault(request.execution_id, Handle(request.execution_id, work))

        async def run() -> None:
            try:
                handle.resolve(await self._work.run(work))
            except BaseException:
                error = work.verdict or runtime_stopped(request.name, stays=True)
                handle.resolve(refusal(request, error))
                raise
            finally:
                self._handles.pop(request.execution_id, None)

        assert self._nursery is not None
        self._nursery.start_soon(run, name=f"execution {request.execution_id}")

    async def _resubmit(self, letter: DeadLetter, execution_id: str) -> None:
        self._require_started()
        request = self._admission.admit(
            letter.processor_name, letter.state(), letter.session_id, execution_id=execution_id
        )
        handle = await self._submit(request)
        if handle.refused is not None:
            raise handle.refused

    # --- sessions and statistics

    async def stop_session(self, session_id: str) -> None:
        self._require_started()
        check_name(session_id, "session")
        live, was_active = await self.ledger.stop(session_id, self.limits.session_ttl)
        self._orphans = [r for r in self._orphans if r.session_id != session_id]
        for work in live:
            work.end_with(session_stopped(session_id))
        self.resources.unregister_session(session_id)
        if was_active:
            self._work.publish(EventType.SESSION_STOPPED, "", session_id, "", {})

    async def clean_session(self, session_id: str) -> None:
        self._require_started()
        check_name(session_id, "session")
        if session_id in self.ledger.sessions:
            await self.stop_session(session_id)
        await self.ledger.forget(session_id)

    async def active_sessions(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        self._require_started()
        return sorted(self.ledger.sessions)

    async def session_stats(self, session_id: str) -> dict[str, QueueStats]:
        await trio.lowlevel.checkpoint()
        self._require_started()
        check_name(session_id, "session")
        session = self.ledger.sessions.get(session_id)
        return self.ledger.stats(session_id, list(session.live) if session is not None else [])

    async def queue_stats(self) -> dict[str, QueueStats]:
        await trio.lowlevel.checkpoint()
        self._require_started()
        known = {name: QueueStats() for name in self._registry.names()}
        found = self.ledger.stats(EVERYWHERE, list(self._work.live.values()))
        return dict(sorted({**known, **found}.items()))

    async def stats(self) -> RuntimeStats:
        queues = (await self.queue_stats()).values()
        return RuntimeStats(
            registered_processors=len(self._registry),
            waiting=sum(queue.waiting for queue in queues),
            active=(active := sum(queue.active for queue in queues)),
            running=active,  # nobody else works on this file
            completed=sum(queue.completed for queue in queues),
            failed=sum(queue.failed for queue in queues),
            active_sessions=len(self.ledger.sessions),
            uptime=self._uptime,
        )

    async def _idle_sessions(self) -> list[str]:
        return self.ledger.idle(self.limits.session_ttl)

    # --- events

    def _publish_runtime_event(self, event: str, data: Mapping[str, Any]) -> Delivery:
        self._work.publish(event, "", "", "", copy_event(data))
        return Delivery(trio.lowlevel.checkpoint)
