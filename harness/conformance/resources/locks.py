"""RES, the rules about locks: one holder at a time, in order, and nobody keeps one for ever."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from am2z import (
    ConfigurationError,
    LockLostError,
    Runtime,
    RuntimeNotStartedError,
    RuntimeStoppedError,
)
from harness.conformance._processors import CLOCK_GRAIN, within
from harness.kit import Kit
from harness.rules import rule
from harness.waiting import wait_for_condition

__all__ = [
    "test_lock_has_one_holder_and_a_greater_fence_each_time",
    "test_lock_is_free_after_its_block_however_that_ended",
    "test_lock_is_held_for_longer_than_its_ttl",
    "test_lock_is_lost_with_its_runtime",
    "test_who_waits_for_a_lock_has_it_in_turn",
]


class _Line:
    """Tasks that wait for one lock, each certainly after the one before it."""

    def __init__(self, runtime: Runtime, nursery: trio.Nursery) -> None:
        self.turns: list[int] = []
        self._runtime = runtime
        self._nursery = nursery

    async def join(self, number: int) -> trio.CancelScope:
        """Begin to wait; the scope that ends the wait."""
        scope = trio.CancelScope()
        self._nursery.start_soon(self._wait, number, scope)
        # Nothing says when a request has reached its server: one that is sent later is answered
        # later, and the answer to a free lock is its block.
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with self._runtime.lock(f"after {number}"):
            return scope

    async def _wait(self, number: int, scope: trio.CancelScope) -> None:
        with scope:
            async with self._runtime.lock("ledger"):
                self.turns.append(number)


@rule("RES-023")
async def test_lock_has_one_holder_and_a_greater_fence_each_time(kit: Kit) -> None:
    fences: list[int] = []
    total = 0

    async def add() -> None:
        nonlocal total
        async with runtime.lock("ledger") as lock:
            assert lock.name == "ledger"
            fences.append(lock.fence)
            seen = total
            await trio.sleep(0.001)
            total = seen + 1

    async def add_often() -> None:
        for _ in range(5):
            try:
                await add()
            except LockLostError as error:
                raise AssertionError("a lock went to another one while it was held") from error

    async def other_names() -> None:
        try:
            async with runtime.lock("another") as other, runtime.lock("ledger") as first:
                assert (other.name, first.name) == ("another", "ledger")
                fences.append(first.fence)
        except ConfigurationError as error:
            raise AssertionError("the lock of one name is that of another") from error

    async with kit.runtime() as runtime:
        with within(kit, "two locks of different names at the same time"):
            await other_names()
        with within(kit, "20 turns of four tasks"):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(add_often)
    assert total == 20, "two blocks that hold one lock have overlapped"
    assert fences == sorted(set(fences)), "a later holder has no greater fence"
    await _take_similar_names(kit)


SIMILAR = ("a", "A", " a", "a ", "a:b", "a/b", "a%3Ab", "a{b}", "*", "\xe4", "a\u0308", "0", "00")
"""Names that somebody may take for one and the same."""


async def _take_similar_names(kit: Kit) -> None:
    async with kit.runtime() as runtime:
        with within(kit, f"a lock of each name of {SIMILAR}"):
            async with AsyncExitStack() as locks:
                for name in SIMILAR:
                    lock = await locks.enter_async_context(runtime.lock(name))
                    assert lock.name == name


@rule("RES-024")
async def test_who_waits_for_a_lock_has_it_in_turn(kit: Kit) -> None:
    async with kit.runtime() as runtime, trio.open_nursery() as nursery:
        line = _Line(runtime, nursery)
        async with runtime.lock("ledger"):
            scopes = [await line.join(number) for number in range(6)]
            scopes[0].cancel()
            scopes[3].cancel()
            await wait_for_condition(
                lambda: scopes[0].cancelled_caught and scopes[3].cancelled_caught,
                message="cancelled waiters to go",
            )
            assert line.turns == [], "two hold one lock"
        with within(kit, "the turn of everybody who waits"):
            await wait_for_condition(lambda: len(line.turns) == 4, message="four turns")
    assert line.turns == [1, 2, 4, 5]
    await _ask_again(kit)


async def _ask_again(kit: Kit) -> None:
    """A task that gave up a lock, while it waited or while it had it, may ask for it again."""
    async with kit.runtime() as runtime, trio.open_nursery() as nursery:
        held, let_go = trio.Event(), trio.Event()

        async def hold() -> None:
            async with runtime.lock("ledger"):
                held.set()
                await let_go.wait()

        nursery.start_soon(hold)
        with within(kit, "a lock that is free"):
            await held.wait()
        with trio.move_on_after(CLOCK_GRAIN):
            async with runtime.lock("ledger"):
                raise AssertionError("two hold one lock")
        let_go.set()
        with within(kit, "a lock that was given up once, and is free now"):
            async with runtime.lock("ledger"):
                pass


@rule("RES-025")
async def test_lock_is_free_after_its_block_however_that_ended(kit: Kit) -> None:
    error = ExceptionGroup("mine", [KeyError("x")])
    async with kit.runtime() as runtime:
        with pytest.raises(ExceptionGroup) as raised:
            async with runtime.lock("a"):
                raise error
        assert raised.value is error, "a block's own exception has to pass as it is"
        with within(kit, "the lock to be free after an exception"), trio.CancelScope() as scope:
            async with runtime.lock("a"):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        with within(kit, "the lock to be free after it was cancelled"):
            async with runtime.lock("a"):
                for _ in range(2):  # also when another one was taken and given back
                    with pytest.raises(ConfigurationError):
                        async with runtime.lock("a"):
                            raise AssertionError("one task holds one lock twice")
                    async with runtime.lock("b"):
                        pass
        async with runtime.lock("x" * 256, ttl=0.5) as longest:
            assert longest.name == "x" * 256
        for name, ttl in (("", 1.0), ("a\nb", 1.0), ("x" * 257, 1.0), ("a", 0.0), ("a", -1.0)):
            with pytest.raises(ConfigurationError):
                runtime.lock(name, ttl=ttl)


@rule("RES-026")
async def test_lock_is_held_for_longer_than_its_ttl(kit: Kit) -> None:
    ttl = 0.4
    async with kit.runtime() as runtime:
        while not await _outlive(runtime, ttl):
            ttl *= 4


async def _outlive(runtime: Runtime, ttl: float) -> bool:
    """Hold a lock for longer than its ``ttl``; whether the machine allowed to keep it so long."""
    took = stall = 0.0
    was_lost = False
    soon, late, is_less = trio.Event(), trio.Event(), trio.Event()

    async def wait() -> None:
        nonlocal took
        async with runtime.lock("a", ttl=ttl):
            took = trio.current_time() - began

    async def hold(name: str, end: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        """Another lock of this runtime, taken before or after, let go sooner or later."""
        async with runtime.lock(name, ttl=ttl):
            task_status.started()
            await end.wait()
        if end is soon:
            is_less.set()

    async def watch() -> None:
        nonlocal stall
        while True:
            before = trio.current_time()
            try:
                await trio.sleep(ttl / 8)
            finally:  # the lock may have been lost in this very pause
                stall = max(stall, trio.current_time() - before - ttl / 8)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await nursery.start(hold, "before", soon)
            async with runtime.lock("a", ttl=ttl):
                began = trio.current_time()
                await nursery.start(hold, "after", late)
                soon.set()
                await is_less.wait()
                nursery.start_soon(wait)
                await trio.sleep(2.5 * ttl)
                assert took == 0.0, "two hold one lock"
                late.set()
            await wait_for_condition(lambda: took > 0, message="the next holder")
            nursery.cancel_scope.cancel()
    except* LockLostError:
        if stall < ttl / 3:  # else this process stood still when it should have extended it
            raise
        was_lost = True
    assert was_lost or took >= 2.5 * ttl
    return not was_lost


@rule("RES-027")
async def test_lock_is_lost_with_its_runtime(kit: Kit) -> None:
    ends: list[BaseException] = []
    fences: list[int] = []
    holds = trio.Event()

    async def hold() -> None:
        try:
            async with runtime.lock("a") as lock:
                fences.append(lock.fence)
                holds.set()
                await trio.sleep_forever()
        except LockLostError as error:
            ends.append(error)

    async def wait() -> None:
        try:
            async with runtime.lock("a"):
                raise AssertionError("two hold one lock")
        except RuntimeStoppedError as error:
            ends.append(error)

    async with kit.runtime() as runtime:
        with within(kit, "the end of everybody who holds or awaits a lock of a stopped runtime"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hold)
                await holds.wait()
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.01)
                await runtime.stop()
        assert {type(error) for error in ends} == {LockLostError, RuntimeStoppedError}
        with pytest.raises(RuntimeNotStartedError):
            async with runtime.lock("a"):
                raise AssertionError("a stopped runtime has no locks")
        await runtime.start()
        with within(kit, "the lock to be free after a restart"):
            async with runtime.lock("a") as lock:
                fences.append(lock.fence)
        assert fences[1] > fences[0], "a later holder has no greater fence"
