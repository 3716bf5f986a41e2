"""Runs a program on a runtime and writes down what is seen, without ids and without times."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from am2z import (
    AM2ZError,
    Event,
    Processor,
    ProcessorResult,
    Runtime,
    RuntimeConfig,
    StateConflictError,
)
from harness.oracle.crash import CONFIG as CONFIG_WITH_CRASHES
from harness.oracle.flights import Flight, Flights
from harness.oracle.lives import MAX_CALL_DEPTH
from harness.oracle.lockers import Lockers
from harness.oracle.model import Seen
from harness.oracle.observe import seen_counts, seen_result, stories, told
from harness.oracle.program import NO_SESSION, SESSIONS, Op
from harness.oracle.workers import AN_HOUR, Gate, Piece, make_processors, piece

__all__ = ["Bench", "CrashTest", "play"]

_CRASH = 10
"""How many times as long as other things a crash may take: two processes have to start."""

_CONFIG = RuntimeConfig(max_call_depth=MAX_CALL_DEPTH)


class Bench(Protocol):
    """What a program is run on; a ``Kit`` is one."""

    @property
    def timeout(self) -> float:
        """How long to wait for one thing that must happen, in seconds."""
        ...

    def runtime(
        self, *processors: Processor[Any], config: RuntimeConfig | None = None
    ) -> AbstractAsyncContextManager[Runtime]:
        """A runtime, started; several share what is kept."""
        ...


CrashTest = Callable[[Runtime, Piece, str | None], Awaitable[ProcessorResult[Piece]]]
"""Executes while the worker that does it is killed."""


async def play(bench: Bench, ops: Sequence[Op], crash: CrashTest | None = None) -> list[Seen]:
    """Run operations one after the other; what each showed, and what was there afterwards.

    An error of the runtime is something that is seen. What must happen and does not within
    ``bench.timeout`` is seen as that, too.
    """
    async with trio.open_nursery() as nursery:
        player = _Player(bench, nursery, crash, crashes=any(op.verb == "crash" for op in ops))
        async with player.playing():
            seen = [await player.apply(number, op) for number, op in enumerate(ops)]
            seen.append(await player.afterwards())
        nursery.cancel_scope.cancel()
    return seen


@dataclass
class _Player:
    bench: Bench
    nursery: trio.Nursery
    crash: CrashTest | None
    crashes: bool
    gates: dict[str, Gate] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    number: int = 0

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """The runtime for the length of a program."""
        self.flights = Flights(self.bench.timeout)
        self.lockers = Lockers(self.nursery, self.bench.timeout)
        await self._enter()
        yield
        await self._leave()

    async def _enter(self) -> None:
        self._may_leave, self._left = trio.Event(), trio.Event()
        self.runtime = await self.nursery.start(self._host)
        self.runtime.on("*", self._take)
        async with self.runtime.subscribe("*"):
            pass  # from here on every event arrives

    async def _leave(self) -> None:
        self._may_leave.set()
        await self._left.wait()

    async def _host(self, task_status: trio.TaskStatus[Runtime]) -> None:
        """The block of one runtime. In a task: it ends where another operation's time does not."""
        config = CONFIG_WITH_CRASHES if self.crashes else _CONFIG
        async with self.bench.runtime(*make_processors(self.gates), config=config) as runtime:
            task_status.started(runtime)
            await self._may_leave.wait()
        self._left.set()

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self.flights.take(event)

    # --- the frame of each operation

    async def apply(self, number: int, op: Op) -> Seen:
        self.number = number
        act: Callable[[Op], Awaitable[Seen]] = getattr(self, f"do_{op.verb.replace('-', '_')}")
        seen: Seen = {}
        limit = (_CRASH if op.verb == "crash" else 2) * self.bench.timeout
        with trio.move_on_after(limit) as scope:
            try:
                seen = await act(op)
            except AM2ZError as error:
                seen = {"error": type(error).__name__}
            except Exception as error:
                seen = {"raised": f"{type(error).__name__}: {error}"[:200]}
        if scope.cancelled_caught:
            seen = {"never": f"returned within {limit:g} s"}
        await self.flights.settle()
        return {**seen, **self.flights.tell(), "kept": await self._kept()}

    async def _kept(self) -> Seen:
        kept: Seen = {}
        for name in SESSIONS:
            try:
                found = await self.runtime.state.get(name, Piece)
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
        stats = await self.do_stats(Op("stats"))
        dead = [
            [letter.processor_name, letter.session_id or NO_SESSION, type(letter.error).__name__]
            for letter in await self.runtime.dead.list()
        ]
        # What was emitted before an execution is delivered before its result.
        fence = (await self.runtime.execute("once", Piece())).metadata.execution_id
        events = {"stories": stories(self.events, fence), "told": told(self.events)}
        return {**stats, **events, "dead": sorted(dead)}

    # --- executions

    async def _given(self, op: Op) -> Piece:
        """What an application would hand over: the committed state, or a new one."""
        assert op.call is not None
        kept = None
        if op.session in SESSIONS:
            kept = await self.runtime.state.get(op.session, Piece)
        if kept is None:
            return piece(op.call)
        given: Piece = kept.state.evolve(plan=op.call.plan)
        return given

    async def do_execute(self, op: Op) -> Seen:
        assert op.call is not None
        given = await self._given(op)
        before = list(given.trail)
        result = await self.runtime.execute(op.call.name, given, _session(op))
        seen: Seen = {"result": seen_result(result, op, None, given)}
        if given.trail != before:
            seen["the caller's own state"] = given.trail
        return seen

    async def do_many(self, op: Op) -> Seen:
        assert op.call is not None
        given = await self._given(op)
        results = await self.runtime.execute_many(
            op.call.name, [given] * op.number, session_id=_session(op)
        )
        return {"results": [seen_result(result, op, None, given) for result in results]}

    async def do_crash(self, op: Op) -> Seen:
        assert self.crash is not None
        given = await self._given(op)
        return {"result": seen_result(await self.crash(self.runtime, given, _session(op)), op)}

    async def do_submit(self, op: Op) -> Seen:
        return await self._submit(op)

    async def do_delay(self, op: Op) -> Seen:
        return await self._submit(op, AN_HOUR)

    async def _submit(self, op: Op, delay: float | None = None) -> Seen:
        assert op.call is not None
        flight_id = f"{op.label}{self.number}"
        given = await self._given(op)
        flight = self.flights.begin(op, flight_id, given, is_delayed=delay is not None)
        self.gates[flight_id] = flight.gate
        try:
            flight.handle = await self.runtime.submit(
                op.call.name,
                given,
                _session(op),
                execution_id=flight.execution_id,
                delay=delay,
            )
        except BaseException:
            flight.is_told = True
            raise
        self.nursery.start_soon(self._await_result, flight)
        return {}

    async def _await_result(self, flight: Flight) -> None:
        assert flight.handle is not None
        try:
            flight.result = await flight.handle.result()
        except Exception:  # shown as a flight that is not done
            flight.is_lost = True
        self.flights.change()

    async def do_release(self, op: Op) -> Seen:
        self.flights[op.label].gate.release()
        return {}

    async def do_cancel(self, op: Op) -> Seen:
        flight = self.flights[op.label]
        flight.must_end = True
        if flight.handle is not None:
            await flight.handle.cancel()
        return {}

    async def do_again(self, op: Op) -> Seen:
        flight = self.flights[op.label]
        assert flight.op.call is not None
        handle = await self.runtime.submit(
            flight.op.call.name,
            flight.given,
            _session(flight.op),
            execution_id=flight.execution_id,
        )
        return {"result": seen_result(await handle.result(), flight.op, flight.execution_id)}

    # --- sessions

    async def do_stop(self, op: Op) -> Seen:
        self._must_end(op.session)
        await self.runtime.stop_session(op.session)
        return {}

    async def do_clean(self, op: Op) -> Seen:
        self._must_end(op.session)
        await self.runtime.clean_session(op.session)
        return {}

    async def do_clean_all(self, _op: Op) -> Seen:
        self._must_end(*SESSIONS)
        await self.runtime.clean_all_sessions()
        return {}

    def _must_end(self, *sessions: str) -> None:
        for flight in self.flights.live():
            flight.must_end |= flight.op.session in sessions

    # --- state

    async def do_set(self, op: Op) -> Seen:
        return await self._set(op, None)

    async def do_set_right(self, op: Op) -> Seen:
        return await self._set(op, await self.runtime.state.version(op.session))

    async def do_set_wrong(self, op: Op) -> Seen:
        return await self._set(op, await self.runtime.state.version(op.session) + 1)

    async def _set(self, op: Op, expected: int | None) -> Seen:
        state = Piece(count=op.number)
        return {
            "version": await self.runtime.state.set(op.session, state, expected_version=expected)
        }

    async def do_update(self, op: Op) -> Seen:
        def add(state: Piece) -> Piece:
            return state.evolve(count=state.count + op.number)

        return {"answer": (await self.runtime.state.update(op.session, add)).count}

    async def do_updates(self, op: Op) -> Seen:
        answers: list[str] = []

        async def update() -> None:
            try:
                answers.append(str(await self.do_update(Op("update", op.session, number=1))))
            except AM2ZError as error:
                answers.append(str({"error": type(error).__name__}))

        await _together([update] * op.number)
        return {"answers": sorted(answers)}

    async def do_race(self, op: Op) -> Seen:
        seen = {"won": 0, "lost": 0}
        version = await self.runtime.state.version(op.session)

        async def race() -> None:
            try:
                await self._set(op, version)
            except StateConflictError:
                seen["lost"] += 1
            else:
                seen["won"] += 1

        await _together([race] * op.number)
        return seen

    async def do_delete(self, op: Op) -> Seen:
        await self.runtime.state.delete(op.session)
        return {}

    async def do_get(self, op: Op) -> Seen:
        state = self.runtime.state
        found = await state.get(op.session, Piece)
        checksum = found and len(found.checksum) == 64
        exists, version = await state.exists(op.session), await state.version(op.session)
        return {"exists": exists, "version": version, "checksum": checksum}

    # --- locks

    async def do_lock(self, op: Op) -> Seen:
        return await self.lockers.lock(self.runtime, op.lock)

    async def do_unlock(self, op: Op) -> Seen:
        return await self.lockers.unlock(op.lock)

    async def do_line(self, op: Op) -> Seen:
        return await self.lockers.line(self.runtime, op.lock, op.number)

    # --- the runtime

    async def do_stats(self, _op: Op) -> Seen:
        sessions: Seen = {}
        for name in SESSIONS:
            sessions[name] = seen_counts(await self.runtime.session_stats(name))
        return {
            "stats": seen_counts(await self.runtime.queue_stats()),
            "session stats": sessions,
            "active sessions": await self.runtime.active_sessions(),
        }

    async def do_restart(self, _op: Op) -> Seen:
        await self.runtime.stop()
        await self.runtime.start()
        return {"locks": await self.lockers.ended()}

    async def do_reopen(self, _op: Op) -> Seen:
        await self._leave()
        locks = await self.lockers.ended()
        await self._enter()
        return {"locks": locks}


def _session(op: Op) -> str | None:
    return None if op.session == NO_SESSION else op.session


async def _together(tasks: Sequence[Callable[[], Awaitable[None]]]) -> None:
    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(task)
