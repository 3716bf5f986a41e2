"""Mutants that keep a state for somebody else, or for another time (STA)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from am2z.local.engine import Engine
from am2z.local.state import LocalStateManager
from am2z.queue.shard import Shard
from am2z.queue.state import RedisStateManager
from am2z.statestore import BaseStateManager
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


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
    right = Shard._say_goodbye

    async def say_goodbye(self: Shard) -> None:
        for session_id in await self.node.protocol.active_sessions():
            key = self.node.protocol.keys.state(session_id)
            await self.node.client.call("DEL", key, idempotent=True)
        await right(self)

    with patch(Shard, "_say_goodbye", say_goodbye):
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
