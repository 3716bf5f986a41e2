"""Locks across runtimes and processes: one holder, whatever dies, freezes or forgets."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from am2z import ConfigurationError, LockLostError, QueueRuntime, RuntimeStoppedError
from am2z.queue.keys import encode

from .apps import Board
from .conftest import ROOT, WorkerProcess, wait_until

pytestmark = pytest.mark.trio


class Holder(WorkerProcess):
    """A process that holds lock ``a``."""

    def __init__(self, url: str, namespace: str, ttl: float) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-W", "error", "-m", f"{__package__}.lock_holder"),
                *(url, namespace, str(ttl)),
            ],
            cwd=ROOT,
        )
        self.pid = self.process.pid


@pytest.fixture
def lock_holders(url: str, namespace: str, board: Board) -> Callable[..., Any]:
    @asynccontextmanager
    async def run(ttl: float) -> AsyncIterator[Holder]:
        holder = Holder(url, namespace, ttl)
        try:
            await board.see(f"holds {holder.pid}")
            yield holder
        finally:
            holder.kill()

    return run


@asynccontextmanager
async def two(make: Any) -> AsyncIterator[tuple[QueueRuntime, QueueRuntime]]:
    async with make(role="client") as one, make(role="client") as other:
        yield one, other


def in_line(eyes, name="a"):
    return eyes.redis.llen(eyes.key(f"lq:{name}"))


def lock_keys(eyes):
    return {key for key in eyes.keys("l*") if key.startswith(("lock:", "lq:", "lw:"))}


# --- one at a time, in order


async def test_counter_under_contention_of_two_runtimes_is_exact(make, eyes, board):
    counter = eyes.key("counter")
    fences = []

    async def add(runtime):
        for _ in range(10):
            async with runtime.lock("a") as lock:
                fences.append(lock.fence)
                seen = int(eyes.redis.get(counter) or 0)
                await trio.lowlevel.checkpoint()
                eyes.redis.set(counter, seen + 1)

    async with two(make) as runtimes:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for runtime in runtimes * 3:
                    nursery.start_soon(add, runtime)
        assert int(eyes.redis.get(counter)) == 60
        assert fences == sorted(set(fences))
        assert lock_keys(eyes) == set()
        eyes.redis.delete(counter)


async def test_20_waiters_of_two_runtimes_have_it_in_turn_and_at_once(make, eyes):
    turns = []

    async def wait(runtime, number):
        async with runtime.lock("a"):
            turns.append(number)

    async with two(make) as runtimes, trio.open_nursery() as nursery:
        async with runtimes[0].lock("a"):
            for number in range(20):
                nursery.start_soon(wait, runtimes[number % 2], number)
                await wait_until(lambda n=number: in_line(eyes) == n + 1)
            connections = len(eyes.redis.client_list())
            nursery.start_soon(wait, runtimes[0], 20)
            await wait_until(lambda: in_line(eyes) == 21)
            assert len(eyes.redis.client_list()) == connections
            free = trio.current_time()
        await wait_until(lambda: len(turns) == 21)
        # by polls alone it would be about half a second for each
        assert trio.current_time() - free < 2
    assert turns == list(range(21))
    assert lock_keys(eyes) == set()


async def test_nobody_overtakes_those_who_wait(make, eyes):
    """A runtime that takes the lock again and again does not starve the others."""
    async with two(make) as (one, other):
        got = trio.Event()

        async def wait():
            async with other.lock("a"):
                got.set()

        turns = 0
        async with trio.open_nursery() as nursery:
            async with one.lock("a"):
                nursery.start_soon(wait)
                await wait_until(lambda: in_line(eyes) == 1)
            while not got.is_set():
                async with one.lock("a"):
                    turns += 1
        assert turns == 1, "it was taken by who came later"


async def test_extension_keeps_a_lock_for_many_ttls(make, eyes):
    ttl = 0.25
    async with two(make) as (one, other), trio.open_nursery() as nursery:
        async with one.lock("a", ttl=ttl) as lock:
            with trio.move_on_after(4 * ttl):
                async with other.lock("a", ttl=ttl):
                    raise AssertionError("two hold one lock")
            assert eyes.redis.hget(eyes.key("lock:a"), "fence") == str(lock.fence).encode()
            assert eyes.redis.pttl(eyes.key("lock:a")) > 0
            nursery.cancel_scope.cancel()
        assert lock_keys(eyes) == set()


async def test_a_block_that_holds_the_event_loop_keeps_its_lock(make):
    async with make(role="client") as runtime, runtime.lock("a", ttl=0.3):
        time.sleep(0.7)  # noqa: ASYNC251
        for _ in range(5):
            await trio.lowlevel.checkpoint()


async def test_locks_survive_a_script_flush(make, eyes):
    async with two(make) as (one, other), trio.open_nursery() as nursery:
        fences = []

        async def wait():
            async with other.lock("a", ttl=0.3) as lock:
                eyes.redis.script_flush()
                fences.append(lock.fence)

        async with one.lock("a", ttl=0.3) as lock:
            fences.append(lock.fence)
            nursery.start_soon(wait)
            await wait_until(lambda: in_line(eyes) == 1)
            eyes.redis.script_flush()
            with trio.move_on_after(0.5):
                await trio.sleep_forever()
            eyes.redis.script_flush()
        await wait_until(lambda: len(fences) == 2)
    assert fences[0] < fences[1]


async def test_names_of_locks_may_hold_anything_printable(make, eyes):
    names = ["a:b", "{x}", "ü *", "%", "a" * 256]
    async with make(role="client") as runtime:
        for name in names:
            async with runtime.lock(name) as lock:
                assert lock.name == name
                assert eyes.redis.exists(eyes.key(f"lock:{encode(name)}"))
        with pytest.raises(ConfigurationError):
            runtime.lock("a\x00b")
    assert lock_keys(eyes) == set()


# --- holders that die, freeze or lose their lock


async def test_lock_of_a_killed_holder_goes_to_the_next_within_its_ttl(make, lock_holders, eyes):
    ttl = 0.5
    async with make(role="client") as runtime, lock_holders(ttl) as holder:
        old = int(eyes.redis.hget(eyes.key("lock:a"), "fence"))
        async with trio.open_nursery() as nursery:
            fences = []

            async def wait():
                async with runtime.lock("a") as lock:
                    fences.append(lock.fence)

            nursery.start_soon(wait)
            await wait_until(lambda: in_line(eyes) == 1)
            holder.kill()
            killed = trio.current_time()
            await wait_until(lambda: fences)
            assert trio.current_time() - killed < ttl + 1.0
        assert fences[0] > old


async def test_a_frozen_holder_is_told_when_it_comes_back(make, lock_holders, board, eyes):
    async with make(role="client") as runtime, lock_holders(0.5) as holder:
        holder.signal(signal.SIGSTOP)
        with trio.fail_after(3):
            async with runtime.lock("a"):
                holder.signal(signal.SIGCONT)
                await board.see(f"lost {holder.pid}")
                # and what it does last does not take the lock from us
                assert await holder.exit_code() == 0
                assert in_line(eyes) == 0
                assert eyes.redis.exists(eyes.key("lock:a"))


async def test_a_lock_whose_key_was_deleted_is_lost(make, eyes):
    async with make(role="client") as runtime:
        with pytest.raises(LockLostError, match="gone"), trio.fail_after(5):  # noqa: PT012
            async with runtime.lock("a", ttl=0.3):
                eyes.redis.delete(eyes.key("lock:a"))
                await trio.sleep_forever()
        with pytest.raises(LockLostError, match="gone"):
            async with runtime.lock("a"):  # lost, and its block ends before anybody notices
                eyes.redis.delete(eyes.key("lock:a"))


async def test_a_waiter_that_died_holds_up_the_others_for_a_bounded_time(make, eyes):
    async with two(make) as (one, other):
        async with one.lock("a"):
            dead = other._shards[0].node.protocol
            taken, _ = await dead.lock_acquire("a", "dead", 9.0, runtime_id="nobody", wait=0.5)
            assert not taken
            assert in_line(eyes) == 1
        free = trio.current_time()
        with trio.fail_after(3):
            async with one.lock("a"):
                assert trio.current_time() - free > 0.4, "somebody in line was overtaken"
    assert lock_keys(eyes) == set()


async def test_a_holder_that_cannot_reach_redis_loses_its_lock_in_time(make, own_server):
    ttl = 0.5
    async with make(role="client", at=own_server.url) as runtime:
        began = trio.current_time()
        with pytest.raises(LockLostError, match="could not be asked"):  # noqa: PT012
            async with runtime.lock("a", ttl=ttl):
                own_server.kill()
                try:
                    await trio.sleep_forever()
                finally:
                    assert ttl <= trio.current_time() - began + 0.05 < ttl + 1.5
                    own_server.start()
        with trio.fail_after(5):
            async with runtime.lock("a"):
                pass


async def test_a_lock_outlives_a_restart_of_redis(make, own_server):
    """It is in the append-only file, and its holder extends it when it is back."""
    async with make(role="client", at=own_server.url) as runtime, runtime.lock("a", ttl=5.0):
        own_server.kill()
        own_server.start()
        with trio.move_on_after(0.7):
            async with make(role="client", at=own_server.url) as other, other.lock("a"):
                raise AssertionError("two hold one lock")


# --- cancelled and stopped


async def test_cancelled_at_any_await_it_leaves_nothing(make, eyes):
    """Before it asked, while it asks, while it waits, while it holds, while it gives back."""
    async with two(make) as (one, other):
        for step in itertools.count(1):
            cancel = trio.CancelScope()
            async with trio.open_nursery() as nursery, one.lock("a"):
                nursery.start_soon(take, other, cancel, CancelAt(step, cancel))
                await wait_until(lambda c=cancel: in_line(eyes) == 1 or c.cancel_called)
            assert lock_keys(eyes) == set(), step
            locks = other._shards[0].locks
            left = (locks._live, locks._woken, locks._keeper._kept)
            assert not any(left), step
            if not cancel.cancel_called:
                break
        assert step > 5


async def take(runtime, scope, cancel):
    cancel.task = trio.lowlevel.current_task()
    trio.lowlevel.add_instrument(cancel)
    try:
        with scope:
            async with runtime.lock("a"):
                await trio.lowlevel.checkpoint()
    finally:
        trio.lowlevel.remove_instrument(cancel)


class CancelAt(trio.abc.Instrument):
    """Cancels a scope just before the n-th step of a task."""

    def __init__(self, step, scope):
        self.left = step
        self.scope = scope
        self.task = None

    def before_task_step(self, task):
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def test_a_cancelled_waiter_passes_its_turn_on(make, eyes):
    """It was woken, and cancelled before it could take the lock."""
    async with two(make) as (one, other), trio.open_nursery() as nursery:
        got = trio.Event()
        scope = trio.CancelScope()

        async def wait():
            async with other.lock("a"):
                got.set()

        async def impatient():
            with scope:
                async with one.lock("a"):
                    await trio.sleep_forever()

        async with one.lock("a"):
            nursery.start_soon(impatient)
            await wait_until(lambda: in_line(eyes) == 1)
            nursery.start_soon(wait)
            await wait_until(lambda: in_line(eyes) == 2)
        scope.cancel()
        with trio.fail_after(2):
            await got.wait()


async def test_a_runtime_that_stops_gives_its_locks_back(make, eyes):
    ends = []

    async def use(runtime):
        try:
            async with runtime.lock("a"):
                await trio.sleep_forever()
        except (LockLostError, RuntimeStoppedError) as error:
            ends.append(type(error))

    async with two(make) as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(use, one)
        await wait_until(lambda: eyes.redis.exists(eyes.key("lock:a")))
        nursery.start_soon(use, one)
        await wait_until(lambda: in_line(eyes) == 1)
        await one.stop()
        await wait_all_tasks_blocked()
        assert set(ends) == {LockLostError, RuntimeStoppedError}
        with trio.fail_after(1):
            async with other.lock("a"):
                pass
    assert lock_keys(eyes) == set()
    assert eyes.immortal() == set()


async def test_what_a_lock_leaves_in_redis_has_an_end(make, eyes):
    async with two(make) as (one, other), trio.open_nursery() as nursery, one.lock("a"):
        nursery.start_soon(hold, other)
        await wait_until(lambda: in_line(eyes) == 1)
        assert len(lock_keys(eyes)) == 3
        assert eyes.immortal() <= {"fence", "procs", "events"}
        nursery.cancel_scope.cancel()


async def hold(runtime):
    async with runtime.lock("a"):
        await trio.sleep_forever()
