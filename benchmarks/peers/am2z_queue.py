"""``QueueRuntime``, with every guarantee on: leases, fences, commits, events."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from am2z import (
    AppState,
    BusinessError,
    Context,
    ExecutionCancelledError,
    QueueRuntime,
    ResourceLimits,
    RuntimeConfig,
    chain,
    processor,
)
from benchmarks.peers.line import (
    Counter,
    Timer,
    end_with_input,
    failed,
    main_arguments,
    payload,
    read,
    say,
)

LIMITS = ResourceLimits(max_queue_size=10_000_000, max_memory_mb=math.inf)
SETTINGS = "defaults (concurrency 100, lease 10 s, results kept 300 s), hiredis"
AT_ONCE = 1000
"""How many submissions of a bulk enqueue are under way at once."""


class Load(AppState):
    """What a job carries."""

    text: str = ""


counter = Counter(())


@processor
async def noop(state: Load, ctx: Context) -> Load:
    counter.add()
    return state


@processor
async def parent(state: Load, ctx: Context) -> Load:
    return (await ctx.call("noop", state)).unwrap()


async def _step(state: Load, ctx: Context) -> Load:
    return state


@processor
async def broken(state: Load, ctx: Context) -> Load:
    raise BusinessError("as ever")


@processor
async def sleeper(state: Load, ctx: Context) -> Load:
    counter.add()
    await trio.sleep(math.inf)
    return state


steps = [processor(name=f"step-{number}")(_step) for number in range(5)]
chain_in_place = chain("chain_in_place", steps)
chain_by_name = chain("chain_by_name", [step.name for step in steps])
PROCESSORS = (noop, parent, broken, sleeper, *steps, chain_in_place, chain_by_name)

KINDS = {
    "execute": "noop",
    "execute_parent": "parent",
    "execute_chain": "chain_by_name",
    "execute_chain_in_place": "chain_in_place",
}


def make(url: str, role: Any, options: dict[str, Any]) -> QueueRuntime:
    """A runtime as every measurement uses it; several servers are one URL with blanks between."""
    return QueueRuntime(
        url.split(),
        namespace="bench",
        role=role,
        config=RuntimeConfig(**options.get("config", {})),
        limits=LIMITS,
        shards=options.get("shards"),
    )


def session(number: int, sessions: int) -> str | None:
    """The session of job ``number``; 0 sessions: none."""
    return f"s{number % sessions}" if sessions else None


class Client:
    """The verbs; see ``aio.AsyncPeer`` for those that the peers have too."""

    def __init__(self, runtime: QueueRuntime) -> None:
        self._runtime = runtime
        self._heard = 0

    async def listen(self) -> dict[str, Any]:
        """From now on every event comes to this client."""
        self._runtime.on("*", self._hear)
        await self._runtime.sync_processors()
        return {}

    def _hear(self, _event: object) -> None:
        self._heard += 1

    async def heard(self) -> dict[str, Any]:
        return {"events": self._heard}

    async def enqueue_each(self, n: int, size: int, sessions: int = 0) -> dict[str, Any]:
        with Timer() as timer:
            for number in range(n):
                state = Load(text=payload(number, size))
                await self._runtime.submit("noop", state, session(number, sessions))
        return timer.told

    async def enqueue_bulk(self, n: int, size: int, sessions: int = 0) -> dict[str, Any]:
        async def submit(number: int) -> None:
            await self._runtime.submit("noop", states[number], session(number, sessions))

        states: dict[int, Load] = {}
        seconds = cpu = 0.0
        at_once = max(10, min(AT_ONCE, 20_000_000 // size))
        for start in range(0, n, at_once):
            numbers = range(start, min(start + at_once, n))
            states = {number: Load(text=payload(number, size)) for number in numbers}
            with Timer() as timer:
                if sessions:  # each has one of its own, which `submit_many` does not know
                    async with trio.open_nursery() as nursery:
                        for number in numbers:
                            nursery.start_soon(submit, number)
                else:
                    await self._runtime.submit_many("noop", list(states.values()))
            seconds += timer.told["seconds"]
            cpu += timer.told["cpu"]
        return {"seconds": seconds, "cpu": cpu}

    async def executions(
        self, n: int, size: int, kind: str = "execute", sessions: int = 0
    ) -> dict[str, Any]:
        """One after the other."""
        taken = []
        for number in range(n):
            began = time.perf_counter()
            await self._execute(KINDS[kind], payload(number, size), session(number, sessions))
            taken.append(time.perf_counter() - began)
        return {"taken": taken}

    async def _execute(self, name: str, text: str, session_id: str | None) -> None:
        (await self._runtime.execute(name, Load(text=text), session_id)).unwrap()

    async def callers(self, n: int, size: int, callers: int, sessions: int = 0) -> dict[str, Any]:
        taken = []

        async def call(who: int) -> None:
            for number in range(n // callers):
                session_id = session(who + number * callers, sessions)
                began = time.perf_counter()
                await self._execute("noop", payload(number, size), session_id)
                taken.append(time.perf_counter() - began)

        with Timer() as timer:
            async with trio.open_nursery() as nursery:
                for who in range(callers):
                    nursery.start_soon(call, who)
        return {**timer.told, "taken": taken}

    async def sleep(self) -> dict[str, Any]:
        """Enqueue one job that never ends."""
        await self._runtime.submit("sleeper", Load())
        return {}

    async def mixed(self, n: int, callers: int, window: int) -> dict[str, Any]:
        """Work of every kind; sessions and dead letters are cleaned up behind it."""
        wrong: list[str] = []
        sessions = [f"w{window}-{number}" for number in range(20)]

        async def call(who: int) -> None:
            rng = random.Random(f"{window}-{who}")
            for _ in range(n // callers):
                wrong.extend(await self._one_of_many(rng, sessions))

        with Timer() as timer:
            async with trio.open_nursery() as nursery:
                for who in range(callers):
                    nursery.start_soon(call, who)
        for name in sessions:
            await self._runtime.clean_session(name)
        for letter in await self._runtime.dead.list(limit=10_000):
            await self._runtime.dead.drop(letter.execution_id)
        return {**timer.told, "wrong": wrong}

    async def _one_of_many(self, rng: random.Random, sessions: list[str]) -> list[str]:
        """One piece of work; what is wrong with its result."""
        name = rng.choices(("noop", "parent", "chain_by_name", "broken", "sleeper"),
                           (75, 10, 5, 5, 5))[0]  # fmt: skip
        load, session_id = Load(text=payload(rng.randrange(1000), 100)), None
        if rng.random() < 0.4:
            session_id = rng.choice(sessions)
        if name == "sleeper":
            handle = await self._runtime.submit(name, load, session_id)
            await handle.cancel()
            result = await handle.result()
            is_right = isinstance(result.error, ExecutionCancelledError)
        elif rng.random() < 0.1:
            handle = await self._runtime.submit(name, load, session_id, delay=0.02)
            result = await handle.result()
            is_right = result.success is (name != "broken")
        else:
            result = await self._runtime.execute(name, load, session_id)
            is_right = result.success is (name != "broken") and result.state.text == load.text
        return [] if is_right else [f"{name}: {result}"[:300]]

    async def finished(self) -> dict[str, Any]:
        """How many executions of the no-op have ended, whoever ran them."""
        return {"jobs": (await self._runtime.queue_stats())["noop"].completed}

    async def versions(self, sessions: int) -> dict[str, Any]:
        """The sum of the versions of so many sessions: how many commits there were."""
        found = [await self._runtime.state.version(f"s{number}") for number in range(sessions)]
        return {"commits": sum(version or 0 for version in found)}


async def be_client(url: str, options: dict[str, Any]) -> None:
    # It knows the processors: so it may enqueue for workers that are not there yet.
    async with make(url, "client", options).register(*PROCESSORS) as runtime:
        say(ready=SETTINGS)
        client = Client(runtime)
        while asked := await trio.to_thread.run_sync(read):
            verb: Callable[..., Awaitable[Any]] = getattr(client, asked.pop("verb"))
            try:
                say(ok=await verb(**asked))
            except Exception:
                failed()


async def be_worker(url: str, options: dict[str, Any]) -> None:
    global counter  # noqa: PLW0603 - processors are module-level, as a user's are
    counter = _Sampled(**options) if "profile" in options else Counter(options["marks"])
    end_with_input()
    async with make(url, "worker", options).register(*PROCESSORS):
        say(ready=SETTINGS)
        await trio.sleep_forever()


class _Sampled(Counter):
    """Samples from the first mark to the last, into the file ``profile``."""

    def __init__(self, marks: list[int], profile: str, **_: Any) -> None:
        from benchmarks.sampling import Sampler  # noqa: PLC0415 - no measurement wants it

        super().__init__(marks)
        self._sampler = Sampler()
        self._first, self._last, self._path = min(marks), max(marks), profile

    def _tell(self) -> None:
        if self.count == self._last:
            self._sampler.stop()
            self._sampler.write(self._path, self._last - self._first)
        super()._tell()
        if self.count == self._first:
            self._sampler.start()


def main() -> None:
    role, url, options = main_arguments()
    trio.run(be_worker if role == "worker" else be_client, url, options)


if __name__ == "__main__":
    main()
