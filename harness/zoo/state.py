"""Mutants that lose commits, updates and versions of states (STA)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from am2z import executor, state
from am2z.codec import checksum, encode_state
from am2z.errors import StateConflictError
from am2z.executor import Outcome
from am2z.local.engine import Engine
from am2z.local.state import LocalStateManager
from am2z.state import AppState
from am2z.statestore import BaseStateManager
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


# --- what is committed


@mutant("commit-forgotten", rule="STA-001")
@contextmanager
def commit_forgotten() -> Iterator[None]:
    """A successful execution leaves the session's state as it was."""
    with patch(LocalStateManager, "commit", lambda *_: 1):
        yield


@mutant("commit-of-input", rule="STA-001")
@contextmanager
def commit_of_input() -> Iterator[None]:
    """A successful execution commits the state that it was given."""
    wrong = "request.session_id, request.state, request.data, checksum(request.data)"
    with edit(Engine, "_succeed", "request.session_id, state, data, checksum(data)", wrong):
        yield


@mutant("nested-call-commits", rule="STA-013")
@contextmanager
def nested_call_commits() -> Iterator[None]:
    """A nested call commits its result to the session, as if a caller had asked for it."""
    with edit(Engine, "_succeed", " and execution.depth == 0", ""):
        yield


@mutant("step-commits", rule="STA-013")
@contextmanager
def step_commits() -> Iterator[None]:
    """Each successful step of a composition commits its result to the session."""
    right = executor._run_in_place

    async def run_in_place(ctx: Any, step: Any, state: Any, label: str) -> Any:
        result = await right(ctx, step, state, label)
        if result.success:
            data = encode_state(result.state)
            ctx._host._store.commit(ctx.session_id, result.state, data, checksum(data))
        return result

    with patch(executor, "_run_in_place", run_in_place):
        yield


@mutant("failure-commits-partial", rule="STA-010")
@contextmanager
def failure_commits_partial() -> Iterator[None]:
    """A chain that fails part-way commits what its good steps made."""
    right = Engine._fail

    def fail(self: Engine, execution: Any, outcome: Outcome[Any], metadata: Any = None) -> Any:
        if outcome.partial is not None and execution.session is not None:
            data = encode_state(outcome.partial)
            session_id = execution.request.session_id
            self._store.commit(session_id, outcome.partial, data, checksum(data))
        return right(self, execution, outcome, metadata)

    with patch(Engine, "_fail", fail):
        yield


@mutant("failure-bumps-version", rule="STA-010")
@contextmanager
def failure_bumps_version() -> Iterator[None]:
    """A failed execution counts as a commit of the state that is there."""
    right = Engine._fail

    def fail(self: Engine, execution: Any, outcome: Outcome[Any], metadata: Any = None) -> Any:
        records, session_id = self._store._records, execution.request.session_id
        if session_id in records:
            record, expires = records[session_id]
            records[session_id] = (record._replace(version=record.version + 1), expires)
        return right(self, execution, outcome, metadata)

    with patch(Engine, "_fail", fail):
        yield


# --- versions


@mutant("version-reset-by-execution", rule="STA-003")
@contextmanager
def version_reset_by_execution() -> Iterator[None]:
    """Every execution commits its state as version 1."""
    with edit(LocalStateManager, "commit", "current.version + 1 if", "1 if"):
        yield


@mutant("version-jumps", rule="STA-013")
@contextmanager
def version_jumps() -> Iterator[None]:
    """Every execution after the first moves the version by two."""
    with edit(LocalStateManager, "commit", "current.version + 1 if", "current.version + 2 if"):
        yield


@mutant("version-not-advanced", rule="STA-014")
@contextmanager
def version_not_advanced() -> Iterator[None]:
    """A state keeps the version in its metadata that its processor gave it."""
    with patch(executor, "_advance", lambda _given, new: new):
        yield


@mutant("untouched-field-reset", rule="STA-003")
@contextmanager
def untouched_field_reset() -> Iterator[None]:
    """evolve() gives every field that it does not change its default."""
    right = "return msgspec.structs.replace(self, metadata=metadata, **changes)"
    with edit(state.AppState, "evolve", right, "return type(self)(metadata=metadata, **changes)"):
        yield


# --- compare and set


@mutant("expected-version-ignored", rule="STA-002")
@contextmanager
def expected_version_ignored() -> Iterator[None]:
    """set() writes whatever version its caller expected."""
    right = BaseStateManager._set

    async def set_(self: Any, session_id: str, new: Any, ttl: Any, _: Any, **kw: Any) -> Any:
        return await right(self, session_id, new, ttl, None, **kw)

    with patch(BaseStateManager, "_set", set_):
        yield


@mutant("conflict-writes-anyway", rule="STA-002")
@contextmanager
def conflict_writes_anyway() -> Iterator[None]:
    """A write that expects another version raises its error, after it has written."""
    compared = "if expected is not None and expected != version:"
    record = "StateRecord(version + 1, name, data, digest)"
    writing = f"{compared}\n        self._put(session_id, {record}, ttl)"
    with edit(LocalStateManager, "write", compared, writing):
        yield


@mutant("get-then-set", rule="STA-017")
@contextmanager
def get_then_set() -> Iterator[None]:
    """Between the comparison of versions and the write others have their turn."""
    writing = "record = StateRecord("
    waiting = f"await trio.lowlevel.checkpoint()\n    {writing}"
    with edit(LocalStateManager, "write", writing, waiting):
        yield


@mutant("update-without-compare", rule="STA-004")
@contextmanager
def update_without_compare() -> Iterator[None]:
    """update() writes whatever happened since it read."""
    right = "current.version,\n                seen=current.checksum,"
    with edit(BaseStateManager, "update", right, "None,"):
        yield


@mutant("update-compares-only-versions", rule="STA-029")
@contextmanager
def update_compares_only_versions() -> Iterator[None]:
    """update() writes over a state that it never read, if only that has the same version."""
    with edit(BaseStateManager, "update", "seen=current.checksum,", ""):
        yield


@mutant("lost-update", rule="STA-004")
@contextmanager
def lost_update() -> Iterator[None]:
    """An update() that meets another writer answers as if it had written."""
    right = "await trio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret"
    with edit(BaseStateManager, "update", right, "return new"):
        yield


@mutant("update-gives-up-by-writing", rule="STA-016")
@contextmanager
def update_gives_up_by_writing() -> Iterator[None]:
    """An update() that lost every time writes at last without comparing."""
    right = BaseStateManager.update

    async def update(self: BaseStateManager, session_id: str, fn: Any) -> Any:
        last: Any = None

        async def noted(current: Any) -> Any:
            nonlocal last
            answer = fn(current)
            last = await answer if hasattr(answer, "__await__") else answer
            return last

        try:
            return await right(self, session_id, noted)
        except StateConflictError:
            await self.set(session_id, last)
            return last

    with patch(BaseStateManager, "update", update):
        yield


@mutant("update-creates-state", rule="STA-015")
@contextmanager
def update_creates_state() -> Iterator[None]:
    """update() of a session without a state begins with an empty one."""
    right = BaseStateManager.update

    async def update(self: BaseStateManager, session_id: str, fn: Any) -> Any:
        if not await self.exists(session_id):
            await self.set(session_id, AppState())
        return await right(self, session_id, fn)

    with patch(BaseStateManager, "update", update):
        yield


@mutant("update-answers-old-state", rule="STA-021")
@contextmanager
def update_answers_old_state() -> Iterator[None]:
    """update() answers the state that it read."""
    with edit(BaseStateManager, "update", "return new", "return current.state"):
        yield


@mutant("update-never-awaits", rule="STA-021")
@contextmanager
def update_never_awaits() -> Iterator[None]:
    """update() calls an async function and goes on without its answer."""
    right = "new = await answer if inspect.isawaitable(answer) else answer"
    wrong = "new = (answer.close(), current.state)[1] if inspect.isawaitable(answer) else answer"
    with edit(BaseStateManager, "update", right, wrong):
        yield
