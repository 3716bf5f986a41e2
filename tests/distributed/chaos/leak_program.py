"""Many sessions on one runtime, and what the process holds before and after.

``python -m tests.distributed.chaos.leak_program EXECUTIONS [URL]`` prints it as JSON; without a URL
it is a ``LocalRuntime``. It wants a process of its own: what other tests left in the memory of
theirs would blur the picture.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import psutil
import trio

from am2z import (
    AppState,
    BusinessError,
    Context,
    LocalRuntime,
    QueueRuntime,
    RetryPolicy,
    RuntimeConfig,
    SessionStoppedError,
    processor,
)
from am2z.queue.client import sync_client
from harness.leaks import running_tasks

WARM_UP = 5_000
"""Executions after which caches are full: that is where the counting begins."""
IN_SESSION = 20
AT_ONCE = 10
"""Sessions that live at the same time."""
RESTART_AFTER = 100
"""Sessions after which the runtime is stopped and started."""
CONFIG = RuntimeConfig(lease=1.0, result_ttl=0.5, concurrency=100)
SETTLED_BY = 20.0
"""Seconds after which what is held is taken as it is."""

PASSING = {"r", "s", "st", "j", "d", "w", "wake", "sj", "kd"}
"""What keys of executions and sessions begin with."""


AnyRuntime = LocalRuntime | QueueRuntime


class Note(AppState):
    text: str = ""


@processor
async def add(state: Note, ctx: Context) -> Note:
    ctx.update_progress(50)
    return state.evolve(text=state.text + "!")


@processor
async def refuse(state: Note, ctx: Context) -> Note:
    raise BusinessError("no")


@processor(retry=RetryPolicy(max_attempts=2, backoff=0.001))
async def flaky(state: Note, ctx: Context) -> Note:
    if ctx.metadata.attempt == 1:
        raise RuntimeError("once more, please")
    return state.evolve(text="done")


@processor
async def twice(state: Note, ctx: Context) -> Note:
    first = (await ctx.call("add", state)).unwrap()
    return first.evolve(text=first.text + "?")


@processor
async def careless(state: Note, ctx: Context) -> Note:
    result = await ctx.call("refuse", state)
    return state.evolve(text=str(result.error))


@processor
async def endless(state: Note, ctx: Context) -> Note:
    await trio.sleep_forever()
    return state


PROCESSORS = (add, refuse, flaky, twice, careless, endless)


class Held(NamedTuple):
    """What is held at one moment: memory in bytes, blocks of it, and the rest."""

    memory: int
    blocks: int
    descriptors: int
    tasks: int
    keys: list[str]

    def is_like(self, other: Held) -> bool:
        """Nothing more is held than before, and the memory is as good as the same."""
        is_heavier = self.memory > 1.05 * other.memory or self.blocks > 1.02 * other.blocks
        return not is_heavier and self[2:] == other[2:]


class Scales:
    """Tells what is held."""

    def __init__(self, url: str | None) -> None:
        self._redis = None if url is None else sync_client(url)
        self.now()  # so that its own connection is counted from the beginning

    def now(self) -> Held:
        keys = [] if self._redis is None else self._redis.scan_iter("*", count=1000)
        return Held(
            memory=psutil.Process().memory_info().rss,
            blocks=sys.getallocatedblocks(),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            tasks=len(running_tasks()),
            keys=sorted(key.decode().partition("}:")[2] for key in keys),
        )

    async def when(self, is_right: Callable[[Held], bool]) -> Held:
        """What is held once it is right, or after a while: results expire, connections close."""
        deadline = trio.current_time() + SETTLED_BY
        while True:
            gc.collect()
            held = self.now()
            if is_right(held) or trio.current_time() > deadline:
                return held
            await trio.sleep(0.1)


def is_quiet(held: Held) -> bool:
    """Nothing is left of any execution or session."""
    return not any(key.partition(":")[0] in PASSING for key in held.keys)


async def give_up(runtime: AnyRuntime, session: str, patience: float = 0.0) -> None:
    """Lose patience with an execution some seconds after it began."""
    async with (
        runtime.subscribe("processor:active") as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(runtime.execute, "endless", Note(), session)
        async for event in events:
            if event.session_id == session:
                break
        await trio.sleep(patience)
        nursery.cancel_scope.cancel()


async def live(runtime: AnyRuntime, session: str) -> None:
    """A session from its first execution to its end, ``IN_SESSION`` of them."""
    for result in await runtime.execute_many("add", [Note(text=session)] * 5, session):
        result.unwrap()
    for result in await runtime.execute_many("twice", [Note()] * 4, session):
        result.unwrap()
    for name in ("careless", "flaky"):
        (await runtime.execute(name, Note(), session)).unwrap()
    (await runtime.execute("add", Note())).unwrap()
    async with runtime.lock(session):
        await give_up(runtime, session)
    handles = [await runtime.submit("endless", Note(), session) for _ in range(2)]
    await runtime.stop_session(session)
    for handle in handles:
        assert isinstance((await handle.result()).error, SessionStoppedError)
    await runtime.clean_session(session)


async def live_many(runtime: AnyRuntime, executions: int, name: str) -> None:
    """Several sessions at once; now and then the runtime is stopped and started."""
    sessions = [f"{name}-{number}" for number in range(executions // IN_SESSION)]
    for start in range(0, len(sessions), AT_ONCE):
        if start % RESTART_AFTER == 0:
            await runtime.stop()
            await runtime.start()
        async with trio.open_nursery() as nursery:
            for session in sessions[start : start + AT_ONCE]:
                nursery.start_soon(live, runtime, session)
    # Every connection is there now: the heartbeat opens its own with the first lease it renews.
    await give_up(runtime, name, CONFIG.lease / 2)
    await runtime.clean_session(name)


async def main(executions: int, url: str | None) -> dict[str, object]:
    """The figures."""
    scales = Scales(url)
    outside = scales.now()
    runtime = LocalRuntime(config=CONFIG) if url is None else QueueRuntime(url, config=CONFIG)
    async with runtime.register(*PROCESSORS):
        await live_many(runtime, WARM_UP, "warm")
        before = await scales.when(is_quiet)
        began = perf_counter()
        await live_many(runtime, executions, "real")
        seconds = perf_counter() - began
        after = await scales.when(lambda held: held.is_like(before))
    closed = await scales.when(lambda held: held[2:4] == outside[2:4])
    moments = {"outside": outside, "before": before, "after": after, "closed": closed}
    return {name: held._asdict() for name, held in moments.items()} | {"seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(trio.run(main, int(sys.argv[1]), (sys.argv[2:] or [None])[0])))
