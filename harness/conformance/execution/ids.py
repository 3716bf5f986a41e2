"""Work under an id of the caller's own."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from am2z import (
    BusinessError,
    ConfigurationError,
    Context,
    ExecutionCancelledError,
    ProcessorNotFoundError,
    RuntimeConfig,
    SessionStoppedError,
)
from harness.conformance._processors import (
    CLOCK_GRAIN,
    Gate,
    increment,
    make,
    within,
)
from harness.conformance._watching import committed
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


async def _keep(state: TestState, _ctx: Context) -> TestState:
    return state


OTHER = make("other", _keep)


@rule("EXE-040")
async def test_the_same_id_runs_once_and_answers_everybody(kit: Kit) -> None:
    async def refuse(_state: TestState, ctx: Context) -> TestState:
        refused.append(ctx.execution_id)
        raise BusinessError("no credit")

    gate, refusing, refused = Gate(), make("refusing", refuse), list[str]()
    async with kit.runtime(gate.processor, refusing) as runtime:
        for _ in range(2):
            bad = await runtime.submit(refusing, TestState(), execution_id="bill-0")
            assert isinstance((await bad.result()).error, BusinessError)
        first = await runtime.submit(gate.processor, TestState(), "s", execution_id="bill-1")
        with within(kit, "the start of the execution"):
            await gate.started.wait()
        second = await runtime.submit(gate.processor, TestState(), "s", execution_id="bill-1")
        gate.open()
        results = [await first.result(), await second.result()]
        third = await runtime.submit(gate.processor, TestState(), "s", execution_id="bill-1")
        results.append(await third.result())
        kept = await committed(runtime, "s")
    assert len(gate.runs) == 1
    held, ttl = Gate("held"), 2 * CLOCK_GRAIN
    async with kit.runtime(held.processor, config=RuntimeConfig(result_ttl=ttl)) as runtime:
        early = await runtime.submit(held.processor, TestState(), execution_id="bill-2")
        with within(kit, "the start of the execution"):
            await held.started.wait()
        await trio.sleep(3 * ttl)  # how long a result is kept says nothing while there is none
        late = await runtime.submit(held.processor, TestState(), execution_id="bill-2")
        held.open()
        await early.result()
        await late.result()  # or the word that it is forgotten by now
    assert len(held.runs) == 1, "what still ran was forgotten, and ran again"
    if kit.virtual_time:  # elsewhere nobody can tell when that time is over
        async with kit.runtime(held.processor, config=RuntimeConfig(result_ttl=10.0)) as runtime:
            for wait, runs in ((0.0, 2), (9.9, 2), (0.2, 3)):
                await trio.sleep(wait)
                handle = await runtime.submit(held.processor, TestState(), execution_id="bill-3")
                await handle.result()
                assert len(held.runs) == runs, "an id is remembered for result_ttl after its end"
    await _look_at_other_ends(kit)
    assert refused == ["bill-0"], "what has failed ran again under its id"
    assert [result.success for result in results] == [True] * 3
    assert {handle.execution_id for handle in (first, second, third)} == {"bill-1"}
    assert kept.version == 1


async def _look_at_other_ends(kit: Kit) -> None:
    """What was cancelled has ended, under its id too; what was refused has never begun."""
    gate = Gate()
    options: list[dict[str, Any]] = [{}, {"delay": 3600.0}]
    async with kit.runtime(gate.processor, increment) as runtime:
        for number, option in enumerate(options):
            one = f"cancelled-{number}"
            first = await runtime.submit(gate.processor, TestState(), execution_id=one, **option)
            other = await runtime.submit(gate.processor, TestState(), execution_id=one)
            if not option:
                with within(kit, "the start of the execution"):
                    await gate.started.wait()
            await first.cancel()
            again = await runtime.submit(gate.processor, TestState(), execution_id=one)
            with within(kit, "the answers to a cancelled id"):
                results = [await handle.result() for handle in (first, other, again)]
            errors = [type(result.error) for result in results]
            assert errors == [ExecutionCancelledError] * 3, f"with {option}: {errors}"
        assert len(gate.runs) == 1, "an id that was cancelled ran again"
        await runtime.stop_session("s")
        early = await runtime.submit(increment, TestState(), "s", execution_id="refused")
        assert isinstance((await early.result()).error, SessionStoppedError)
        nobody = await runtime.submit("nobody", TestState(), execution_id="unknown")
        assert isinstance((await nobody.result()).error, ProcessorNotFoundError)
        await runtime.clean_session("s")
        late = await runtime.submit(increment, TestState(), "s", execution_id="refused")
        assert (await late.result()).success, "an id that was refused is used up"
        runtime.register(make("nobody", _keep))
        await runtime.sync_processors()
        somebody = await runtime.submit("nobody", TestState(), execution_id="unknown")
        assert (await somebody.result()).success, "an id that was refused is used up"


@rule("EXE-041")
async def test_an_id_stands_for_one_execution_only(kit: Kit) -> None:
    async with kit.runtime(increment, OTHER) as runtime:
        await (await runtime.submit(increment, TestState(), "s", execution_id="one")).result()
        for processor, session in ((OTHER, "s"), (increment, "t"), (increment, None)):
            with pytest.raises(ConfigurationError):
                await runtime.submit(processor, TestState(), session, execution_id="one")
        await (await runtime.submit(increment, TestState(), execution_id="two")).result()
        for session in ("two", "s"):  # an execution's own session has its id, and no name
            with pytest.raises(ConfigurationError):
                await runtime.submit(increment, TestState(), session, execution_id="two")
        for illegal in ("", "a b", "a/b", "ü", "x" * 201):
            with pytest.raises(ConfigurationError):
                await runtime.submit(increment, TestState(), execution_id=illegal)
        for legal in ("0", "A.z_0-9~", "x" * 200):
            handle = await runtime.submit(increment, TestState(), execution_id=legal)
            result = await handle.result()
            assert handle.execution_id == result.metadata.execution_id == legal
            assert result.state.count == 1
