"""A storm: callers who want work done, and somebody who kills and freezes the workers meanwhile.

Everything that is decided here is decided by one seed. What the processes make of it depends on the
machine too, so a seed gives the same storm, not the same failure.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import NamedTuple

import trio
from redis import Redis

from am2z import ProcessorResult, QueueRuntime, RuntimeConfig, SessionStoppedError
from am2z.queue.client import sync_client
from am2z.queue.wire import StreamEvent, parse_event

from .herd import Herd, Load

LEASE = 0.7
DOOMED = "doomed"
SESSIONS = ("a", "b", "c", "d:1", "e%", None, DOOMED)
ANSWER_BY = 30.0
"""Seconds after the storm within which every caller must be answered."""


class Plan(NamedTuple):
    """How heavy a storm is."""

    seconds: float
    kills: int
    freezes: int
    workers: int = 5
    callers: int = 32


class Kind(NamedTuple):
    """A sort of work, and the count that it ends with (None: it fails)."""

    name: str
    weight: int
    ends_with: int | None
    state: Load = Load()


KINDS = (
    Kind("step", 8, 1),
    Kind("step", 3, 1, Load(pause=0.1)),
    Kind("step", 1, 1, Load(pause=1.5 * LEASE)),
    Kind("blocking", 2, 1, Load(pause=0.05)),
    Kind("pair", 4, 2),
    Kind("deep", 2, 5, Load(depth=4)),
    Kind("flaky", 3, 1),
    Kind("broken", 1, None),
    Kind("refused", 1, None),
)


class Answer(NamedTuple):
    """What a caller asked for and got (None: it gave up before)."""

    kind: Kind
    session: str | None
    result: ProcessorResult[Load] | None


@dataclass
class Storm:
    """One storm, and afterwards what is known of it."""

    url: str
    namespace: str
    seed: int
    plan: Plan
    answers: list[Answer] = field(default_factory=list)
    asked: int = 0
    kills: int = 0
    freezes: int = 0
    seconds: float = 0.0
    events: list[StreamEvent] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Let it rage, and wait until every caller was answered and every worker has gone home."""
        self._ids = count()
        self._frozen: set[int] = set()
        self._end = self._began = trio.current_time()
        options = {"lease": LEASE, "concurrency": 8, "max_deliveries": 10_000, "result_ttl": 900.0}
        self.herd = Herd(self.url, self.namespace, options | {"shutdown_grace": 5.0})
        try:
            async with trio.open_nursery() as nursery:
                watching = await nursery.start(self._watch)
                for _ in range(self.plan.workers):
                    self.herd.start()
                await self._wait_for_workers()
                async with AsyncExitStack() as stack:
                    clients = [
                        await stack.enter_async_context(self._client(options)) for _ in range(2)
                    ]
                    await self._rage(clients)
                    for pid in list(self.herd.workers):
                        await trio.to_thread.run_sync(self.herd.dismiss, pid)
                watching.cancel()
        finally:
            await trio.to_thread.run_sync(self.herd.close)
        self.problems += self.herd.problems

    def _client(self, options: dict[str, float]) -> QueueRuntime:
        config = RuntimeConfig(**options)  # type: ignore[arg-type]
        return QueueRuntime(self.url, namespace=self.namespace, role="client", config=config)

    async def _wait_for_workers(self) -> None:
        with trio.fail_after(15), sync_client(self.url) as redis:
            while not redis.exists(f"{{am2z:{self.namespace}:0}}:served:step"):  # noqa: ASYNC110
                await trio.sleep(0.01)

    async def _rage(self, clients: list[QueueRuntime]) -> None:
        self._began = trio.current_time()
        self._end = self._began + self.plan.seconds
        with trio.move_on_at(self._end + ANSWER_BY) as patience:
            async with trio.open_nursery() as nursery:
                for number in range(self.plan.callers):
                    rng = random.Random(f"{self.seed}-{number}")
                    nursery.start_soon(self._call, rng, clients)
                nursery.start_soon(self._stop_session, clients[0])
                nursery.start_soon(self._disturb)
        self.seconds = trio.current_time() - self._began
        if patience.cancelled_caught:
            self.problems.append(f"{self.asked - len(self.answers)} callers were never answered")

    # --- the callers

    async def _call(self, rng: random.Random, clients: list[QueueRuntime]) -> None:
        while trio.current_time() < self._end:
            kind = rng.choices(KINDS, [kind.weight for kind in KINDS])[0]
            session = rng.choice(SESSIONS)
            client, other = rng.sample(clients, 2)
            way = rng.random()
            self.asked += 1
            if way < 0.05:
                self.asked += 1  # two callers want the same
                name = f"twin-{next(self._ids)}"
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._submit, client, kind, session, name, None)
                    nursery.start_soon(self._submit, other, kind, session, name, None)
            elif way < 0.1:
                await self._submit(client, kind, session, None, rng.uniform(0, LEASE))
            elif way < 0.15:
                await self._execute(client, kind, session, rng.uniform(0, 0.2))
            else:
                await self._execute(client, kind, session, None)

    async def _execute(
        self, client: QueueRuntime, kind: Kind, session: str | None, patience: float | None
    ) -> None:
        result = None
        with trio.move_on_after(float("inf") if patience is None else patience):
            result = await client.execute(kind.name, kind.state, session)
        self.answers.append(Answer(kind, session, result))

    async def _submit(
        self,
        client: QueueRuntime,
        kind: Kind,
        session: str | None,
        name: str | None,
        delay: float | None,
    ) -> None:
        handle = await client.submit(kind.name, kind.state, session, execution_id=name, delay=delay)
        self.answers.append(Answer(kind, session, await handle.result()))

    async def _stop_session(self, client: QueueRuntime) -> None:
        """In the middle of it all."""
        await trio.sleep(self.plan.seconds * random.Random(self.seed).uniform(0.4, 0.6))
        await client.stop_session(DOOMED)
        refused = await client.execute("step", Load(), DOOMED)
        if not isinstance(refused.error, SessionStoppedError):
            self.problems.append(f"a stopped session took work: {refused}")

    # --- those who disturb them

    async def _disturb(self) -> None:
        rng = random.Random(self.seed)
        moments = [(rng.uniform(0, 0.97), "kill") for _ in range(self.plan.kills)]
        moments += [(rng.uniform(0, 0.9), "freeze") for _ in range(self.plan.freezes)]
        async with trio.open_nursery() as nursery:
            for share, what in sorted(moments):
                await trio.sleep_until(self._began + share * self.plan.seconds)
                if what == "freeze" and len(self._frozen) < self.plan.workers - 1:
                    # At once: on a machine that is late the next moment may be here already, and
                    # would kill the one that was picked before its task began.
                    pid = self._any(rng)
                    self._frozen.add(pid)
                    self.herd.stop(pid)
                    nursery.start_soon(self._thaw, pid, rng.uniform(1.2, 2.5) * LEASE)
                else:
                    self._kill(rng)

    def _any(self, rng: random.Random) -> int:
        return rng.choice([pid for pid in self.herd.workers if pid not in self._frozen])

    def _kill(self, rng: random.Random) -> None:
        """Now and then one that is frozen."""
        pid = rng.choice(self.herd.workers) if rng.random() < 0.2 else self._any(rng)
        self._frozen.discard(pid)
        self.herd.kill(pid)
        self.kills += 1
        self.herd.start()

    async def _thaw(self, pid: int, seconds: float) -> None:
        await trio.sleep(seconds)
        if pid in self._frozen:  # not killed meanwhile
            self._frozen.discard(pid)
            self.herd.go_on(pid)
            self.freezes += 1

    # --- those who watch

    async def _watch(
        self, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Read the stream of events from its beginning: it is bounded, so nobody can later."""
        position = "0-0"
        with sync_client(self.url) as redis:
            with trio.CancelScope() as scope:
                task_status.started(scope)
                while True:
                    position = await trio.to_thread.run_sync(partial(self._read, redis, position))
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(partial(self._read, redis, position))

    def _read(self, redis: Redis, position: str) -> str:
        key = f"{{am2z:{self.namespace}:0}}:events"
        reply = redis.xread({key: position}, count=2000, block=200)
        for name, fields in reply[0][1] if reply else ():
            self.events.append(parse_event(name, fields))
        return self.events[-1].event_id if self.events else position

    # --- the figures

    @property
    def reexecutions(self) -> int:
        """How often an execution was taken back from a worker that was silent for too long."""
        return sum(event.type == "retrying" and event.why == "lease" for event in self.events)

    def figures(self) -> Iterator[tuple[str, object]]:
        """What to report."""
        ends = Counter(event.type for event in self.events)
        executions = ends["completed"] + ends["failed"] + ends["dropped"]
        yield "seed", self.seed
        yield "callers answered", f"{len(self.answers)} of {self.asked}"
        yield "executions", executions
        yield "kills", self.kills
        yield "freezes", self.freezes
        yield "re-executions", self.reexecutions
        yield "seconds", round(self.seconds, 1)
        yield "executions/s", round(executions / max(self.seconds, 0.1))
