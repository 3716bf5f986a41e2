"""Locks in one process: one holder, in order, given back however its block ends."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from am2z import (
    ConfigurationError,
    LocalRuntime,
    LockLostError,
    RuntimeNotStartedError,
    RuntimeStoppedError,
)

pytestmark = pytest.mark.trio


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before the n-th step of the task that made this."""

    def __init__(self, step: int) -> None:
        self.scope = trio.CancelScope()
        self.left = step
        self.task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


def is_empty(runtime: LocalRuntime) -> bool:
    table = runtime._lock_table
    return not (table._mutexes or table._holders or table._live)


async def test_holders_follow_each_other_in_the_order_in_which_they_came():
    seen: list[tuple[int, int]] = []
    inside = 0

    async def hold(number: int) -> None:
        nonlocal inside
        async with runtime.lock("ledger") as lock:
            inside += 1
            assert inside == 1
            await wait_all_tasks_blocked()
            seen.append((number, lock.fence))
            inside -= 1
        assert lock.name == "ledger"

    async with LocalRuntime() as runtime, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(hold, number)
            await wait_all_tasks_blocked()
    assert [number for number, _ in seen] == list(range(20))
    fences = [fence for _, fence in seen]
    assert fences == sorted(set(fences))
    assert is_empty(runtime)


async def test_a_lock_of_another_name_is_another_lock():
    async with LocalRuntime() as runtime, runtime.lock("a") as a, runtime.lock("b") as b:
        assert (a.name, b.name) == ("a", "b")
        assert a.fence != b.fence


@pytest.mark.parametrize(
    "error", [KeyError("x"), ExceptionGroup("g", [KeyError("x")]), SystemExit()]
)
async def test_a_blocks_own_exception_passes_as_it_is(error):
    async with LocalRuntime() as runtime:
        with pytest.raises(type(error)) as raised:
            async with runtime.lock("a"):
                raise error
        assert raised.value is error
        assert is_empty(runtime)


async def test_a_waiter_that_is_cancelled_leaves_the_line():
    async with LocalRuntime() as runtime, trio.open_nursery() as nursery:
        got = trio.Event()

        async def last() -> None:
            async with runtime.lock("a"):
                got.set()

        async with runtime.lock("a"):
            with trio.move_on_after(0.01) as impatient:
                async with trio.open_nursery() as waiters:
                    waiters.start_soon(hold_for_ever, runtime)
            assert impatient.cancelled_caught
            nursery.start_soon(last)
            await wait_all_tasks_blocked()
            assert not got.is_set()
        await got.wait()
    assert is_empty(runtime)


async def test_who_gave_up_waiting_does_not_take_the_next_holders_lock_away():
    entered = trio.Event()

    async def enter() -> None:
        async with runtime.lock("ledger"):
            entered.set()

    async with LocalRuntime() as runtime, trio.open_nursery() as nursery:
        waiting = trio.CancelScope()

        async def wait() -> None:
            with waiting:
                await enter()

        async with runtime.lock("ledger"):
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            waiting.cancel()  # it learns of it when the lock is free and taken again
        async with runtime.lock("ledger"):
            await wait_all_tasks_blocked()
            nursery.start_soon(enter)
            await wait_all_tasks_blocked()
            assert not entered.is_set()
        with trio.fail_after(2):
            await entered.wait()
    assert is_empty(runtime)


async def hold_for_ever(runtime: LocalRuntime) -> None:
    async with runtime.lock("a"):
        await trio.sleep_forever()


@pytest.mark.parametrize("contended", [False, True])
async def test_cancelled_at_any_await_it_leaves_nothing_behind(contended):
    async with LocalRuntime() as runtime:
        for step in range(1, 20):
            first_is_in, first_may_go = trio.Event(), trio.Event()

            async def first(is_in: trio.Event, may_go: trio.Event) -> None:
                async with runtime.lock("a"):
                    is_in.set()
                    await may_go.wait()

            async with trio.open_nursery() as nursery:
                if contended:
                    nursery.start_soon(first, first_is_in, first_may_go)
                    await first_is_in.wait()
                    nursery.start_soon(set_when_blocked, first_may_go)
                cancel = CancelAtStep(step)
                with cancel.scope:
                    trio.lowlevel.add_instrument(cancel)
                    async with runtime.lock("a"):
                        for _ in range(3):
                            await trio.lowlevel.checkpoint()
                trio.lowlevel.remove_instrument(cancel)
                first_may_go.set()
            assert is_empty(runtime)
            with trio.fail_after(1):
                async with runtime.lock("a"):
                    pass
            if not cancel.scope.cancel_called:
                assert step > 4
                return
    raise AssertionError("it never came to its end")


async def set_when_blocked(event: trio.Event) -> None:
    await wait_all_tasks_blocked()
    event.set()


async def test_a_lock_is_held_for_many_times_its_ttl(autojump_clock):
    async with LocalRuntime() as runtime, trio.open_nursery() as nursery:
        others: list[float] = []

        async def other() -> None:
            async with runtime.lock("a", ttl=1.0):
                others.append(trio.current_time())

        began = trio.current_time()
        async with runtime.lock("a", ttl=1.0):
            nursery.start_soon(other)
            await trio.sleep(3600)
            assert others == []
        await wait_all_tasks_blocked()
        assert others == [began + 3600]


async def test_a_deadline_of_trio_bounds_the_wait(autojump_clock):
    async with LocalRuntime() as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(hold_for_ever, runtime)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.TooSlowError), trio.fail_after(5) as patience:
            async with runtime.lock("a"):
                patience.deadline = math.inf
        assert trio.current_time() >= 5
        nursery.cancel_scope.cancel()
    assert is_empty(runtime)


async def test_a_runtime_that_stops_takes_its_locks_along():
    ends: dict[str, BaseException] = {}
    holds = trio.Event()

    async def hold() -> None:
        try:
            async with runtime.lock("a"):
                holds.set()
                await trio.sleep_forever()
        except LockLostError as error:
            ends["holder"] = error

    async def wait() -> None:
        await holds.wait()
        try:
            async with runtime.lock("a"):
                raise AssertionError("it was still held")
        except RuntimeStoppedError as error:
            ends["waiter"] = error

    async with LocalRuntime() as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            nursery.start_soon(wait)
            await holds.wait()
            await wait_all_tasks_blocked()
            await runtime.stop()
        assert set(ends) == {"holder", "waiter"}
        assert "the runtime stopped" in str(ends["holder"])
        with pytest.raises(RuntimeNotStartedError):
            runtime.lock("a")
        await runtime.start()
        async with runtime.lock("a") as lock:
            assert lock.fence > 1
    with pytest.raises(RuntimeNotStartedError):
        runtime.lock("a")


async def test_an_error_of_a_block_whose_lock_was_lost_says_so():
    async with LocalRuntime() as runtime:
        error = OSError("the file is closed")
        with pytest.raises(OSError, match="closed") as raised:  # noqa: PT012 - a block in a block
            async with runtime.lock("a") as lock:
                lock.lose("its key is gone")
                raise error
        assert raised.value is error
        assert error.__notes__ == ["lock 'a' had been lost by then: its key is gone"]


async def test_a_block_that_ends_just_after_its_lock_was_lost_is_told():
    async with LocalRuntime() as runtime:
        with pytest.raises(LockLostError, match=r"'a' was lost .* its key is gone"):
            async with runtime.lock("a") as lock:
                lock.lose("its key is gone")
        assert is_empty(runtime)


async def test_cancelled_from_outside_a_lost_block_is_cancelled():
    async with LocalRuntime() as runtime:
        with trio.CancelScope() as outer:
            async with runtime.lock("a") as lock:
                lock.lose("its key is gone")
                outer.cancel()
                await trio.sleep_forever()
        assert outer.cancelled_caught


async def test_a_task_that_would_wait_for_itself_is_told():
    async with LocalRuntime() as runtime, runtime.lock("a"):
        with pytest.raises(ConfigurationError, match="has lock 'a' already"):
            async with runtime.lock("a"):
                pass
        async with runtime.lock("b"):
            pass


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257, None])
async def test_names_are_checked(name):
    async with LocalRuntime() as runtime:
        with pytest.raises(ConfigurationError, match="cannot be the name of a lock"):
            runtime.lock(name)


@pytest.mark.parametrize("ttl", [0, -1, math.inf, math.nan, "1", None])
async def test_times_to_live_are_checked(ttl):
    async with LocalRuntime() as runtime:
        with pytest.raises(ConfigurationError, match="ttl is"):
            runtime.lock("a", ttl=ttl)
