"""Sessions that are not stopped or cleaned as they should (SES-006, SES-010 …)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

import am2z.admission
import am2z.local.engine
from am2z.codec import checksum, encode_state
from am2z.context import Context
from am2z.errors import SessionStoppedError
from am2z.executor import Outcome
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.handle import LocalHandle
from am2z.local.sessions import Session, SessionTable
from am2z.local.state import LocalStateManager
from am2z.result import ProcessorResult
from am2z.runtime import RuntimeMixin
from harness.zoo.mutant import mutant, patch

Stopped = tuple[list[Execution], bool]


@mutant("stop-keeps-session-listed", rule="SES-010")
@contextmanager
def stop_keeps_session_listed() -> Iterator[None]:
    """A stopped session stays in the list of the active ones."""
    stop = SessionTable.stop

    def keep(self: SessionTable, session_id: str) -> Stopped:
        session = self._sessions.get(session_id)
        answer = stop(self, session_id)
        if session is not None:
            self._sessions[session_id] = session
        return answer

    with patch(SessionTable, "stop", keep):
        yield


@mutant("session-revived-by-refused-work", rule="SES-010")
@contextmanager
def session_revived_by_refused_work() -> Iterator[None]:
    """Work that is refused because its session was stopped brings the session into the list."""
    is_stopped = SessionTable.is_stopped

    def revive(self: SessionTable, session_id: str) -> bool:
        if is_stopped(self, session_id):
            self._sessions.setdefault(session_id, Session(trio.current_time()))
            return True
        return False

    with patch(SessionTable, "is_stopped", revive):
        yield


@mutant("second-waiter-forgotten", rule="SES-011")
@contextmanager
def second_waiter_forgotten() -> Iterator[None]:
    """Of two who wait for one execution of a stopped session the first is answered."""
    result = LocalHandle.result
    answered: set[str] = set()

    async def once(self: LocalHandle[Any]) -> ProcessorResult[Any]:
        found = await result(self)
        if isinstance(found.error, SessionStoppedError):
            if self.execution_id in answered:
                await trio.sleep_forever()
            answered.add(self.execution_id)
        return found

    with patch(LocalHandle, "result", once):
        yield


@contextmanager
def _stop_forgets(phase: str) -> Iterator[None]:
    stop = SessionTable.stop

    def forget(self: SessionTable, session_id: str) -> Stopped:
        live, is_new = stop(self, session_id)
        return [execution for execution in live if execution.phase != phase], is_new

    with patch(SessionTable, "stop", forget):
        yield


@mutant("stop-forgets-waiting-work", rule="SES-011")
@contextmanager
def stop_forgets_waiting_work() -> Iterator[None]:
    """``stop_session`` does not know of work that waits for a slot."""
    with _stop_forgets("waiting"):
        yield


@mutant("stop-forgets-running-work", rule="SES-011")
@contextmanager
def stop_forgets_running_work() -> Iterator[None]:
    """``stop_session`` does not know of work that runs."""
    with _stop_forgets("active"):
        yield


@mutant("stopped-session-accepts-work", rule="SES-012")
@contextmanager
def stopped_session_accepts_work() -> Iterator[None]:
    """A session without live work is not marked as stopped."""
    stop = SessionTable.stop

    def forget_mark(self: SessionTable, session_id: str) -> Stopped:
        live, is_new = stop(self, session_id)
        if not live:
            self.clean(session_id)
        return live, is_new

    with patch(SessionTable, "stop", forget_mark):
        yield


@mutant("stop-hits-other-sessions", rule="SES-013")
@contextmanager
def stop_hits_other_sessions() -> Iterator[None]:
    """``stop_session`` ends the work of every session."""
    stop = SessionTable.stop

    def hit(self: SessionTable, session_id: str) -> Stopped:
        everything = [e for session in self._sessions.values() for e in session.live]
        return everything, stop(self, session_id)[1]

    with patch(SessionTable, "stop", hit):
        yield


@mutant("stopped-session-still-commits", rule="SES-014")
@contextmanager
def stopped_session_still_commits() -> Iterator[None]:
    """What ends after the stop of its session commits all the same."""
    attempt = am2z.local.engine.attempt

    async def commit(processor: Any, state: Any, ctx: Context) -> Outcome[Any]:
        outcome = await attempt(processor, state, ctx)
        engine = ctx._host
        assert isinstance(engine, Engine)
        execution = engine.executions[ctx.execution_id]
        if execution.verdict is not None and execution.session and outcome.state is not None:
            data = encode_state(outcome.state)
            engine._store.commit(ctx.session_id, outcome.state, data, checksum(data))
        return outcome

    with patch(am2z.local.engine, "attempt", commit):
        yield


@mutant("stop-forgets-delayed-work", rule="SES-018")
@contextmanager
def stop_forgets_delayed_work() -> Iterator[None]:
    """``stop_session`` does not know of work that waits for its next attempt."""
    with _stop_forgets("delayed"):
        yield


# --- cleaning


@mutant("clean-keeps-state", rule="SES-006")
@contextmanager
def clean_keeps_state() -> Iterator[None]:
    """``clean_session`` leaves the committed state where it is."""
    with patch(LocalStateManager, "forget", lambda self, session_id: None):
        yield


@mutant("clean-hits-others", rule="SES-006")
@contextmanager
def clean_hits_others() -> Iterator[None]:
    """``clean_session`` forgets the states of all sessions."""
    with patch(LocalStateManager, "forget", lambda self, session_id: self._records.clear()):
        yield


@mutant("session-leak", rule="SES-006")
@contextmanager
def session_leak() -> Iterator[None]:
    """A cleaned session stays in the list."""
    clean = SessionTable.clean

    def keep(self: SessionTable, session_id: str) -> None:
        clean(self, session_id)
        self.open(session_id)

    with patch(SessionTable, "clean", keep):
        yield


@mutant("clean-all-only-stops", rule="SES-017")
@contextmanager
def clean_all_only_stops() -> Iterator[None]:
    """``clean_all_sessions`` stops each session, and forgets nothing of it."""

    async def stop(self: RuntimeMixin) -> None:
        for session_id in await self.active_sessions():
            await self.stop_session(session_id)

    with patch(RuntimeMixin, "clean_all_sessions", stop):
        yield


@mutant("clean-all-leaves-one", rule="SES-017")
@contextmanager
def clean_all_leaves_one() -> Iterator[None]:
    """``clean_all_sessions`` cleans all sessions but the last."""

    async def leave_one(self: RuntimeMixin) -> None:
        for session_id in (await self.active_sessions())[:-1]:
            await self.clean_session(session_id)

    with patch(RuntimeMixin, "clean_all_sessions", leave_one):
        yield
