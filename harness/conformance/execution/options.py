"""What is said of a processor besides its function: it holds, whatever kind of processor it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from am2z import (
    Context,
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
from harness.conformance._processors import Gate, Headcount, make, within
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

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
    await _look_at_limits(kit)


async def _look_at_timeouts(kit: Kit) -> None:
    """The time of a composition ends it, however long its step may take; and the other way."""
    gate = Gate("step", timeout=4 * kit.timeout)
    kinds = made(gate.processor, timeout=0.02)
    async with kit.runtime(gate.processor, *kinds.values()) as runtime:
        for name in kinds:
            with within(kit, f"the timeout of {name}"):
                result = await runtime.execute(name, TestState(count=1))
            assert isinstance(result.error, ExecutionTimeoutError), f"{name}: {result.error!r}"
            assert result.state.count == 1, name
    short = Gate("step", timeout=0.02)
    kinds = made(short.processor, timeout=4 * kit.timeout)
    async with kit.runtime(short.processor, *kinds.values()) as runtime:
        for name in kinds:
            with within(kit, f"the timeout of the step of {name}"):
                result = await runtime.execute(name, TestState(count=1))
            assert isinstance(result.error, ExecutionTimeoutError), f"{name}: {result.error!r}"


async def _look_at_retries(kit: Kit) -> None:
    """As many attempts as the policy of the composition says, times those of its step."""
    runs: list[tuple[int, str]] = []

    async def fail(state: TestState, ctx: Context) -> TestState:
        runs.append((ctx.metadata.attempt, str(state.items)))
        state.items.append("of a failed attempt")
        raise NetworkError("gone")

    def times(number: int) -> RetryPolicy:
        return RetryPolicy(max_attempts=number, backoff=0)

    for whole, part in ((2, 1), (1, 2), (2, 2), (3, 1)):
        step = make("step", fail, retry=times(part))
        kinds = made(step, retry=times(whole))
        async with kit.runtime(step, *kinds.values()) as runtime:
            for name in kinds:
                runs.clear()
                result = await runtime.execute(name, TestState(items=["given"]))
                expected = [(n + 1, "['given']") for _ in range(whole) for n in range(part)]
                assert runs == expected, f"{name}, {whole} times, of a step that is {part} times"
                assert isinstance(result.error, NetworkError)
                assert result.metadata.attempt == whole, name
                assert result.state.items == ["given"], name


async def _look_at_limits(kit: Kit) -> None:
    """No more at once than the composition may; its step's own limit is that of the step alone."""

    async def visit(state: TestState, _ctx: Context) -> TestState:
        await inside.visit()
        return state

    step = make("step", visit)
    kinds = made(step, queue=QueueOptions(concurrency=2))
    async with kit.runtime(step, *kinds.values(), config=RuntimeConfig(concurrency=20)) as runtime:
        for name in kinds:
            if name.endswith("in place"):
                inside = Headcount(2, kit.timeout)
                results = await runtime.execute_many(name, [TestState()] * 6)
                assert all(result.success for result in results), name
                assert inside.most == 2, f"{inside.most} of {name} ran at once where 2 may"
