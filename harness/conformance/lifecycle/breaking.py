"""A runtime whose block was left by an exception."""

from __future__ import annotations

import trio

from am2z import ExecutionHandle, ProcessorResult, RuntimeConfig, RuntimeStoppedError
from harness.conformance._processors import Gate, within
from harness.conformance.lifecycle._shared import Crash, crash
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("LIF-009")
async def test_an_exception_ends_the_runtime_at_once(kit: Kit) -> None:
    kit.leave_work()
    gate = Gate()
    config = RuntimeConfig(shutdown_grace=3600.0, default_timeout=3600.0)
    with within(kit, "the end of a runtime whose block failed"):
        try:
            async with kit.runtime(gate.processor, config=config) as runtime:
                await runtime.submit(gate.processor, TestState())
                await gate.started.wait()
                crash()
        except Crash:  # as it is, and in no group
            pass
    assert gate.was_cancelled


@rule("LIF-010")
async def test_a_caller_outside_is_answered_when_the_block_fails(kit: Kit) -> None:
    kit.leave_work()
    gate, answered = Gate(), trio.Event()
    results: list[ProcessorResult[TestState]] = []

    async def wait(handle: ExecutionHandle[TestState]) -> None:
        results.append(await handle.result())
        answered.set()

    async with trio.open_nursery() as outside:
        try:
            async with kit.runtime(gate.processor) as runtime:
                outside.start_soon(wait, await runtime.submit(gate.processor, TestState()))
                with within(kit, "the start of an execution"):
                    await gate.started.wait()
                crash()
        except* Crash:
            pass
        with within(kit, "an answer for the caller outside"):
            await answered.wait()
    assert isinstance(results[0].error, RuntimeStoppedError)
