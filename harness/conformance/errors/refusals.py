"""What is refused: a caller's mistake is raised, what any running system can meet is answered."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from am2z import (
    AM2ZError,
    AppState,
    CallDepthExceededError,
    ConfigurationError,
    Context,
    PayloadTooLargeError,
    ProcessorNotFoundError,
    ProcessorResult,
    ResourceError,
    ResourceLimits,
    Runtime,
    RuntimeConfig,
    SessionStoppedError,
    ValidationError,
)
from harness.conformance._processors import Gate, increment, make, within
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState

Ask = Callable[[Any, Any, str | None], Awaitable[Any]]

_numbers = itertools.count()


class Unlike(AppState):
    """A state, but not of the class that the processors take."""

    count: int = 0


def ways_to_ask(runtime: Runtime) -> dict[str, Ask]:
    """Every method that takes work, each with one result, or one that submits and has it."""

    async def submit(
        processor: Any, state: Any, session_id: str | None
    ) -> ProcessorResult[TestState]:
        handle = await runtime.submit(processor, state, session_id)
        return await handle.result()

    async def submit_chosen(
        processor: Any, state: Any, session_id: str | None
    ) -> ProcessorResult[TestState]:
        chosen = f"chosen-{next(_numbers)}"
        handle = await runtime.submit(processor, state, session_id, execution_id=chosen)
        return await handle.result()

    async def execute_in_session(
        processor: Any, state: Any, session_id: str | None
    ) -> ProcessorResult[TestState]:
        session_id = "any" if session_id is None else session_id
        result = await runtime.execute_in_session(processor, state, session_id)
        return cast("ProcessorResult[TestState]", result)

    async def execute_states(
        processor: Any, state: Any, session_id: str | None
    ) -> ProcessorResult[TestState]:
        [result] = await runtime.execute_many(processor, [state], session_id)
        return cast("ProcessorResult[TestState]", result)

    async def execute_pairs(
        processor: Any, state: Any, session_id: str | None
    ) -> ProcessorResult[TestState]:
        [result] = await runtime.execute_many([(processor, state)], None, session_id)
        return cast("ProcessorResult[TestState]", result)

    ways = (submit, submit_chosen, execute_in_session, execute_states, execute_pairs)
    return {"execute": runtime.execute, **{way.__name__: way for way in ways}}


_BAD_STATES: list[tuple[Any, type[AM2ZError], str]] = [
    (TestState(items=["fine", cast("str", object())]), ValidationError, "items[1]"),
    (TestState(items=["fine", cast("str", 7)]), ValidationError, "items[1]"),
    (TestState(count=cast("int", "three")), ValidationError, "count"),
    (TestState(count=2**70), ValidationError, "count"),
    ({"count": 1}, ValidationError, ""),
    (None, ValidationError, ""),
    (Unlike(count=1), ValidationError, ""),
    (TestState(message="x" * 5_000), PayloadTooLargeError, "5"),
]
"""What no processor may be given, the error, and what it must tell of the place."""

_BAD_NAMES = ("", "two\nlines", "x" * 300)


@rule("ERR-019")
async def test_a_callers_mistake_is_raised(kit: Kit) -> None:
    config = RuntimeConfig(max_payload_bytes=4_000)
    async with kit.runtime(increment, config=config) as runtime:
        for way, ask in ways_to_ask(runtime).items():
            for name in _BAD_NAMES:
                await _look_at_mistake(way, ask(name, TestState(), None), ConfigurationError)
                await _look_at_mistake(way, ask(increment, TestState(), name), ConfigurationError)
            for state, expected, place in _BAD_STATES:
                await _look_at_mistake(way, ask(increment, state, None), expected, place)
        for state, expected, place in _BAD_STATES:
            if not isinstance(state, Unlike):  # which may be stored as well as any other
                await _look_at_mistake("set", runtime.state.set("s", state), expected, place)
        assert not await runtime.state.exists("s")
        with pytest.raises(ValidationError):  # as it is, in no group
            await runtime.execute_many(increment, [TestState(), cast("TestState", None)])
        for way, ask in ways_to_ask(runtime).items():
            assert (await ask(increment, TestState(), "good")).success, way
        assert (await runtime.queue_stats())["increment"].waiting == 0
    await _look_at_mistakes_of_calls(kit)
    await _look_at_the_largest(kit)


async def _look_at_mistake(
    way: str, asking: Awaitable[object], expected: type[AM2ZError], place: str = ""
) -> None:
    with pytest.raises(AM2ZError) as raised:
        await asking
    error = raised.value
    assert isinstance(error, expected), f"{way} raises {error!r}, and no {expected.__name__}"
    assert place in str(error), f"{way} does not say where: {error}"
    if isinstance(error, ValidationError) and place:
        assert error.field == place, f"{way} names the field {error.field!r}"


async def _look_at_mistakes_of_calls(kit: Kit) -> None:
    """A processor that calls is a caller, too."""

    async def call_wrongly(state: TestState, ctx: Context) -> TestState:
        for name in _BAD_NAMES:
            await _look_at_mistake("call", ctx.call(name, state), ConfigurationError)
        for bad, expected, place in _BAD_STATES:
            await _look_at_mistake("call", ctx.call("increment", bad), expected, place)
        return (await ctx.call("increment", state)).unwrap()

    config = RuntimeConfig(max_payload_bytes=4_000)
    async with kit.runtime(make("wrong", call_wrongly), increment, config=config) as runtime:
        assert (await runtime.execute("wrong", TestState(count=1))).unwrap().count == 2


async def _look_at_the_largest(kit: Kit) -> None:
    """What has exactly ``max_payload_bytes`` is taken, wherever it goes; a byte more is not."""

    async def lengthen(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(message=state.message + "x")

    limit = 4_000
    config = RuntimeConfig(max_payload_bytes=limit)
    async with kit.runtime(increment, make("lengthen", lengthen), config=config) as runtime:
        with pytest.raises(PayloadTooLargeError) as refused:
            await runtime.state.set("s", TestState(message="x" * limit))
        context = refused.value.context
        assert context["limit"] == limit
        largest = TestState(message="x" * (2 * limit - context["size"]))
        larger = largest.evolve(message=largest.message + "x")
        await runtime.state.set("s", largest)
        await _look_at_mistake("set", runtime.state.set("s", larger), PayloadTooLargeError)
        for way, ask in ways_to_ask(runtime).items():
            assert (await ask(increment, largest, "s")).success, f"{way} refused the largest"
            await _look_at_mistake(way, ask(increment, larger, "s"), PayloadTooLargeError)
        answer = await runtime.execute("lengthen", largest, "s")
        assert isinstance(answer.error, PayloadTooLargeError), repr(answer.error)


@rule("ERR-020")
async def test_what_a_running_system_can_meet_is_answered(kit: Kit) -> None:
    gate = Gate()
    config, limits = RuntimeConfig(concurrency=1), ResourceLimits(max_queue_size=1)
    async with kit.runtime(gate.processor, config=config, limits=limits) as runtime:
        running = await runtime.submit(gate.processor, TestState(), "stopped")
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        waiting = await runtime.submit(gate.processor, TestState())
        await _look_at_answers(kit, runtime, "gate", "free", ResourceError, "queue")
        await runtime.stop_session("stopped")
        with within(kit, "an answer for what ran in a stopped session"):
            interrupted = await running.result()
        await _look_at_answers(kit, runtime, "gate", "stopped", SessionStoppedError, "stopped")
        await _look_at_answers(kit, runtime, "nobody", "free", ProcessorNotFoundError, "nobody")
        gate.open()
        assert (await waiting.result()).success
        assert await runtime.active_sessions() == [], "what was refused has opened a session"
    assert isinstance(interrupted.error, SessionStoppedError), repr(interrupted.error)
    await _look_at_answers_to_calls(kit)


async def _look_at_answers(
    kit: Kit, runtime: Runtime, name: str, session_id: str, expected: type[AM2ZError], word: str
) -> None:
    """Each way to ask gets the same answer, and what it gave."""
    given = TestState(count=7, items=["given"])
    for way, ask in ways_to_ask(runtime).items():
        with within(kit, f"an answer to {way} that says {expected.__name__}"):
            try:
                result = await ask(name, given, session_id)
            except AM2ZError as error:
                raise AssertionError(f"{way} raised what is to be answered: {error!r}") from error
        assert type(result.error) is expected, f"{way} answered {result.error!r}"
        assert word in str(result.error), f"{way} answered {result.error}"
        if isinstance(result.error, ProcessorNotFoundError):
            assert result.error.processor_name == name, way
        assert not result.success
        assert (result.state.count, result.state.items) == (7, ["given"]), way
        meta = result.metadata
        assert (meta.processor_name, meta.session_id) == (name, session_id), way
        assert meta.completed_steps == 0, way


async def _look_at_answers_to_calls(kit: Kit) -> None:
    """A call is answered as well, and who called goes on."""
    errors: list[AM2ZError | None] = []

    async def ask(state: TestState, ctx: Context) -> TestState:
        for name in ("ask",) if ctx.call_depth else ("nobody", "ask"):
            answer = await ctx.call(name, state)
            errors.append(answer.error)
            assert answer.success is (answer.error is None)
            assert (answer.state.count, answer.metadata.processor_name) == (7, name)
        return state

    async with kit.runtime(make("ask", ask), config=RuntimeConfig(max_call_depth=1)) as runtime:
        assert (await runtime.execute("ask", TestState(count=7))).success
    expected = [ProcessorNotFoundError, CallDepthExceededError, type(None)]
    assert [type(error) for error in errors] == expected, errors
