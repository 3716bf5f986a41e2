"""Plain functions, which run in threads of their own."""

from __future__ import annotations

import logging
import threading
from typing import cast

import pytest

from am2z import (
    BusinessError,
    ConfigurationError,
    Context,
    ExecutionTimeoutError,
    ProcessorExecutionError,
    ProcessorNotFoundError,
    RuntimeConfig,
    ThreadContext,
    ValidationError,
    processor,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import increment, within
from harness.conformance._watching import recorded
from harness.kit import Kit
from harness.processors import create_error_processor
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("EXE-030")
async def test_a_plain_function_may_block_its_thread(kit: Kit) -> None:
    started, let_go = threading.Event(), threading.Event()
    known: list[tuple[str, str, int, int]] = []
    refused: list[object] = []

    @processor
    def blocking(state: TestState, given: Context) -> TestState:
        ctx = cast("ThreadContext", given)  # what a plain function is given
        started.set()
        ctx.log.warning("from a thread")
        if not let_go.wait(kit.timeout):
            raise ProcessorExecutionError("the event loop stood still while this function blocked")
        ctx.update_progress(50)
        known.append((ctx.execution_id, ctx.session_id, ctx.metadata.attempt, ctx.call_depth))
        ctx.emit("thread:told", {"by": "its own"})
        ctx.runtime.emit("thread:said", {"by": "the runtime"})
        for wrong in ("", "a\nb"):
            with pytest.raises(ConfigurationError):
                ctx.call(wrong, state)
            with pytest.raises(ConfigurationError):
                ctx.emit(wrong)
        with pytest.raises(ValidationError):
            ctx.update_progress(101)
        refused.extend((ctx.call("nobody", state).error, ctx.call(refusing, state).error))
        state = ctx.call(increment, state).unwrap()
        return ctx.call("increment", state).unwrap().evolve(message=threading.current_thread().name)

    refusing = create_error_processor("refusing", "business")
    records: list[logging.LogRecord] = []
    async with kit.runtime(blocking, increment, refusing) as runtime:
        events = TestEventCollector(runtime).start()
        with recorded(records, "am2z.processor"):
            handle = await runtime.submit(blocking, TestState(count=1))
            await wait_for_condition(started.is_set, kit.timeout, message="the thread to start")
            let_go.set()
            result = await handle.result()
        said = await events.wait_for_event("thread:said", kit.timeout)
        told = events.events("thread:told")
        moved = [event.data["percent"] for event in events.events("processor:progress")]
        events.stop()
    assert [(one.execution_id, one.data) for one in told] == [
        (result.metadata.execution_id, {"by": "its own"})
    ]
    assert moved == [50], "the progress that a thread reports"
    assert (said.execution_id, said.data) == ("", {"by": "the runtime"})
    meta = result.metadata
    logged = [getattr(record, "execution_id", None) for record in records]
    assert logged == [meta.execution_id], "what a record of a thread knows"
    assert known == [(meta.execution_id, meta.session_id, 1, 0)]
    assert [type(error) for error in refused] == [ProcessorNotFoundError, BusinessError]
    assert result.unwrap().count == 3
    assert result.state.message != threading.current_thread().name
    await _look_at_many_threads(kit)


async def _look_at_many_threads(kit: Kit) -> None:
    """As many threads run at once as the runtime has slots, though each blocks and calls."""
    size = kit.share(41)  # which is more than trio's own limit for threads
    meeting = threading.Barrier(size)

    @processor
    def meet(state: TestState, given: Context) -> TestState:
        ctx = cast("ThreadContext", given)
        if state.count == 0:
            try:
                meeting.wait(2 * kit.timeout)
            except threading.BrokenBarrierError:
                raise ProcessorExecutionError(f"{size} threads never ran at once") from None
        if ctx.call_depth == state.count < 3:
            return ctx.call("meet", state.evolve(count=state.count + 1)).unwrap()
        return state.evolve(message=f"depth {ctx.call_depth}")

    config = RuntimeConfig(concurrency=size, max_call_depth=3)
    async with kit.runtime(meet, config=config) as runtime:
        results = await runtime.execute_many(meet, [TestState()] * size)
    assert [result.unwrap().message for result in results] == ["depth 3"] * size


@rule("EXE-037")
async def test_a_blocked_thread_does_not_hold_its_caller(kit: Kit) -> None:
    let_go = threading.Event()

    @processor(timeout=0.03)
    def blocked(state: TestState, _ctx: Context) -> TestState:
        let_go.wait(2 * kit.timeout)
        return state

    async with kit.runtime(blocked) as runtime:
        try:
            with within(kit, "the timeout of a function that blocks its thread"):
                result = await runtime.execute(blocked, TestState())
        finally:
            let_go.set()
    assert isinstance(result.error, ExecutionTimeoutError), repr(result.error)
