"""One attempt: what an answer means, what an exception becomes, and what passes through."""

import math
import sys
from typing import Any

import pytest
import trio

from am2z import (
    AM2ZError,
    AppState,
    BusinessError,
    ConfigurationError,
    Context,
    ExecutionCancelledError,
    ExecutionMetadata,
    Failure,
    PayloadTooLargeError,
    Processor,
    ProcessorExecutionError,
    ProcessorResult,
    StateMetadata,
    Success,
    ValidationError,
    processor,
)
from am2z.context import Delivery
from am2z.executor import Outcome, attempt, unwrapped


class Count(AppState):
    count: int = 0
    anything: Any = None


class Host:
    """A runtime that remembers what it was asked for."""

    def __init__(self) -> None:
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        self.emitter: Any = self

    async def call_from(self, ctx: Context, name: str, state: Any) -> Any:
        return (name, ctx.next_call())

    def emit_from(self, ctx: Context, event: str, data: Any) -> Delivery:
        self.emitted.append((event, data))
        return Delivery(trio.lowlevel.checkpoint)

    def progress_from(self, ctx: Context, percent: float) -> Delivery:
        return self.emit_from(ctx, "progress", {"percent": percent})


def context(what: Processor[Any], deadline: float = math.inf) -> Context:
    metadata = ExecutionMetadata(processor_name=what.name, execution_id="e", session_id="s")
    return Context(Host(), what, metadata, deadline=deadline)


def run(fn: Any, state: Count | None = None) -> Outcome[Any]:
    what = processor(name="p", state_type=Count)(fn)

    async def main() -> Outcome[Any]:
        return await attempt(what, state or Count(), context(what))

    return trio.run(main)


async def look(state: Count, ctx: Context) -> Count:
    return state.evolve(count=0 if trio.current_effective_deadline() == math.inf else 1)


async def look_and_wait(state: Count, ctx: Context) -> Count:
    await trio.lowlevel.checkpoint()
    return await look(state, ctx)


@pytest.mark.parametrize("with_greenback", [False, True])
def test_the_deadline_holds_for_all_that_can_wait(
    monkeypatch: pytest.MonkeyPatch, with_greenback: bool
) -> None:
    async def has_deadline(fn: Any) -> bool:
        what = processor(name="p")(fn)
        outcome = await attempt(what, Count(), context(what, trio.current_time() + 60))
        assert outcome.state is not None
        return bool(outcome.state.count)

    if with_greenback:  # which lets a function wait without an await
        monkeypatch.setitem(sys.modules, "greenback", sys)
    assert trio.run(has_deadline, look_and_wait)
    assert trio.run(has_deadline, look) is with_greenback


def answering(answer: Any) -> Any:
    async def fn(state: Count, ctx: Context) -> Any:
        return answer

    return fn


def raising(error: BaseException) -> Any:
    async def fn(state: Count, ctx: Context) -> Any:
        raise error

    return fn


METADATA = ExecutionMetadata(processor_name="x", execution_id="e", session_id="s")


@pytest.mark.parametrize(
    "answer",
    [
        Count(count=1),
        Success(Count(count=1)),
        ProcessorResult(success=True, state=Count(count=1), metadata=METADATA),
    ],
    ids=["state", "Success", "ProcessorResult"],
)
def test_a_state_in_any_form_is_a_success(answer: Any) -> None:
    outcome = run(answering(answer))
    assert outcome.error is None
    assert outcome.state.count == 1


@pytest.mark.parametrize(
    "fn",
    [
        answering(Failure(BusinessError("no"))),
        answering(
            ProcessorResult(
                success=False, state=Count(), error=BusinessError("no"), metadata=METADATA
            )
        ),
        raising(BusinessError("no")),
        raising(Failure(BusinessError("no"))),
        raising(ExceptionGroup("g", [ExceptionGroup("h", [BusinessError("no")])])),
        raising(ExceptionGroup("g", [Failure(Failure(BusinessError("no")))])),
    ],
    ids=["Failure", "ProcessorResult", "raise", "raise Failure", "group", "group of Failure"],
)
def test_an_error_in_any_form_is_that_error(fn: Any) -> None:
    outcome = run(fn)
    assert isinstance(outcome.error, BusinessError)
    assert outcome.state is None


@pytest.mark.parametrize("answer", [None, 5, {"count": 1}], ids=str)
def test_any_other_answer_says_what_to_return(answer: Any) -> None:
    error = run(answering(answer)).error
    assert isinstance(error, ConfigurationError)
    assert f"returned {type(answer).__name__}; return the new state" in str(error)


def test_a_foreign_error_is_told_with_the_name_of_the_processor() -> None:
    error = run(raising(KeyError("sku"))).error
    assert isinstance(error, ProcessorExecutionError)
    assert str(error) == "processor 'p': KeyError: 'sku'"
    assert error.retryable


def test_a_group_of_several_errors_stays_one_error() -> None:
    error = run(raising(ExceptionGroup("both", [KeyError("a"), ValueError("b")]))).error
    assert isinstance(error, ProcessorExecutionError)
    assert "both (2 sub-exceptions)" in str(error)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_interrupt_passes_through(grouped: bool) -> None:
    error: BaseException = KeyboardInterrupt()
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        run(raising(BaseExceptionGroup("g", [error]) if grouped else error))
    assert unwrapped(caught.value) is error


def test_a_failure_of_what_is_no_exception_is_an_error_all_the_same() -> None:
    error = run(answering(Failure("just a text"))).error  # type: ignore[arg-type]
    assert isinstance(error, AM2ZError)


# Versions


def test_the_new_state_has_a_higher_version_in_the_same_session_however_it_was_made() -> None:
    old = Count(metadata=StateMetadata(version=7, session_id="s", created_at=5.0))
    for answer in (old, Count(count=1), old.evolve().evolve()):
        got = run(answering(answer), old).state.metadata
        assert got.version > 7
        assert got.session_id == "s"
        assert got.created_at == 5.0
        assert got.last_updated >= old.metadata.last_updated


# Sealing


def test_sealing_gives_the_state_that_a_reader_gets() -> None:
    items = [1]
    outcome = run(answering(Count(anything=(items, 2))))
    data = outcome.seal(10_000)
    assert data is not None
    assert outcome.state.anything == [[1], 2]
    assert outcome.state.anything[0] is not items


@pytest.mark.parametrize(
    ("state", "limit", "error"),
    [
        (Count(anything=object()), None, ValidationError),
        (Count(count="x"), None, ValidationError),  # type: ignore[arg-type]
        (Count(anything="x" * 1000), 500, PayloadTooLargeError),
    ],
    ids=["unsendable", "unreadable", "too large"],
)
def test_what_cannot_cross_turns_a_success_into_a_failure(
    state: Count, limit: int | None, error: type[AM2ZError]
) -> None:
    outcome = run(answering(state))
    assert outcome.seal(limit) is None
    assert isinstance(outcome.error, error)
    assert outcome.state is None
    assert outcome.seal(limit) is None


def test_a_success_is_never_tried_again() -> None:
    what = processor(name="p", state_type=Count)(answering(Count()))
    assert trio.run(run(answering(Count())).next_delay, what, 1) is None


# Contexts


@processor
async def nothing(state: Count, ctx: Context) -> Count:
    return state


def test_a_context_knows_what_it_serves() -> None:
    ctx = context(nothing, deadline=9.0)
    assert (ctx.execution_id, ctx.session_id, ctx.deadline) == ("e", "s", 9.0)
    assert (ctx.idempotency_key, ctx.call_depth, ctx.fence) == ("e", 0, 0)
    assert ctx.processor is nothing
    assert ctx.log is ctx.log
    assert ctx.log.extra == {
        "processor_name": "nothing", "execution_id": "e", "session_id": "s", "attempt": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "event",
    ["processor:x", "queue:x", "session:x", "runtime:x", "metrics:x", "resource:x", "", "a\n", 5],
)
def test_the_names_of_the_runtimes_own_events_are_refused(event: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"another prefix|printable"):
        context(nothing).emit(event)


def test_event_data_is_a_mapping_or_nothing() -> None:
    ctx = context(nothing)
    ctx.emit("mine")
    ctx.emit("mine", {"a": 1})
    assert ctx.runtime.emitted == [("mine", {}), ("mine", {"a": 1})]  # type: ignore[attr-defined]
    with pytest.raises(ValidationError, match="give a dict"):
        ctx.emit("mine", [1])  # type: ignore[arg-type]


@pytest.mark.parametrize("percent", [-1, 100.5, math.nan, True, "50", None])
def test_progress_is_a_number_from_0_to_100(percent: Any) -> None:
    with pytest.raises(ValidationError, match="percent"):
        context(nothing).update_progress(percent)


@pytest.mark.trio
async def test_an_attempt_that_is_over_emits_nothing_and_calls_nobody() -> None:
    ctx = context(nothing)
    assert await ctx.call(nothing, Count()) == ("nothing", "/1-1")
    assert await ctx.call("other", Count()) == ("other", "/1-2")
    await ctx.emit("mine")
    await ctx.update_progress(0)
    ctx.end()
    await ctx.emit("mine")
    await ctx.update_progress(100)
    assert ctx.runtime.emitted == [("mine", {}), ("progress", {"percent": 0})]  # type: ignore[attr-defined]
    with pytest.raises(ExecutionCancelledError, match="do not keep a context"):
        await ctx.call(nothing, Count())
