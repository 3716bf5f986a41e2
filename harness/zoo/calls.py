"""Runtimes that share states by reference, and calls that hold what others need (EXE-016 …)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import trio

import am2z.executor
from am2z.admission import Request
from am2z.context import Context, ThreadContext
from am2z.executor import Outcome
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.runtime import LocalRuntime
from am2z.queue.inbox import Inbox
from am2z.result import ProcessorResult, Success
from am2z.slots import Slot
from am2z.state import in_session
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script


def _shared(request: Request[Any]) -> Any:
    """The state with the very lists that its caller gave."""
    return in_session(request.state, request.session_id)


@mutant("deep-state-shared-by-reference", rule="EXE-016")
@contextmanager
def deep_state_shared_by_reference() -> Iterator[None]:
    """A processor gets the very lists that its caller gave."""
    with patch(Request, "given", _shared):
        yield


@mutant("result-shared-by-reference", rule="EXE-016")
@contextmanager
def result_shared_by_reference() -> Iterator[None]:
    """A caller gets the very lists that the processor returned."""
    with edit(Outcome, "seal", "self.state = decode_state(type(self.state), data)", "pass"):
        yield


@mutant("attempts-share-state", rule="EXE-017")
@contextmanager
def attempts_share_state() -> Iterator[None]:
    """The state is decoded once, and all attempts work on it."""
    given = Request.given
    decoded: dict[str, Any] = {}

    def share(self: Request[Any]) -> Any:
        if self.execution_id not in decoded:
            decoded[self.execution_id] = given(self)
        return decoded[self.execution_id]

    with patch(Request, "given", share):
        yield


@mutant("branches-share-state", rule="EXE-018")
@contextmanager
def branches_share_state() -> Iterator[None]:
    """A step that runs in place gets the state of its composition, and no copy of it."""
    with edit(am2z.executor, "_run_in_place", "copy_state(state)", "state"):
        yield


@mutant("calls-share-state", rule="EXE-019")
@contextmanager
def calls_share_state() -> Iterator[None]:
    """A child gets the very lists that its parent handed it."""
    given = Request.given

    def share(self: Request[Any]) -> Any:
        return _shared(self) if "/" in self.execution_id else given(self)

    with patch(Request, "given", share):
        yield


@mutant("version-reset", rule="EXE-020")
@contextmanager
def version_reset() -> Iterator[None]:
    """A state that a processor built from nothing begins with version 1."""
    with edit(
        am2z.executor, "_advance", "max(now.version, old.version + 1)", "max(now.version, 1)"
    ):
        yield


@mutant("version-kept", rule="EXE-020")
@contextmanager
def version_kept() -> Iterator[None]:
    """A state that a processor gave back keeps its version."""
    with edit(am2z.executor, "_advance", "old.version + 1", "old.version"):
        yield


@mutant("parent-keeps-its-slot", rule="EXE-021")
@contextmanager
def parent_keeps_its_slot() -> Iterator[None]:
    """Who waits for a call holds its slot."""

    def keep(self: Slot) -> None:
        self._calls += 1

    with patch(Slot, "lend", keep):
        yield


@mutant("parent-resumes-too-early", rule="EXE-022")
@contextmanager
def parent_resumes_too_early() -> Iterator[None]:
    """A parent takes its slot back when the first of its calls returns."""
    with patch(Slot, "is_calling", lambda self: False):
        yield


@contextmanager
def _deepest_call(change: Any) -> Iterator[None]:
    make = Engine.__init__

    def init(self: Engine, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        deepest = change(self._config.max_call_depth)
        self._config = msgspec.structs.replace(self._config, max_call_depth=deepest)

    with patch(Engine, "__init__", init):
        yield


@mutant("call-depth-unbounded", rule="EXE-023")
@contextmanager
def call_depth_unbounded() -> Iterator[None]:
    """Calls may be as deep as they like, or nearly so."""
    with _deepest_call(lambda limit: 40):
        yield


@mutant("call-depth-off-by-one", rule="EXE-023")
@contextmanager
def call_depth_off_by_one() -> Iterator[None]:
    """Calls may be one deeper than ``max_call_depth``."""
    with _deepest_call(lambda limit: limit + 1):
        yield


@mutant("child-outlives-parent", rule="EXE-024")
@contextmanager
def child_outlives_parent() -> Iterator[None]:
    """A child has its own time, whatever is left of its parent's."""
    begin = Engine.begin

    def forget(self: Engine, request: Any, *, depth: int = 0, deadline: float = 0.0) -> Any:
        return begin(self, request, depth=depth, deadline=math.inf)

    with patch(Engine, "begin", forget):
        yield


@mutant("caller-cancel-ignored", rule="EXE-025")
@contextmanager
def caller_cancel_ignored() -> Iterator[None]:
    """An execution goes on when the caller of ``execute()`` is cancelled."""

    async def execute(
        self: LocalRuntime, processor: Any, state: Any, session_id: str | None = None
    ) -> ProcessorResult[Any]:
        return await (await self.submit(processor, state, session_id)).result()

    with patch(LocalRuntime, "execute", execute):
        yield


@mutant("idempotency-key-changes-with-attempt", rule="EXE-029")
@contextmanager
def idempotency_key_changes_with_attempt() -> Iterator[None]:
    """Each attempt has an idempotency key of its own."""

    def key(self: Context) -> str:
        return f"{self.execution_id}{self.path}#{self.metadata.attempt}"

    with patch(Context, "idempotency_key", property(key)):
        yield


@mutant("fence-does-not-grow", rule="EXE-029")
@contextmanager
def fence_does_not_grow() -> Iterator[None]:
    """The second attempt has the fence of the first."""
    make = Engine._context

    def stand_still(self: Engine, execution: Execution) -> Context:
        self._fence -= execution.attempt > 1
        return make(self, execution)

    with patch(Engine, "_context", stand_still):
        yield


@mutant("def-blocks-the-loop", rule="EXE-030")
@contextmanager
def def_blocks_the_loop() -> Iterator[None]:
    """A plain ``def`` runs on the event loop."""
    call = am2z.executor._call

    async def block(processor: Any, state: Any, ctx: Context) -> Any:
        if not processor.in_thread:
            return await call(processor, state, ctx)
        nursery: Any = None  # where its calls would run, if it ever came to that
        return processor.fn(state, ThreadContext(ctx, nursery))

    with patch(am2z.executor, "_call", block):
        yield


@mutant("thread-holds-its-caller", rule="EXE-037")
@contextmanager
def thread_holds_its_caller() -> Iterator[None]:
    """A processor's thread is waited for, however long it takes."""
    right, wrong = "abandon_on_cancel=True", "abandon_on_cancel=False"
    with edit(am2z.executor, "_call_in_thread", right, wrong):
        yield


@mutant("success-not-unwrapped", rule="EXE-034")
@contextmanager
def success_not_unwrapped() -> Iterator[None]:
    """``Success(state)`` is an answer of compositions only."""
    judge = am2z.executor._judge

    def refuse(processor: Any, given: Any, answer: Any) -> Outcome[Any]:
        if isinstance(answer, Success) and processor.fn.__module__ != "am2z.compose":
            answer = object()
        return judge(processor, given, answer)

    with patch(am2z.executor, "_judge", refuse):
        yield


@mutant("none-is-success", rule="EXE-034")
@contextmanager
def none_is_success() -> Iterator[None]:
    """A processor that returns nothing has left its state as it was."""
    judge = am2z.executor._judge

    def accept(processor: Any, given: Any, answer: Any) -> Outcome[Any]:
        return judge(processor, given, given if answer is None else answer)

    with patch(am2z.executor, "_judge", accept):
        yield


@mutant("results-stay-in-the-process", rule="EXE-035", base="queue")
@contextmanager
def results_stay_in_the_process() -> Iterator[None]:
    """Only callers in the worker's own runtime are told of a result."""

    async def rest(self: Inbox) -> None:
        await trio.sleep_forever()

    with (
        script(
            "_finish",
            "do post(runtime, text) end",
            "do if runtime == job.k then post(runtime, text) end end",
        ),
        patch(Inbox, "sweep", rest),
    ):
        yield


@mutant("call-ignores-cancel-scope", rule="EXE-039")
@contextmanager
def call_ignores_cancel_scope() -> Iterator[None]:
    """A call cannot be given up: whoever made it waits for its end."""
    call = Engine.call_from

    async def insist(self: Engine, *args: Any) -> ProcessorResult[Any]:
        with trio.CancelScope(shield=True):
            result = await call(self, *args)
        return result  # noqa: RET504 - a scope may swallow, says the type checker

    with patch(Engine, "call_from", insist):
        yield
