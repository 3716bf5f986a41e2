"""The program that is run again and again, with one connection cut at another place each time.

It does everything that a runtime does, one thing after the other, so that the same commands come in
the same order. What it promises is checked here too: by what its callers got, and by what is left
in Redis when the runtime is closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio
from redis import Redis

from am2z import (
    AM2ZError,
    AppState,
    Context,
    Event,
    ExecutionCancelledError,
    LockLostError,
    NetworkError,
    ProcessorResult,
    QueueRuntime,
    RetryPolicy,
    RuntimeConfig,
    SessionStoppedError,
    processor,
)
from am2z.queue.client import sync_client
from am2z.queue.library import library
from am2z.queue.lockkeeper import LATE
from am2z.queue.stream import CATCH_UP
from harness import RedisProxy
from harness.proxy import Command

CONFIG = RuntimeConfig(lease=1.0, shutdown_grace=3.0, max_deliveries=10)
ENOUGH = 90.0
"""Seconds after which a program counts as hanging. One cut costs a lease and a bit at most."""

PERMANENT = ("st:", "s:", "sessions")
"""Keys without a time to live: what sessions committed, and their register."""
PASSING = ("q:", "procs", "events", "fence", "shards", "served:", "wake:", "r:", "in:")
"""Keys with one, that may be there for a while: results, counters, presence, events."""


class Sum(AppState):
    count: int = 0


@processor
async def add(state: Sum, ctx: Context) -> Sum:
    return state.evolve(count=state.count + 1)


@processor
async def twice(state: Sum, ctx: Context) -> Sum:
    first = (await ctx.call("add", state)).unwrap()
    return (await ctx.call("add", first)).unwrap()


@processor(retry=RetryPolicy(max_attempts=2, backoff=0.01))
async def flaky(state: Sum, ctx: Context) -> Sum:
    if ctx.metadata.attempt == 1:
        raise RuntimeError("once more, please")
    return state.evolve(count=state.count + 1)


@processor
async def tell(state: Sum, ctx: Context) -> Sum:
    await ctx.emit("sum:told", {"count": state.count})
    await ctx.update_progress(50)
    return state.evolve(count=state.count + 1)


@processor
async def endless(state: Sum, ctx: Context) -> Sum:
    await trio.sleep_forever()
    return state


@dataclass
class Program:
    """One run of it. ``problems`` says afterwards what was wrong."""

    url: str
    namespace: str
    problems: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """The steps that ended with a ``NetworkError``, as a cut connection may make it, and why."""
    commits: Counter[str] = field(default_factory=Counter)
    """How often each session was certainly written."""
    unsure: Counter[str] = field(default_factory=Counter)
    """How often each session may have been written: its caller got an error."""
    told: list[tuple[str, str]] = field(default_factory=list)
    """The types of the events that handlers got, each with the id of its execution."""
    more: trio.Event = field(default_factory=trio.Event)
    finished: bool = False

    async def run(self, proxy: RedisProxy) -> None:
        """Run it through the proxy, then look at what is left behind."""
        with trio.move_on_after(ENOUGH):
            await self._live(proxy)
            self.finished = True
        if not self.finished:
            self.problems.append(f"it was not done within {ENOUGH:g} s")
        with trio.move_on_after(2.0):
            while proxy.connections:  # noqa: ASYNC110 - a thread closes one of them
                await trio.sleep(0.002)
        if proxy.connections:
            self.problems.append(f"{proxy.connections} connections are open")
        await trio.to_thread.run_sync(self._inspect)

    async def _live(self, proxy: RedisProxy) -> None:
        runtime = QueueRuntime(proxy.url, namespace=self.namespace, config=CONFIG)
        runtime.register(add, twice, flaky, tell, endless)
        runtime.on("*", self._take)
        try:
            async with runtime:
                await self._work(runtime, proxy)
        except NetworkError as error:
            self.refused.append(("enter", str(error)))

    async def _work(self, runtime: QueueRuntime, proxy: RedisProxy) -> None:
        await self._execute(runtime, add, "plain", 1)
        await self._execute(runtime, twice, "nested", 2)
        await self._execute(runtime, flaky, "retried", 1)
        await self._execute(runtime, tell, "told", 1)
        await self._execute(runtime, add, "plain", 8, Sum(count=7))
        await self._execute(runtime, twice, None, 2)
        await self._try("update", lambda: self._update(runtime), "plain")
        await self._try("cancel", lambda: self._cancel(runtime, proxy))
        await self._try("stop", lambda: self._stop(runtime))
        await self._try("clean", lambda: runtime.clean_session("stopped"))
        await self._try("sessions", lambda: self._sessions(runtime))
        await self._try("set", lambda: runtime.state.set("dropped", Sum()))
        await self._try("delete", lambda: runtime.state.delete("dropped"))

    def _take(self, event: Event) -> None:
        self.told.append((event.type, event.execution_id))
        more, self.more = self.more, trio.Event()
        more.set()

    # --- the steps

    async def _execute(
        self,
        runtime: QueueRuntime,
        what: Any,
        session: str | None,
        expected: int,
        given: Sum | None = None,
    ) -> None:
        step = f"execute {what.name} in {session}"
        began = trio.current_time()
        result = await runtime.execute(what, given or Sum(), session)
        was_held_up = trio.current_time() - began >= CATCH_UP
        if self._failed(step, result, session):
            return
        if session is not None:
            self.commits[session] += 1
        if result.unwrap().count != expected:
            self.problems.append(f"{step} gave {result.state}, expected a count of {expected}")
        execution_id = result.metadata.execution_id
        if was_held_up:  # by cuts and a busy machine: then its caller goes on, and they come later
            await self._until(lambda: len(self._ends(execution_id)) >= 2)
        if (seen := self._ends(execution_id)) != ["processor:completed", "queue:completed"]:
            self.problems.append(f"{step}: its last events were {seen}")

    def _failed(self, step: str, result: ProcessorResult[Sum], session: str | None) -> bool:
        if result.success:
            return False
        if isinstance(result.error, NetworkError):
            self.refused.append((step, str(result.error)))
        else:
            self.problems.append(f"{step} failed: {result.error!r}")
        if session is not None:
            self.unsure[session] += 1
        return True

    def _ends(self, execution_id: str) -> list[str]:
        """Handlers know of the end before the caller does, and of one end only."""
        ends = ("processor:completed", "processor:failed", "queue:completed", "queue:failed")
        return [kind for kind, name in self.told if name == execution_id and kind in ends]

    async def _until(self, condition: Callable[[], bool]) -> None:
        with trio.move_on_after(ENOUGH / 3):
            while not condition():
                await self.more.wait()

    async def _try(
        self, step: str, work: Callable[[], Awaitable[object]], session: str | None = None
    ) -> None:
        try:
            await work()
        except NetworkError as error:
            self.refused.append((step, str(error)))
        except AM2ZError as error:
            if isinstance(error, LockLostError) and LATE in str(error):
                return  # a machine so busy that a second passed: it may, and its block was ended
            self.problems.append(f"{step} raised {error!r}")
        else:
            return
        if session is not None:
            self.unsure[session] += 1

    async def _update(self, runtime: QueueRuntime) -> None:
        state = await runtime.state.update("plain", lambda old: old.evolve(count=old.count + 100))
        self.commits["plain"] += 1
        if state.count != 108:  # type: ignore[attr-defined]
            self.problems.append(f"update gave {state}")

    async def _cancel(self, runtime: QueueRuntime, proxy: RedisProxy) -> None:
        """Cancel what runs, once its lease was renewed, and a lock was held meanwhile."""
        handle = await runtime.submit(endless, Sum(), "cancelled")
        await self._active(handle.execution_id)
        await handle.progress()
        await self._locks(runtime, proxy)
        await proxy.saw("heartbeat")
        await handle.cancel()
        self._expect("cancel", await handle.result(), ExecutionCancelledError)

    async def _locks(self, runtime: QueueRuntime, proxy: RedisProxy) -> None:
        """Hold a lock that somebody else waits for, until it was extended."""
        fences: list[int] = []
        has_it = trio.Event()

        async def hold(until: Callable[[], Awaitable[object]]) -> None:
            async with runtime.lock("ledger", ttl=1.0) as lock:
                fences.append(lock.fence)
                has_it.set()
                await until()
                if fences[-1] != lock.fence:
                    self.problems.append("two hold the lock at once")

        async def is_extended() -> None:
            await proxy.saw("lock_acquire", at=2)
            await proxy.saw("lock_extend")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._try, "lock", lambda: hold(is_extended))
            await has_it.wait()
            nursery.start_soon(self._try, "second lock", lambda: hold(trio.lowlevel.checkpoint))
        if len(fences) != 2 or fences != sorted(set(fences)):
            self.problems.append(f"the fences of the lock were {fences}")

    async def _stop(self, runtime: QueueRuntime) -> None:
        """Stop a session with one execution that runs and one that is to come later."""
        running = await runtime.submit(endless, Sum(), "stopped")
        await self._active(running.execution_id)
        later = await runtime.submit(add, Sum(), "stopped", delay=60.0)
        await runtime.stop_session("stopped")
        for handle in (running, later):
            self._expect("stop", await handle.result(), SessionStoppedError)
        refused = await runtime.execute(add, Sum(), "stopped")
        self._expect("execute in a stopped session", refused, SessionStoppedError)

    async def _sessions(self, runtime: QueueRuntime) -> None:
        expected = ["cancelled", "nested", "plain", "retried", "told"]
        if (found := await runtime.active_sessions()) != expected and not self.refused:
            self.problems.append(f"the sessions are {found}")
        stats = await runtime.stats()
        if stats.waiting or stats.active:
            self.problems.append(f"nothing is left to do, but stats say {stats}")

    def _expect(self, step: str, result: ProcessorResult[Sum], error: type[Exception]) -> None:
        if not isinstance(result.error, error | NetworkError):
            self.problems.append(f"{step} gave {result.error or result.state!r}, not {error}")

    async def _active(self, execution_id: str) -> None:
        """Wait until handlers were told that it runs."""
        while ("processor:active", execution_id) not in self.told:
            await self.more.wait()

    # --- what is left

    def _inspect(self) -> None:
        """Look past the proxy, once the runtime is closed."""
        prefix = f"{{am2z:{self.namespace}:0}}:"
        with sync_client(self.url) as redis:
            for key in redis.scan_iter(prefix + "*", count=1000):
                self._inspect_key(redis, key.decode(), key.decode().removeprefix(prefix))
            for session in sorted({*self.commits, *self.unsure}):
                version = int(redis.hget(f"{prefix}st:{session}", "v") or 0)
                least = self.commits[session]
                if not least <= version <= least + self.unsure[session]:
                    self.problems.append(f"{session}: {least} successes, and version {version}")
            ends: Counter[str] = Counter()
            for _, fields in redis.xrange(f"{prefix}events"):
                if fields[b"t"] in (b"completed", b"failed", b"dropped"):
                    ends[fields[b"i"].decode()] += 1
            if again := [name for name, times in ends.items() if times > 1]:
                self.problems.append(f"ended more than once: {again}")

    def _inspect_key(self, redis: Redis, key: str, name: str) -> None:
        if name.startswith(PERMANENT):
            return
        if not name.startswith(PASSING):
            self.problems.append(f"left behind: {name}")
        elif redis.ttl(key) == -1:
            self.problems.append(f"nothing will ever remove {name}")
        elif name.startswith("q:"):
            counts = redis.hmget(key, "waiting", "active", "delayed")
            if any(int(count or 0) for count in counts):
                self.problems.append(f"{name} counts {counts}")


def script_names() -> dict[str, str]:
    """The scripts of the queue by their SHA-1."""
    return {script.sha: name for name, script in library().items()}


def kind_of(command: Command) -> str:
    """What a command is counted as: its name; of those that block also what they wait for."""
    if command.name in ("BLPOP", "LPOP"):
        part = command.args[1].decode().partition("}:")[2].partition(":")[0]
        return f"{command.name} {part}"
    return command.name
