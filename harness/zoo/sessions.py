"""Sessions that leak into each other, or never were (SES)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import trio

import am2z.admission
import am2z.local.engine
from am2z.admission import Admission, Request
from am2z.codec import checksum
from am2z.context import Context
from am2z.errors import AM2ZError
from am2z.events import EventType
from am2z.executor import Outcome
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.runtime import LocalRuntime
from am2z.local.sessions import SessionTable
from am2z.local.state import LocalStateManager
from am2z.result import ProcessorResult
from am2z.stats import QueueStats
from harness.zoo.mutant import mutant, patch


@mutant("session-id-lost", rule="SES-001")
@contextmanager
def session_id_lost() -> Iterator[None]:
    """A processor's context has the execution's id in the place of the session's."""
    make = Engine._context

    def lose(self: Engine, execution: Execution) -> Context:
        ctx = make(self, execution)
        ctx.metadata = msgspec.structs.replace(ctx.metadata, session_id=ctx.execution_id)
        return ctx

    with patch(Engine, "_context", lose):
        yield


@contextmanager
def _state_kept_under(key: Any) -> Iterator[None]:
    """Committed states are kept under what ``key`` makes of a session's id."""
    peek, put = LocalStateManager._peek, LocalStateManager._put

    def peek_there(self: LocalStateManager, session_id: str) -> Any:
        return peek(self, key(session_id))

    def put_there(self: LocalStateManager, session_id: str, *rest: Any) -> None:
        put(self, key(session_id), *rest)

    with (
        patch(LocalStateManager, "_peek", peek_there),
        patch(LocalStateManager, "_put", put_there),
    ):
        yield


@mutant("sessions-share-state", rule="SES-002")
@contextmanager
def sessions_share_state() -> Iterator[None]:
    """There is one committed state for all sessions."""
    with _state_kept_under(lambda _: "state"):
        yield


@mutant("session-id-folded", rule="SES-002")
@contextmanager
def session_id_folded() -> Iterator[None]:
    """Sessions whose ids differ in capitals only have one state."""
    with _state_kept_under(str.casefold):
        yield


@mutant("session-listed-late", rule="SES-003")
@contextmanager
def session_listed_late() -> Iterator[None]:
    """A session is active from the end of its first execution on."""

    def names(self: SessionTable) -> list[str]:
        return sorted(name for name, s in self._sessions.items() if s.completed or s.failed)

    with patch(SessionTable, "names", names):
        yield


@mutant("session-per-processor", rule="SES-004")
@contextmanager
def session_per_processor() -> Iterator[None]:
    """A session's record is that of the processor which used it first."""
    stats = SessionTable.stats

    def of_the_first(self: SessionTable, session_id: str) -> dict[str, QueueStats]:
        return dict(list(stats(self, session_id).items())[:1])

    with patch(SessionTable, "stats", of_the_first):
        yield


@mutant("session-stats-global", rule="SES-005")
@contextmanager
def session_stats_global() -> Iterator[None]:
    """The statistics of a session are those of the whole runtime."""

    async def of_all(self: LocalRuntime, session_id: str) -> dict[str, QueueStats]:
        return await self.queue_stats()

    with patch(LocalRuntime, "session_stats", of_all):
        yield


@mutant("session-stats-forget-failures", rule="SES-005")
@contextmanager
def session_stats_forget_failures() -> Iterator[None]:
    """A session's statistics do not count what failed in it."""
    fail = Engine._fail

    def forget(self: Engine, execution: Execution, *rest: Any) -> ProcessorResult[Any]:
        result = fail(self, execution, *rest)
        if execution.session is not None:
            execution.session.failed.clear()
        return result

    with patch(Engine, "_fail", forget):
        yield


@mutant("sessions-run-one-by-one", rule="SES-007")
@contextmanager
def sessions_run_one_by_one() -> Iterator[None]:
    """While a session works, the others wait."""
    run = Engine.run
    turn = trio.Lock()

    async def in_turn(self: Engine, execution: Execution) -> ProcessorResult[Any]:
        if execution.session is None or execution.depth > 0:
            return await run(self, execution)
        async with turn:
            return await run(self, execution)

    with patch(Engine, "run", in_turn):
        yield


@mutant("commit-in-latest-session", rule="SES-007")
@contextmanager
def commit_in_latest_session() -> Iterator[None]:
    """The session to commit to is kept in one place, for the execution that began last."""
    make, commit = Engine._context, LocalStateManager.commit
    latest = ""

    def note(self: Engine, execution: Execution) -> Context:
        nonlocal latest
        latest = execution.request.session_id
        return make(self, execution)

    def commit_there(self: LocalStateManager, session_id: str, *rest: Any) -> int:
        return commit(self, latest, *rest)

    with patch(Engine, "_context", note), patch(LocalStateManager, "commit", commit_there):
        yield


@mutant("failure-ends-session", rule="SES-008")
@contextmanager
def failure_ends_session() -> Iterator[None]:
    """A failed execution stops its session."""
    fail = Engine._fail

    def stop(self: Engine, execution: Execution, *rest: Any) -> ProcessorResult[Any]:
        result = fail(self, execution, *rest)
        if execution.session is not None:
            self._sessions.stop(execution.request.session_id)
        return result

    with patch(Engine, "_fail", stop):
        yield


@mutant("nested-call-leaves-session", rule="SES-009")
@contextmanager
def nested_call_leaves_session() -> Iterator[None]:
    """A nested call opens a session of its own below that of its caller."""
    admit = Admission.admit_child

    def leave(self: Admission, *args: Any, **options: Any) -> Request[Any]:
        request = admit(self, *args, **options)
        request.session_id += "/child"
        return request

    with patch(Admission, "admit_child", leave):
        yield


@contextmanager
def _begun_without_a_session(then: Any) -> Iterator[None]:
    """``then(engine, request)`` happens to each execution that has no session."""
    begin = Engine.begin

    def treat(self: Engine, request: Request[Any], **options: Any) -> Execution | AM2ZError:
        begun = begin(self, request, **options)
        if not request.is_named:
            then(self, request)
        return begun

    with patch(Engine, "begin", treat):
        yield


@mutant("anonymous-session-listed", rule="SES-015")
@contextmanager
def anonymous_session_listed() -> Iterator[None]:
    """An execution without a session id is listed as a session."""
    with _begun_without_a_session(lambda e, request: e._sessions.open(request.session_id)):
        yield


@mutant("anonymous-session-events", rule="SES-015")
@contextmanager
def anonymous_session_events() -> Iterator[None]:
    """An execution without a session id is told as the creation of one."""

    def publish(engine: Engine, request: Request[Any]) -> None:
        engine.publish(EventType.SESSION_CREATED, "", request.session_id, "", {})

    with _begun_without_a_session(publish):
        yield


@mutant("anonymous-session-keeps-state", rule="SES-015")
@contextmanager
def anonymous_session_keeps_state() -> Iterator[None]:
    """An execution without a session id leaves its state under its own id."""
    succeed = Engine._succeed

    def keep(
        self: Engine, execution: Execution, outcome: Outcome[Any], data: bytes, *rest: Any
    ) -> ProcessorResult[Any]:
        if execution.session is None and execution.depth == 0:
            assert outcome.state is not None
            name = execution.request.session_id
            self._store.commit(name, outcome.state, data, checksum(data))
        return succeed(self, execution, outcome, data, *rest)

    with patch(Engine, "_succeed", keep):
        yield


@mutant("sessions-unsorted", rule="SES-016")
@contextmanager
def sessions_unsorted() -> Iterator[None]:
    """Active sessions are listed in the order in which they came."""
    with patch(SessionTable, "names", lambda self: list(self._sessions)):
        yield


@mutant("illegal-session-id-accepted", rule="SES-019")
@contextmanager
def illegal_session_id_accepted() -> Iterator[None]:
    """Any text will do as the id of a session."""
    check = am2z.admission.check_name

    def accept(name: Any, kind: str) -> str:
        return str(name) if kind == "session" else check(name, kind)

    with patch(am2z.admission, "check_name", accept):
        yield
