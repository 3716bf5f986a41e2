"""What broke other systems of this kind, asked of any runtime: ``docs/faults.md`` has the cases."""

from __future__ import annotations

import trio

from am2z import ProcessorResult, QueueOptions, ResourceLimits, RuntimeConfig
from harness.conformance._processors import Gate, increment, within
from harness.conformance._watching import monitor_of
from harness.conformance.execution._shared import ONE_SLOT
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

CALLERS, CONNECTIONS = 100, 16
STEPS = range(0, 48, 2)


@rule("EXE-046")
async def test_many_callers_wait_over_few_connections(kit: Kit) -> None:
    gate, answers = Gate(), list[ProcessorResult[TestState]]()
    limits = ResourceLimits(max_connections=CONNECTIONS)
    async with kit.runtime(
        gate.processor, config=RuntimeConfig(concurrency=8), limits=limits
    ) as runtime:

        async def ask(number: int) -> None:
            answers.append(await runtime.execute(gate.processor, TestState(count=number)))

        async def all_wait() -> bool:
            stats = (await runtime.queue_stats())["gate"]
            return stats.waiting + stats.active == CALLERS

        async with trio.open_nursery() as callers:
            for number in range(CALLERS):
                callers.start_soon(ask, number)
            await wait_for_condition(all_wait, kit.timeout, message="all callers to wait")
            connections = monitor_of(runtime).resource_stats().connections.active
            gate.open()
            with trio.move_on_after(kit.limit / 2) as patience:  # slow is no fault, to hang is one
                await wait_for_condition(lambda: len(answers) == CALLERS, kit.limit)
            callers.cancel_scope.cancel()
    assert not patience.cancelled_caught, f"{len(answers)} of {CALLERS} callers were answered"
    assert connections <= CONNECTIONS, f"{CALLERS} callers wait over {connections} connections"
    assert all(answer.success for answer in answers)
    assert {answer.state.count for answer in answers} == set(range(CALLERS))


@rule("EXE-047")
async def test_a_cancelled_caller_takes_nobody_elses_answer_along(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        for steps in STEPS:
            async with trio.open_nursery() as caller:
                caller.start_soon(runtime.execute, increment, TestState(count=steps))
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                caller.cancel_scope.cancel()
            with within(kit, "an answer for the caller after a cancelled one"):
                result = await runtime.execute(increment, TestState(count=1000 + steps))
            assert result.success, f"cancelled after {steps} steps: {result.error!r}"
            assert result.state.count == 1001 + steps, f"cancelled after {steps} steps"


@rule("EXE-048")
async def test_a_busy_worker_keeps_no_work_from_one_that_is_free(kit: Kit) -> None:
    one = QueueOptions(concurrency=1)  # in each worker, not in all of them together
    busy, free = Gate("job", queue=one), Gate("job", queue=one)
    free.open()
    async with (
        kit.runtime(role="client") as client,
        kit.runtime(busy.processor, config=ONE_SLOT, role="worker"),
    ):
        first = await client.submit("job", TestState(count=1))
        with within(kit, "the start of an execution"):
            await busy.started.wait()
        waiting = [await client.submit("job", TestState(count=n)) for n in (2, 3, 4)]
        async with kit.runtime(free.processor, config=ONE_SLOT, role="worker"):
            with within(kit, "work that a busy worker has no slot for, done by a free one"):
                results = [await handle.result() for handle in waiting]
        busy.open()
        with within(kit, "the end of the first execution"):
            results.append(await first.result())
    assert all(result.success for result in results)
    assert [state.count for state in busy.runs] == [1]
    assert [state.count for state in free.runs] == [2, 3, 4]
