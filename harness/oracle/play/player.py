"""The frame around each operation: what was seen of it, and where everything is after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from am2z import AM2ZError, RuntimeConfig
from harness.oracle.crash import CONFIG as CONFIG_WITH_CRASHES
from harness.oracle.model import MAX_CALL_DEPTH, Seen
from harness.oracle.observe import seen_counts, seen_letter, seen_totals, stories, told
from harness.oracle.play.executions import Executions
from harness.oracle.play.failures import Failures
from harness.oracle.play.locks import Locks
from harness.oracle.play.registry import Registry
from harness.oracle.play.sessions import Sessions
from harness.oracle.play.stage import Bench, CrashTest, Stage
from harness.oracle.play.states import States
from harness.oracle.play.submissions import Submissions
from harness.oracle.program import LABELS, SESSIONS, Op
from harness.oracle.workers import Piece

__all__ = ["play"]

_CRASH = 10
"""How many times as long as other things a crash may take: two processes have to start."""

_CONFIG = RuntimeConfig(max_call_depth=MAX_CALL_DEPTH, concurrency=len(LABELS) + 1)
"""One slot is left for everybody else, however many hold."""


async def play(bench: Bench, ops: Sequence[Op], crash: CrashTest | None = None) -> list[Seen]:
    """Run operations one after the other; what each showed, and what was there afterwards.

    An error of the runtime is something that is seen. What must happen and does not within
    ``bench.timeout`` is seen as that, too.
    """
    crashes = any(op.verb == "crash" for op in ops)
    async with trio.open_nursery() as nursery:
        stage = Stage(bench, nursery, crash, CONFIG_WITH_CRASHES if crashes else _CONFIG)
        await stage.enter()
        player = _Player(stage)
        seen = [await player.apply(number, op) for number, op in enumerate(ops)]
        seen.append(await player.afterwards())
        await stage.leave()
        nursery.cancel_scope.cancel()
    return seen


class _Player:
    """Applies operations one after the other; each part of it knows some of them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        parts = (Executions, Submissions, Failures, Sessions, States, Locks, Registry)
        self._parts = (self, *(part(stage) for part in parts))

    async def apply(self, number: int, op: Op) -> Seen:
        """Do one operation, and wait until what was submitted has come to where it stays."""
        stage = self._stage
        stage.number = number
        seen: Seen = {}
        limit = (_CRASH if op.verb == "crash" else 2) * stage.bench.timeout
        with trio.move_on_after(limit) as scope:
            try:
                seen = await self._act(op)
            except AM2ZError as error:
                seen = {"error": type(error).__name__}
            except Exception as error:  # seen as what no program may show
                seen = {"raised": f"{type(error).__name__}: {error}"[:200]}
        if scope.cancelled_caught:
            seen = {"never": f"returned within {limit:g} s"}
        await stage.flights.settle()
        return {**seen, **stage.flights.tell(), "kept": await self._kept()}

    async def _act(self, op: Op) -> Seen:
        name = f"do_{op.verb.replace('-', '_')}"
        act: Callable[[Op], Awaitable[Seen]]
        [act] = [getattr(part, name) for part in self._parts if hasattr(part, name)]
        return await act(op)

    async def _kept(self) -> Seen:
        kept: Seen = {}
        for name in SESSIONS:
            try:
                found = await self._stage.runtime.state.get(name, Piece)
            except AM2ZError as error:
                kept[name] = type(error).__name__
            else:
                kept[name] = None
                if found is not None:
                    state = found.state
                    kept[name] = [state.count, list(state.trail), found.version]
                    if state.metadata.session_id != name:
                        kept[name].append(f"in session {state.metadata.session_id!r}")
        return kept

    async def afterwards(self) -> Seen:
        """What is there when all is over."""
        stats = await self.do_stats(Op("stats"))
        dead = [seen_letter(letter) for letter in await self._stage.runtime.dead.list()]
        # What was emitted before an execution is delivered before its result.
        fence = (await self._stage.runtime.execute("wary", Piece())).metadata.execution_id
        events = {"stories": stories(self._stage.events, fence), "told": told(self._stage.events)}
        return {
            **stats,
            **events,
            "heard": self._stage.heard(),
            "dead": sorted(dead, key=str),
            "hooks": sorted(self._stage.props.hooks),
        }

    # --- the runtime

    async def do_stats(self, _op: Op) -> Seen:
        sessions: Seen = {}
        for name in SESSIONS:
            sessions[name] = seen_counts(await self._stage.runtime.session_stats(name))
        return {
            "stats": seen_counts(await self._stage.runtime.queue_stats()),
            "totals": seen_totals(await self._stage.runtime.stats()),
            "session stats": sessions,
            "active sessions": await self._stage.runtime.active_sessions(),
        }

    async def do_restart(self, _op: Op) -> Seen:
        await self._stage.runtime.stop()
        await self._stage.runtime.start()
        return {"locks": await self._stage.lockers.ended()}

    async def do_reopen(self, _op: Op) -> Seen:
        await self._stage.leave()
        locks = await self._stage.lockers.ended()
        await self._stage.enter()
        return {"locks": locks}
