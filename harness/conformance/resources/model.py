"""The monitor against a model of it, and the figures of all kinds of work at one moment."""

from __future__ import annotations

import math
import random

import trio

from am2z import (
    Context,
    NetworkError,
    QueueOptions,
    QueueStats,
    ResourceError,
    ResourceLimits,
    ResourceMonitor,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
)
from harness.conformance._processors import Gate, flaky, increment, make, within
from harness.conformance._watching import monitor_of
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

CONNECTIONS, QUEUE_SIZE = 6, 4
NAMES = ("a", "b", "c")


class _Model:
    """What a monitor has been told."""

    def __init__(self, monitor: ResourceMonitor) -> None:
        self.connections = 0
        self.sessions: list[str] = []
        self.queues: dict[str, int] = {}
        self._monitor = monitor
        monitor.reset()

    def do_something(self, rng: random.Random) -> str:
        """Tell the monitor one thing, and note it; answers what that was."""
        name, size = rng.choice(NAMES), rng.randint(0, QUEUE_SIZE + 2)
        what = rng.choices(
            ("connect", "disconnect", "open", "close", "size", "reset"), (6, 5, 4, 4, 6, 1)
        )[0]
        if what == "connect":
            self._monitor.register_connection()
            self.connections += 1
        elif what == "disconnect":
            self._monitor.unregister_connection()
            self.connections = max(0, self.connections - 1)
        elif what == "open":
            self._monitor.register_session(name)
            if name not in self.sessions:
                self.sessions.append(name)
        elif what == "close":
            self._monitor.unregister_session(name)
            if name in self.sessions:
                self.sessions.remove(name)
        elif what == "size":
            self._monitor.update_queue_size(name, size)
            self.queues[name] = size
        else:
            self._monitor.reset()
            self.connections = 0
            self.sessions.clear()
            self.queues.clear()
        return f"{what} {name} {size}"

    def look(self) -> None:
        """Compare the picture, and what is refused."""
        picture = self._monitor.resource_stats()
        told = picture.connections
        assert (told.active, told.max) == (self.connections, CONNECTIONS), told
        assert math.isclose(told.percentage, self.connections / CONNECTIONS), told
        most = max(self.queues.values(), default=0)
        queues = picture.queues
        assert (queues.total, queues.max_size) == (len(self.queues), most), queues
        if queues.largest_queue is None:
            assert not self.queues, queues
        else:
            named = queues.largest_queue.name, queues.largest_queue.size
            assert named in {item for item in self.queues.items() if item[1] == most}, queues
        sessions = picture.sessions
        oldest = None if sessions.oldest is None else sessions.oldest.session_id
        first = self.sessions[0] if self.sessions else None
        assert (sessions.active, oldest) == (len(self.sessions), first), sessions
        self._look_at_refusals()

    def _look_at_refusals(self) -> None:
        over = {name: size for name, size in self.queues.items() if size > QUEUE_SIZE}
        error: ResourceError | None = None
        try:
            self._monitor.check_resource_limits()
        except ResourceError as refused:
            error = refused
        if error is None:
            assert self.connections <= CONNECTIONS, f"{self.connections} connections are taken"
            assert not over, f"taken with {over}"
        elif error.resource == "connections":
            assert (error.limit, error.current) == (CONNECTIONS, self.connections)
            assert self.connections > CONNECTIONS, f"refused for {self.connections} connections"
        else:
            assert (error.resource, error.limit) == ("queue", QUEUE_SIZE), repr(error)
            queue = error.context["queue"]
            assert over.get(queue) == error.current, f"refused with {over}: {error!r}"


@rule("RES-032")
async def test_monitor_is_what_it_was_told(kit: Kit) -> None:
    limits = ResourceLimits(
        max_connections=CONNECTIONS,
        max_queue_size=QUEUE_SIZE,
        max_memory_mb=math.inf,
    )
    async with kit.runtime() as runtime:
        assert isinstance(monitor_of(runtime), ResourceMonitor)
    for _ in range(20):
        model, done = _Model(ResourceMonitor(limits)), list[str]()
        for _ in range(40):
            done.append(model.do_something(kit.rng))
            try:
                model.look()
            except AssertionError as error:
                error.add_note(f"after: {', '.join(done)}")
                raise


class _Work:
    """Work of every kind at one moment: it runs, waits, is delayed, has called, or has ended."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self.gate = Gate("gate", queue=QueueOptions(concurrency=1))
        self.inner = Gate("inner")
        hourly = RetryPolicy(max_attempts=2, backoff=3600.0, max_backoff=3600.0)
        self.processors = (
            self.gate.processor,
            self.inner.processor,
            make("asking", self._ask),
            flaky("down", [NetworkError("down")], retry=hourly),
            flaky("refused", [NetworkError("no")] * 9, retry=RetryPolicy(max_attempts=1)),
            increment,
            make("idle", self._ask),
        )

    async def _ask(self, state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("inner", state)).unwrap()

    async def begin(self, runtime: Runtime) -> None:
        for session_id in ("a", "a", "b", None):
            await runtime.execute(increment, TestState(), session_id)
        for session_id in ("a", None):
            await runtime.execute("refused", TestState(), session_id)
        await runtime.submit("gate", TestState(), "a")
        with within(self._kit, "the start of an execution"):
            await self.gate.started.wait()
        for session_id in ("a", "b", "b"):
            await runtime.submit("gate", TestState(), session_id)
        await runtime.submit("asking", TestState(), "b")
        with within(self._kit, "the start of a call"):
            await self.inner.started.wait()
        await runtime.submit("down", TestState(), "a")
        await runtime.submit(increment, TestState(), "b", delay=3600.0)
        self._later = await runtime.submit(increment, TestState(), delay=3600.0)

        async def is_delayed() -> bool:
            return (await runtime.queue_stats())["down"].delayed == 1

        await wait_for_condition(is_delayed, message="the back-off of an execution")

    async def end(self, runtime: Runtime) -> None:
        self.gate.open()
        self.inner.open()
        for session_id in ("a", "b"):
            await runtime.stop_session(session_id)
        await self._later.cancel()


@rule("RES-033")
async def test_figures_of_all_kinds_of_work_at_one_moment(kit: Kit) -> None:
    work = _Work(kit)
    config = RuntimeConfig(concurrency=4)
    began = trio.current_time()
    async with kit.runtime(*work.processors, config=config) as runtime:
        await work.begin(runtime)
        queues, total = await runtime.queue_stats(), await runtime.stats()
        sessions = {name: await runtime.session_stats(name) for name in ("a", "b", "nobody")}
        took = trio.current_time() - began
        await work.end(runtime)
    assert queues == {
        "gate": QueueStats(active=1, waiting=3),
        "inner": QueueStats(active=1),
        "asking": QueueStats(active=1),
        "down": QueueStats(delayed=1),
        "refused": QueueStats(failed=2),
        "increment": QueueStats(completed=4, delayed=2),
        "idle": QueueStats(),
    }
    assert list(queues) == sorted(queues)
    assert sessions["a"] == {
        "gate": QueueStats(active=1, waiting=1),
        "down": QueueStats(delayed=1),
        "refused": QueueStats(failed=1),
        "increment": QueueStats(completed=2),
    }
    assert sessions["b"] == {
        "gate": QueueStats(waiting=2),
        "inner": QueueStats(active=1),
        "asking": QueueStats(active=1),
        "increment": QueueStats(completed=1, delayed=1),
    }
    assert sessions["nobody"] == {}
    assert (total.waiting, total.active) == (3, 3)
    assert total.running == 3, "one of them waits for its call"
    assert (total.completed, total.failed) == (4, 2)
    assert (total.registered_processors, total.active_sessions) == (len(work.processors), 2)
    assert 0 <= total.uptime <= took
