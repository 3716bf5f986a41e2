"""What other workers do when one goes."""

from __future__ import annotations

import trio

from am2z import Capability, Context, RuntimeConfig
from harness.conformance._processors import Gate, make, within
from harness.conformance.lifecycle._shared import Crash, crash
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("LIF-012")
async def test_another_worker_does_what_a_stopping_one_could_not(kit: Kit) -> None:
    assert kit.supports(Capability.MULTI_WORKER)
    first, second = Gate("job"), Gate("job")
    config = RuntimeConfig(shutdown_grace=0)
    second.open()
    async with kit.runtime(role="client") as client:
        async with kit.runtime(first.processor, config=config, role="worker"):
            handle = await client.submit("job", TestState())
            with within(kit, "the start of an execution"):
                await first.started.wait()
        async with kit.runtime(second.processor, role="worker"):
            with within(kit, "an answer by the other worker"):
                result = await handle.result()
    assert result.success
    assert result.metadata.attempt == 1, "an orderly shutdown used up an attempt"
    await _give_back_a_caller(kit)


async def _give_back_a_caller(kit: Kit) -> None:
    """What it had called, at work or in line at another worker, goes on for its next run."""
    gate = Gate("child")

    async def ask(state: TestState, ctx: Context) -> TestState:
        done: list[TestState] = []

        async def call() -> None:
            done.append((await ctx.call("child", state)).unwrap())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)  # equal ones: which of them is the first may change
            nursery.start_soon(call)
        return state.evolve(count=sum(one.processed for one in done))

    parent = make("parent", ask)
    leaves = RuntimeConfig(shutdown_grace=0)
    async with kit.runtime(role="client") as client:
        serving = kit.runtime(gate.processor, config=RuntimeConfig(concurrency=1), role="worker")
        async with serving:
            async with kit.runtime(parent, config=leaves, role="worker"):
                handle = await client.submit("parent", TestState(), "session")
                with within(kit, "a call"):
                    await gate.started.wait()

                async def one_waits() -> bool:
                    return (await client.queue_stats())["child"].waiting == 1

                await wait_for_condition(one_waits, kit.timeout, message="the second call to wait")
            async with kit.runtime(parent, role="worker"):
                gate.open()
                with within(kit, "an answer by the other worker"):
                    result = await handle.result()
        counted = (await client.queue_stats())["child"]
    assert result.success, f"its next run found what it had called ended: {result.error!r}"
    assert (result.state.count, result.metadata.attempt) == (2, 1)
    assert not gate.was_cancelled, "what it had called was cancelled with it"
    assert len(gate.runs) == 2, "what it had called ran again"
    assert (counted.completed, counted.failed) == (2, 0)


@rule("LIF-014")
async def test_another_worker_does_what_a_broken_one_ran(kit: Kit) -> None:
    first, second = Gate("job"), Gate("job")
    config = RuntimeConfig(lease=1.0)
    second.open()
    async with kit.runtime(role="client") as client:
        try:
            async with kit.runtime(first.processor, config=config, role="worker"):
                handle = await client.submit("job", TestState())
                with within(kit, "the start of an execution"):
                    await first.started.wait()
                crash()
        except* Crash:
            pass
        async with kit.runtime(second.processor, config=config, role="worker"):
            with within(kit, "an answer by the other worker"):
                result = await handle.result()
    assert result.success, repr(result.error)
    assert [state.count for state in second.runs] == [0]
