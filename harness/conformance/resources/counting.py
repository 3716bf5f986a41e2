"""The figures of queues and sessions."""

from __future__ import annotations

from am2z import (
    BusinessError,
    Context,
    NetworkError,
    QueueStats,
    RetryPolicy,
    Runtime,
)
from harness.conformance._processors import Gate, flaky, increment, make
from harness.conformance._watching import monitor_of
from harness.conformance.resources._shared import ONE_AT_A_TIME
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


async def _refuse(_state: TestState, _ctx: Context) -> TestState:
    raise BusinessError("refused")


refuse = make("refuse", _refuse)


_KINDS = ("waiting", "active", "completed")


@rule("RES-014")
async def test_waiting_and_active_work_is_counted_while_it_waits_and_runs(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor, increment, config=ONE_AT_A_TIME) as runtime:
        handles = [await runtime.submit(gate.processor, TestState(), "a")]
        await gate.started.wait()
        handles += [await runtime.submit(gate.processor, TestState(), "a") for _ in range(2)]
        during = await runtime.queue_stats()
        of_session = await runtime.session_stats("a")
        total = await runtime.stats()
        await wait_for_condition(
            lambda: _largest_queue(runtime) == ("gate", 2), message="the monitor to know of it"
        )
        gate.open()
        for handle in handles:
            await handle.result()
        after = await runtime.queue_stats()
        total_after = await runtime.stats()
    assert during["gate"] == of_session["gate"] == QueueStats(waiting=2, active=1)
    assert during["increment"] == QueueStats()
    assert (total.waiting, total.active, total.completed) == (2, 1, 0)
    assert after["gate"] == QueueStats(completed=3)
    assert (total_after.waiting, total_after.active, total_after.completed) == (0, 0, 3)
    async with kit.runtime(gate.processor) as runtime:  # each is counted as soon as it is accepted
        for number in range(1, 9):
            handles.append(await runtime.submit(gate.processor, TestState(), "a"))
            one, same = (await runtime.queue_stats())["gate"], await runtime.session_stats("a")
            counted = one.waiting + one.active + one.completed
            assert counted >= number, f"{one} after {number} were submitted"
            assert sum(getattr(same["gate"], kind) for kind in _KINDS) >= number, same
        for handle in handles[3:]:
            await handle.result()


def _largest_queue(runtime: Runtime) -> tuple[str, int] | None:
    largest = monitor_of(runtime).resource_stats().queues.largest_queue
    return None if largest is None else (largest.name, largest.size)


@rule("RES-015")
async def test_execution_in_its_back_off_is_counted_as_delayed(kit: Kit) -> None:
    policy = RetryPolicy(max_attempts=2, backoff=3600.0, max_backoff=3600.0)
    down = flaky("down", [NetworkError("down")], retry=policy)

    async def is_delayed() -> bool:
        return (await runtime.queue_stats())["down"] == QueueStats(delayed=1)

    async with kit.runtime(down) as runtime:
        handle = await runtime.submit(down, TestState(), "s")
        await wait_for_condition(is_delayed, message="one delayed execution and nothing else")
        assert await runtime.session_stats("s") == {"down": QueueStats(delayed=1)}
        await handle.cancel()
        after = (await runtime.queue_stats())["down"]
    assert (after.waiting, after.active, after.delayed, after.completed) == (0, 0, 0, 0)


@rule("RES-016")
async def test_execution_is_counted_once_however_many_attempts_it_took(kit: Kit) -> None:
    errors = [NetworkError("down")] * 2
    good = flaky("good", errors)
    bad = flaky("bad", errors, retry=RetryPolicy(max_attempts=2, backoff=0))
    async with kit.runtime(good, bad, refuse) as runtime:
        await runtime.execute_many([(one, TestState()) for one in (good, bad, refuse) * 2])
        queues = await runtime.queue_stats()
        total = await runtime.stats()
    assert queues["good"] == QueueStats(completed=2)
    assert queues["bad"] == queues["refuse"] == QueueStats(failed=2)
    assert (total.completed, total.failed, total.active, total.waiting) == (2, 4, 0, 0)
