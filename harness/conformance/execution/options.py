"""What is said of a processor besides its function: it holds, whatever kind of processor it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from am2z import (
    Context,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    NetworkError,
    Processor,
    QueueOptions,
    RetryPolicy,
    RuntimeConfig,
    batch,
    chain,
    parallel,
    route,
)
from harness.conformance._processors import Gate, Headcount, flaky, make, within
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

Maker = Callable[..., Processor[Any]]

MAKERS: dict[str, Maker] = {
    "chain": lambda name, step, **options: chain(name, [step], **options),
    "parallel": lambda name, step, **options: parallel(name, [step], **options),
    "route": lambda name, step, **options: route(name, lambda _: 1, {1: step}, **options),
    "fallback": lambda name, step, **options: route(
        name, lambda _: 1, {}, fallback=step, **options
    ),
    "batch": lambda name, step, **options: batch(
        name, step, split=lambda s: [s], join=lambda _, results: results[0], **options
    ),
}
"""Every kind of composition, of one step."""


def made(step: Processor[TestState], **options: Any) -> dict[str, Processor[Any]]:
    """Each kind of composition of ``step``, in place and by its name."""
    return {
        name: maker(name, ref, **options)
        for kind, maker in MAKERS.items()
        for name, ref in ((f"{kind} in place", step), (f"{kind} by name", step.name))
    }


@rule("EXE-054")
async def test_every_kind_of_composition_keeps_its_own_options(kit: Kit) -> None:
    await _look_at_timeouts(kit)
    await _look_at_retries(kit)
    await _look_at_back_offs(kit)
    await _look_at_limits(kit)


async def _look_at_timeouts(kit: Kit) -> None:
    """The time of a composition ends it, however long its step may take."""
    gate = Gate("step", timeout=4 * kit.timeout)
    kinds = made(gate.processor, timeout=0.02)
    async with kit.runtime(gate.processor, *kinds.values()) as runtime:
        for name in kit.some(list(kinds)):
            with within(kit, f"the timeout of {name}"):
                result = await runtime.execute(name, TestState(count=1))
            assert isinstance(result.error, ExecutionTimeoutError), f"{name}: {result.error!r}"
            assert result.state.count == 1, name


async def _look_at_retries(kit: Kit) -> None:
    """As many attempts as the policy of the composition says, times those of its step."""
    runs: list[tuple[int, str]] = []

    async def fail(state: TestState, ctx: Context) -> TestState:
        runs.append((ctx.metadata.attempt, str(state.items)))
        state.items.append("of a failed attempt")
        raise NetworkError("gone")

    def times(number: int) -> RetryPolicy:
        return RetryPolicy(max_attempts=number, backoff=0)

    for whole, part in ((2, 1), (1, 2), (3, 2)):
        step = make("step", fail, retry=times(part))
        kinds = made(step, retry=times(whole))
        async with kit.runtime(step, *kinds.values()) as runtime:
            for name in kit.some(list(kinds)):
                runs.clear()
                result = await runtime.execute(name, TestState(items=["given"]))
                expected = [(n + 1, "['given']") for _ in range(whole) for n in range(part)]
                assert runs == expected, f"{name}, {whole} times, of a step that is {part} times"
                assert isinstance(result.error, NetworkError)
                assert result.metadata.attempt == whole, name
                assert result.state.items == ["given"], name


async def _look_at_back_offs(kit: Kit) -> None:
    """A step that waits for its next attempt ends with the whole: by a cancel, or by its time."""
    policy = RetryPolicy(max_attempts=2, backoff=3600.0, max_backoff=3600.0)
    down = flaky("down", [NetworkError("down")], retry=policy, timeout=4000.0)
    kinds = made(down, timeout=0.05)
    async with kit.runtime(down, *kinds.values()) as runtime:
        for name in kit.some(list(kinds)):
            with within(kit, f"the timeout of {name} whose step is in its back-off"):
                result = await runtime.execute(name, TestState(count=1))
            assert isinstance(result.error, ExecutionTimeoutError), f"{name}: {result.error!r}"
    failed: list[int] = []

    async def fail(_state: TestState, ctx: Context) -> TestState:
        failed.append(ctx.metadata.attempt)
        raise NetworkError("down")

    failing = make("failing", fail, retry=policy, timeout=4000.0)
    kinds = made(failing, timeout=4000.0)
    async with kit.runtime(failing, *kinds.values()) as runtime:
        for name in kit.some(list(kinds)):
            failed.clear()
            handle = await runtime.submit(name, TestState())
            await wait_for_condition(lambda: failed == [1], kit.timeout, message="an attempt")
            with within(kit, f"the end of {name} whose step is in its back-off"):
                await handle.cancel()
                result = await handle.result()
            assert isinstance(result.error, ExecutionCancelledError), f"{name}: {result.error!r}"


async def _look_at_limits(kit: Kit) -> None:
    """No more at once than the composition may; its step's own limit is that of the step alone."""

    async def visit(state: TestState, _ctx: Context) -> TestState:
        await inside.visit()
        return state

    step = make("step", visit)
    kinds = made(step, queue=QueueOptions(concurrency=2))
    async with kit.runtime(step, *kinds.values(), config=RuntimeConfig(concurrency=20)) as runtime:
        for name in kit.some(list(kinds)):
            if name.endswith("in place"):
                inside = Headcount(2, kit.timeout)
                results = await runtime.execute_many(name, [TestState()] * 6)
                assert all(result.success for result in results), name
                assert inside.most == 2, f"{inside.most} of {name} ran at once where 2 may"
