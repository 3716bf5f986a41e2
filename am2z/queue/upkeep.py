"""The part of the protocol that is not about one execution: sessions, counters, presence, locks."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from am2z.queue.client.script import Script
from am2z.queue.keys import Keys, encode
from am2z.queue.library import ScriptLibrary, library
from am2z.queue.wire import (
    Counts,
    Why,
    as_bytes,
    as_enum,
    as_int,
    as_list,
    as_name,
    as_session,
    readable,
)

__all__ = ["Buried", "Reclaimed", "ScriptRunner", "StateWrite", "Upkeep"]

Arg = str | bytes | int


class ScriptRunner(typing.Protocol):
    """What the protocol needs of a client: run a script, answer what Redis answered, as bytes."""

    async def run_script(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg], *, idempotent: bool = False
    ) -> Any:
        """Run ``script``; only an idempotent one may be sent again when its reply was lost."""

    async def block_then_run(
        self,
        *args: bytes | str | float,
        timeout: float,
        script: Script,
        keys: Sequence[Any] = (),
        script_args: Sequence[Any] = (),
    ) -> tuple[Any, Any]:
        """Run a command that blocks, and ``script`` in the moment in which it ends."""


class Reclaimed(NamedTuple):
    """How many executions a reclaim put back, and how many it ended as poison."""

    requeued: int
    poisoned: int


class StateWrite(NamedTuple):
    """The state of a session as it is stored.

    ``ttl`` in seconds: None keeps the time to live that the state has, 0 removes it.
    """

    data: bytes
    checksum: str
    type: str
    ttl: float | None = None

    def args(self) -> tuple[Arg, ...]:
        """The arguments that the scripts take for it."""
        return self.data, self.checksum, self.type, -1 if self.ttl is None else ms(self.ttl)


class Buried(NamedTuple):
    """A dead letter as it is kept. ``body`` is empty where no worker told one: ``why`` says why."""

    id: str
    failed_at: float
    processor: str
    session_id: str | None
    payload: bytes
    body: bytes
    why: Why = Why.POISON


def ms(seconds: float) -> int:
    """Milliseconds, never less than asked for: a millisecond more is late, one less is wrong.

    Raises ``ValueError`` for what is negative or not finite.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a time is a finite number of seconds from 0 on, not {seconds!r}")
    return math.ceil(round(seconds * 1000, 3))


class Upkeep:
    """Base of ``Protocol``: the scripts about sessions, counters, presence and locks."""

    def __init__(
        self,
        client: ScriptRunner,
        keys: Keys,
        *,
        result_ttl: float = 600.0,
        session_ttl: float | None = None,
        scripts: ScriptLibrary | None = None,
    ) -> None:
        self.keys = keys
        self._client = client
        self._scripts = library() if scripts is None else scripts
        self._prefix = (keys.prefix,)
        self._result_ttl = max(1, ms(result_ttl))
        self._session_ttl = 0 if session_ttl is None else max(1, ms(session_ttl))

    async def _run(self, name: str, *args: Arg, idempotent: bool = False) -> Any:
        return await self._client.run_script(
            self._scripts[name], self._prefix, args, idempotent=idempotent
        )

    # -- what keeps work moving; every runtime calls these now and then

    async def reclaim(self, limit: int = 100) -> Reclaimed:
        """Take back at most ``limit`` executions whose leases ran out."""
        reply = as_list(
            await self._run("reclaim", limit, self._result_ttl, idempotent=True), at_least=2
        )
        return Reclaimed(as_int(reply[0]), as_int(reply[1]))

    async def promote(self, limit: int = 100) -> tuple[int, float | None]:
        """Make delayed executions wait that are due: how many, and seconds until the next is."""
        reply = as_list(await self._run("promote", limit, idempotent=True), at_least=2)
        return as_int(reply[0]), seconds(reply[1])

    async def presence(self, runtime_id: str, processors: Iterable[str], ttl: float) -> None:
        """Say that a runtime is there for the next ``ttl`` seconds, and what it serves."""
        served = map(encode, processors)
        await self._run("presence", encode(runtime_id), ms(ttl), *served, idempotent=True)

    async def layout(self, shards: int) -> int:
        """Into how many shards the namespace is divided; ``shards`` if nobody has said it yet."""
        return as_int(await self._run("layout", shards, idempotent=True))

    async def leave(self, runtime_id: str, processors: Iterable[str] = ()) -> None:
        """Stop serving ``processors``; with none given: all of them, and drop the inbox."""
        served = map(encode, processors)
        await self._run("leave", encode(runtime_id), *served, idempotent=True)

    # -- sessions

    async def stop_session(self, session_id: str, limit: int = 500) -> tuple[int, bool]:
        """Stop a session and finish at most ``limit`` executions: how many, and if more are left.

        Call it again while more are left.
        """
        reply = as_list(
            await self._run(
                "stop_session",
                encode(session_id),
                max(1, limit),
                self._result_ttl,
                self._session_ttl,
                idempotent=True,
            ),
            at_least=2,
        )
        return as_int(reply[0]), as_int(reply[1]) == 1

    async def forget_session(self, session_id: str) -> bool:
        """Remove a session and its state. False if it has live executions: stop it first."""
        reply = await self._run("forget_session", encode(session_id), idempotent=True)
        return as_int(reply) == 1

    async def expired_sessions(self, idle: float, limit: int = 100) -> list[str]:
        """Sessions without live work in which nothing happened for ``idle`` seconds."""
        reply = await self._run("expired_sessions", ms(idle), limit, idempotent=True)
        return readable(as_list(reply), as_name)

    async def active_sessions(self) -> list[str]:
        """The sessions that exist and are not stopped, sorted."""
        reply = await self._run("active_sessions", idempotent=True)
        return sorted(readable(as_list(reply), as_name))

    async def stats(self, session_id: str | None = None) -> dict[str, Counts]:
        """Counts for each processor, of the whole namespace or of one session."""
        args = () if session_id is None else (encode(session_id),)
        reply = as_list(await self._run("stats", *args, idempotent=True), multiple_of=6)
        rows = (reply[i : i + 6] for i in range(0, len(reply), 6))
        return dict(readable(rows, _counts))

    async def dead(self, execution_id: str | None = None) -> list[Buried]:
        """The dead letters, newest first, or only one of them."""
        args = () if execution_id is None else (encode(execution_id),)
        reply = as_list(await self._run("dead_list", *args, idempotent=True))
        return readable(reply, _buried)

    async def dead_drop(self, execution_id: str) -> bool:
        """Forget a dead letter; whether there was one."""
        reply = await self._run("dead_drop", encode(execution_id), idempotent=True)
        return as_int(reply) == 1

    async def state_set(
        self,
        session_id: str,
        state: StateWrite,
        *,
        expected: int | None = None,
        seen: str | None = None,
    ) -> tuple[bool, int]:
        """Write a state if the stored version is ``expected`` (0: there is none; None: any).

        ``seen`` is the checksum that must be stored (None: any): versions begin at 1 again when a
        state was deleted. Answers whether it was written, and the version that is stored now.
        """
        wanted = "" if expected is None else expected
        reply = as_list(
            await self._run("state_set", encode(session_id), *state.args(), wanted, seen or ""),
            at_least=2,
        )
        return as_int(reply[0]) == 1, as_int(reply[1])

    # -- locks; an owner is a fresh name for each acquisition

    async def lock_acquire(
        self, name: str, owner: str, ttl: float, *, runtime_id: str = "", wait: float = 0.0
    ) -> tuple[bool, float]:
        """Take a lock: ``(True, fence)``, or ``(False, seconds until it expires)``.

        ``wait`` keeps a place in the line for so many seconds, to be asked for again within them;
        the runtime is told by its inbox when its turn has come. It is infinite seconds where the
        lock is free and another one's turn.
        """
        reply = as_list(
            await self._run(
                "lock_acquire",
                encode(name),
                encode(owner),
                max(1, ms(ttl)),
                encode(runtime_id) if runtime_id else "",
                ms(wait),
                idempotent=True,
            ),
            at_least=2,
        )
        if as_int(reply[0]) == 1:
            return True, as_int(reply[1])
        left = seconds(reply[1])
        return False, math.inf if left is None else left

    async def lock_extend(self, name: str, owner: str, ttl: float) -> bool:
        """Keep a lock for ``ttl`` seconds from now. False if it is not the owner's any more."""
        reply = await self._run(
            "lock_extend", encode(name), encode(owner), max(1, ms(ttl)), idempotent=True
        )
        return as_int(reply) == 1

    async def lock_release(self, name: str, owner: str, *, idempotent: bool = True) -> bool:
        """Give a lock back, or a place in its line. False if it was not the owner's any more.

        An idempotent one may be sent twice, and then answers False for a lock that was ours.
        """
        reply = await self._run("lock_release", encode(name), encode(owner), idempotent=idempotent)
        return as_int(reply) == 1


def _counts(row: list[Any]) -> tuple[str, Counts]:
    # a count below zero is what remains of counters that Redis lost: as good as none
    return as_name(row[0]), Counts(*(max(0, signed(n)) for n in row[1:]))


def _buried(item: Any) -> Buried:
    parts = as_list(item, at_least=7)
    return Buried(
        as_name(parts[0]),
        as_int(parts[1]) / 1000,
        as_name(parts[2]),
        as_session(parts[3]),
        as_bytes(parts[4]),
        as_bytes(parts[5]),
        as_enum(Why, parts[6]),
    )


def seconds(milliseconds: Any) -> float | None:
    """A time as the scripts answer it: milliseconds, -1 for never."""
    number = as_int(milliseconds)
    return None if number < 0 else number / 1000


def signed(value: Any) -> int:
    """A counter, which can have become negative."""
    if isinstance(value, bytes) and value[:1] == b"-":
        return -as_int(value[1:])
    return as_int(value)
