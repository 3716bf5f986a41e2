"""Mutants that lose, mix up or share states (STA)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import msgspec

from am2z import codec, executor, state, statestore
from am2z.codec import checksum, encode_state
from am2z.errors import StateConflictError
from am2z.executor import Outcome
from am2z.local.engine import Engine
from am2z.local.state import LocalStateManager
from am2z.queue.runtime import QueueRuntime
from am2z.queue.state import RedisStateManager
from am2z.state import AppState, StateT
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
    raising = "raise conflict(session_id, expected, version)"
    record = "StateRecord(version + 1, name, data, digest)"
    writing = f"self._put(session_id, {record}, ttl)\n        {raising}"
    with edit(LocalStateManager, "write", raising, writing):
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
    with edit(BaseStateManager, "update", "self._ttl, current.version,", "self._ttl, None,"):
        yield


@mutant("lost-update", rule="STA-004")
@contextmanager
def lost_update() -> Iterator[None]:
    """An update() that meets another writer answers as if it had written."""
    right = "await trio.sleep(random.uniform(0, 0.001 * min(2**round_, 32)))  # noqa: S311"
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


# --- the way to bytes and back


def _converted(kind: type[Any], change: Callable[[Any], Any]) -> Any:
    """The result of an execution has fields of one kind changed."""
    right = executor.decode_state

    def decode(cls: type[StateT], data: bytes) -> StateT:
        new = right(cls, data)
        fields = {name: getattr(new, name) for name in new.__struct_fields__}
        changed = {n: change(value) for n, value in fields.items() if type(value) is kind}
        return msgspec.structs.replace(new, **changed)

    return patch(executor, "decode_state", decode)


@mutant("tuple-becomes-list", rule="STA-005")
@contextmanager
def tuple_becomes_list() -> Iterator[None]:
    """A tuple in a result comes back as a list."""
    with _converted(tuple, list):
        yield


@mutant("float-through-text", rule="STA-005")
@contextmanager
def float_through_text() -> Iterator[None]:
    """A float in a result has passed through a text of six decimals."""
    with _converted(float, lambda value: float(f"{value:.6f}")):
        yield


@mutant("microseconds-cut", rule="STA-005")
@contextmanager
def microseconds_cut() -> Iterator[None]:
    """A moment in a result has whole seconds only."""
    with _converted(datetime, lambda value: value.replace(microsecond=0)):
        yield


@mutant("checksum-constant", rule="STA-006")
@contextmanager
def checksum_constant() -> Iterator[None]:
    """Every state has the checksum of nothing."""
    with patch(codec, "hashlib", SimpleNamespace(sha256=lambda _data: hashlib.sha256())):
        yield


@mutant("checksum-not-hex", rule="STA-006")
@contextmanager
def checksum_not_hex() -> Iterator[None]:
    """A checksum is told in base 64."""

    def sha256(data: bytes) -> Any:
        text = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return SimpleNamespace(hexdigest=lambda: text)

    with patch(codec, "hashlib", SimpleNamespace(sha256=sha256)):
        yield


@mutant("checksum-of-unordered-bytes", rule="STA-006")
@contextmanager
def checksum_of_unordered_bytes() -> Iterator[None]:
    """Sets and mappings are encoded in the order in which they happen to be."""
    with patch(codec, "_encoder", msgspec.msgpack.Encoder()):
        yield


@mutant("bad-state-accepted", rule="STA-018")
@contextmanager
def bad_state_accepted() -> Iterator[None]:
    """What cannot cross the wire crosses it as its text."""
    forgiving = msgspec.msgpack.Encoder(order="deterministic", enc_hook=repr)
    with patch(codec, "_encoder", forgiving):
        yield


@mutant("bad-state-without-path", rule="STA-018")
@contextmanager
def bad_state_without_path() -> Iterator[None]:
    """A state that cannot cross is refused without saying which part of it."""
    with patch(codec, "_find_culprit", lambda _value, error: ("state", str(error))):
        yield


@mutant("bad-result-passes-locally", rule="STA-019")
@contextmanager
def bad_result_passes_locally() -> Iterator[None]:
    """A result that cannot cross is a success, as no wire is in its way."""
    right = Outcome.seal

    def seal(self: Outcome[Any], limit: int | None = None) -> bytes | None:
        made, error = self.state, self.error
        data = right(self, limit)
        if data is None and made is not None:
            self.state, self.error = made, error
            return encode_state(AppState())
        return data

    with patch(Outcome, "seal", seal):
        yield


@mutant("bad-result-raises", rule="STA-019")
@contextmanager
def bad_result_raises() -> Iterator[None]:
    """A result that cannot cross raises where it is encoded, in nobody's hands."""
    with edit(Outcome, "seal", "self.state, self.error = None, error", "raise"):
        yield


# --- by value


@mutant("nested-call-shares-state", rule="STA-011")
@contextmanager
def nested_call_shares_state() -> Iterator[None]:
    """A nested call works on its caller's own object."""
    wrong = "processor, request.state if is_child else request.given(), ctx"
    with edit(Engine, "_attempts", "processor, request.given(), ctx", wrong):
        yield


@mutant("store-hands-out-its-own", rule="STA-011")
@contextmanager
def store_hands_out_its_own() -> Iterator[None]:
    """Every reader of a committed state gets the same object."""
    right, kept = statestore._verified, dict[tuple[int, Any], Any]()

    def verified(session_id: str, record: Any, cls: Any) -> Any:
        key = (id(record), cls)
        if key not in kept:
            kept[key] = (record, right(session_id, record, cls))
        return kept[key][1]

    with patch(statestore, "_verified", verified):
        yield


# --- which state is whose, and for how long


@mutant("state-per-processor", rule="STA-008")
@contextmanager
def state_per_processor() -> Iterator[None]:
    """Each processor of a session has a committed state of its own."""
    wrong = 'self._store.commit(f"{request.session_id}/{request.name}",'
    with edit(Engine, "_succeed", "self._store.commit(request.session_id,", wrong):
        yield


def _cached(store: type[BaseStateManager]) -> Any:
    """A store that answers a session's first state for ever."""
    right = store.read

    async def read(self: Any, session_id: str) -> Any:
        seen = vars(self).setdefault("_seen", {})
        if session_id not in seen and (record := await right(self, session_id)) is not None:
            seen[session_id] = record
        return seen.get(session_id)

    return patch(store, "read", read)


@mutant("stale-read", rule="STA-008")
@contextmanager
def stale_read() -> Iterator[None]:
    """A state that was read once is answered from memory from then on."""
    with _cached(LocalStateManager):
        yield


@mutant("state-cached-in-process", rule="STA-024", base="queue")
@contextmanager
def state_cached_in_process() -> Iterator[None]:
    """Each runtime remembers the states that it has read, and asks Redis no more."""
    with _cached(RedisStateManager):
        yield


@mutant("stop-wipes-states", rule="STA-023", base="queue")
@contextmanager
def stop_wipes_states() -> Iterator[None]:
    """A runtime that stops removes the states of the sessions that are there."""
    right = QueueRuntime._say_goodbye

    async def say_goodbye(self: QueueRuntime, parts: Any) -> None:
        for session_id in await parts.node.protocol.active_sessions():
            await self.state.delete(session_id)
        await right(self, parts)

    with patch(QueueRuntime, "_say_goodbye", say_goodbye):
        yield


@mutant("delete-hits-others", rule="STA-009")
@contextmanager
def delete_hits_others() -> Iterator[None]:
    """delete() removes the states of all sessions."""
    right = "self._records.pop(session_id, None)"
    with edit(LocalStateManager, "delete", right, "self._records.clear()"):
        yield


@mutant("delete-keeps-version", rule="STA-020")
@contextmanager
def delete_keeps_version() -> Iterator[None]:
    """A deleted state's version is still told."""
    right, delete_state = BaseStateManager.version, LocalStateManager.delete
    last: dict[str, int] = {}

    async def delete(self: LocalStateManager, session_id: str) -> None:
        last[session_id] = await right(self, session_id)
        await delete_state(self, session_id)

    async def version(self: BaseStateManager, session_id: str) -> int:
        return await right(self, session_id) or last.get(session_id, 0)

    with patch(LocalStateManager, "delete", delete), patch(BaseStateManager, "version", version):
        yield


@mutant("delete-absent-raises", rule="STA-020")
@contextmanager
def delete_absent_raises() -> Iterator[None]:
    """delete() of an absent state raises KeyError."""
    with edit(LocalStateManager, "delete", ".pop(session_id, None)", ".pop(session_id)"):
        yield


@mutant("get-absent-raises", rule="STA-020")
@contextmanager
def get_absent_raises() -> Iterator[None]:
    """get() of an absent state raises StateNotFoundError."""
    right = "record = await self.read(session_id)"
    wrong = f"{right}\n    if record is None:\n        raise StateNotFoundError(session_id)"
    with edit(BaseStateManager, "get", right, wrong):
        yield


@mutant("ttl-ignored", rule="STA-007")
@contextmanager
def ttl_ignored() -> Iterator[None]:
    """A state that was set with a TTL stays for ever."""
    right = "self._ttl if ttl is None else ttl"
    with edit(BaseStateManager, "set", right, "self._ttl"):
        yield


@mutant("ttl-in-milliseconds", rule="STA-007")
@contextmanager
def ttl_in_milliseconds() -> Iterator[None]:
    """A TTL is taken for milliseconds, and so ends a thousand times too early."""
    with edit(LocalStateManager, "_put", "current_time() + ttl", "current_time() + ttl / 1000"):
        yield


@mutant("ttl-for-all", rule="STA-007")
@contextmanager
def ttl_for_all() -> Iterator[None]:
    """A TTL that is given to one state ends all that are there."""
    right = LocalStateManager._put

    def put(self: LocalStateManager, session_id: str, record: Any, ttl: float | None) -> None:
        right(self, session_id, record, ttl)
        if ttl is not None:
            end = self._records[session_id][1]
            self._records.update({key: (kept, end) for key, (kept, _) in self._records.items()})

    with patch(LocalStateManager, "_put", put):
        yield


@mutant("state-ttl-ignored", rule="STA-022")
@contextmanager
def state_ttl_ignored() -> Iterator[None]:
    """What executions commit stays for ever, whatever RuntimeConfig.state_ttl says."""
    with edit(LocalStateManager, "commit", "digest), self._ttl)", "digest), None)"):
        yield


@mutant("ttl-not-renewed", rule="STA-022")
@contextmanager
def ttl_not_renewed() -> Iterator[None]:
    """A commit leaves the end of its session's state where it was."""
    right = LocalStateManager.commit

    def commit(self: LocalStateManager, session_id: str, *args: Any) -> int:
        before = self._records.get(session_id)
        version = right(self, session_id, *args)
        if before is not None:
            self._records[session_id] = (self._records[session_id][0], before[1])
        return version

    with patch(LocalStateManager, "commit", commit):
        yield


@mutant("update-drops-ttl", rule="STA-025")
@contextmanager
def update_drops_ttl() -> Iterator[None]:
    """update() makes a state with a TTL one that stays for ever."""
    with edit(BaseStateManager, "update", "keeps_ttl=self._ttl is None", "keeps_ttl=False"):
        yield


@mutant("set-leaves-session-empty", rule="STA-025")
@contextmanager
def set_leaves_session_empty() -> Iterator[None]:
    """A state that is set does not say to which session it belongs."""
    right = "encode_state(in_session(state, session_id)"
    with edit(BaseStateManager, "_set", right, "encode_state(state"):
        yield
