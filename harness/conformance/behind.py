"""Rules about whatever a runtime is asked for: what is looked at behind every rule.

They stand in the groups of what they are about (EXE, EVT, RES). What they say is checked behind
each other rule, too, and a finding there names them; here it is asked for by itself, of work of
many kinds at once. See ``harness.audit``.
"""

from __future__ import annotations

import trio

from am2z import (
    BusinessError,
    Context,
    NetworkError,
    Processor,
    RetryPolicy,
    Runtime,
    RuntimeConfig,
    chain,
)
from harness.conformance._processors import Gate, flaky, increment, make, within
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

__all__ = [
    "test_events_say_what_results_say",
    "test_everything_in_every_result_is_true",
    "test_figures_are_what_events_told",
]


async def _refuse(state: TestState, _ctx: Context) -> TestState:
    raise BusinessError(f"no {state.count}", "NOTHING_LEFT")


async def _ask_around(state: TestState, ctx: Context) -> TestState:
    ctx.update_progress(30)
    good = await ctx.call("increment", state)
    bad = await ctx.call("refuse", good.unwrap())
    ctx.emit("ask:answered", {"failed": not bad.success})
    ctx.update_progress(90)
    return good.unwrap()


def _processors(gate: Gate) -> list[Processor[TestState]]:
    refuse = make("refuse", _refuse)
    lame = RetryPolicy(max_attempts=2, backoff=0)
    return [
        increment,
        refuse,
        make("ask_around", _ask_around),
        flaky("unsteady", [NetworkError("first"), NetworkError("second")]),
        flaky("hopeless", [NetworkError("first"), NetworkError("last")], retry=lame),
        chain("half", [increment, "unsteady", refuse]),
        gate.processor,
    ]


async def _work_of_many_kinds(kit: Kit, runtime: Runtime, gate: Gate) -> None:
    """Successes and failures, calls, steps and attempts, in sessions and in none, and cancelled."""
    names = ("increment", "refuse", "ask_around", "unsteady", "hopeless", "half", "nobody")
    for session in ("a", None):
        for name in names:
            await runtime.execute(name, TestState(count=len(name)), session)
    await runtime.execute_many([(name, TestState(count=3)) for name in names * 2], None, "b")
    held = await runtime.submit(gate.processor, TestState(), "a")
    with within(kit, "the start of an execution"):
        await gate.started.wait()
    waiting = await runtime.submit(gate.processor, TestState(), "b")
    delayed = await runtime.submit(increment, TestState(), "a", delay=3600.0)
    await waiting.cancel()
    await delayed.cancel()
    gate.open()
    async with trio.open_nursery() as nursery:
        for handle in (held, waiting, delayed) * 2:
            nursery.start_soon(handle.result)


async def _ask(kit: Kit) -> None:
    gate = Gate()
    config = RuntimeConfig(concurrency=1)
    async with kit.runtime(*_processors(gate), config=config) as runtime:
        await _work_of_many_kinds(kit, runtime, gate)


@rule("EXE-049")
async def test_everything_in_every_result_is_true(kit: Kit) -> None:
    await _ask(kit)


@rule("EVT-023")
async def test_events_say_what_results_say(kit: Kit) -> None:
    await _ask(kit)


@rule("RES-030")
async def test_figures_are_what_events_told(kit: Kit) -> None:
    await _ask(kit)
