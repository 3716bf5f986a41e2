"""Runtimes that mistake handles, cancellation, chosen ids and delays (EXE-026 …)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import trio

import am2z.admission
from am2z.admission import Admission, Request, When, refusal
from am2z.errors import AM2ZError, ExecutionCancelledError
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.handle import LocalHandle
from am2z.local.remembered import Remembered
from am2z.result import ProcessorResult
from am2z.slots import Slots
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch


@mutant("submit-bound-to-caller", rule="EXE-026")
@contextmanager
def submit_bound_to_caller() -> Iterator[None]:
    """Whoever gives up waiting for a result takes the execution along."""
    result = LocalHandle.result

    async def take_along(self: LocalHandle[Any]) -> ProcessorResult[Any]:
        try:
            return await result(self)
        except trio.Cancelled:
            if self._execution is not None:
                self._execution.end_with(ExecutionCancelledError("its submitter went away"))
            raise

    with patch(LocalHandle, "result", take_along):
        yield


@mutant("handle-answers-once", rule="EXE-026")
@contextmanager
def handle_answers_once() -> Iterator[None]:
    """The result is handed out once; who asks again waits."""
    result = LocalHandle.result
    given: set[int] = set()
    kept: list[LocalHandle[Any]] = []  # so that no other handle gets its id()

    async def once(self: LocalHandle[Any]) -> ProcessorResult[Any]:
        found = await result(self)
        if id(self) in given:
            await trio.sleep_forever()
        given.add(id(self))
        kept.append(self)
        return found

    with patch(LocalHandle, "result", once):
        yield


@mutant("cancel-is-retried", rule="EXE-027")
@contextmanager
def cancel_is_retried() -> Iterator[None]:
    """A cancelled execution is tried again where its processor has a retry policy."""
    run = Engine.run

    async def try_again(self: Engine, execution: Execution) -> ProcessorResult[Any]:
        result = await run(self, execution)
        if isinstance(execution.verdict, ExecutionCancelledError) and execution.processor.retry:
            again = self.begin(execution.request)
            if isinstance(again, Execution):
                return await run(self, again)
        return result

    with patch(Engine, "run", try_again):
        yield


@contextmanager
def _cancel_answers_only(phase: str) -> Iterator[None]:
    """``cancel()`` answers the caller of work in that phase, and leaves the work where it is."""
    cancel = LocalHandle.cancel

    async def answer(self: LocalHandle[Any]) -> None:
        execution = self._execution
        if execution is None or execution.phase != phase:
            await cancel(self)
            return
        error: AM2ZError = ExecutionCancelledError(f"execution {self.execution_id} was cancelled")
        self.resolve(refusal(execution.request, error))
        await trio.lowlevel.checkpoint()

    with patch(LocalHandle, "cancel", answer):
        yield


@mutant("cancelled-waiter-runs", rule="EXE-027")
@contextmanager
def cancelled_waiter_runs() -> Iterator[None]:
    """Work that was cancelled while it waited for a slot stays in line, and runs."""
    with _cancel_answers_only("waiting"):
        yield


@mutant("cancelled-delay-runs", rule="EXE-044")
@contextmanager
def cancelled_delay_runs() -> Iterator[None]:
    """Delayed work that was cancelled stays in the plan."""
    with _cancel_answers_only("delayed"):
        yield


@mutant("progress-never-arrives", rule="EXE-028")
@contextmanager
def progress_never_arrives() -> Iterator[None]:
    """A handle knows of no progress."""

    async def nothing(self: LocalHandle[Any]) -> float:
        await trio.lowlevel.checkpoint()
        return 0.0

    with patch(LocalHandle, "progress", nothing):
        yield


@mutant("cancelled-caller-keeps-its-place", rule="EXE-038")
@contextmanager
def cancelled_caller_keeps_its_place() -> Iterator[None]:
    """A cancelled wait stays in line, and takes a slot that it never gives back."""
    with patch(Slots, "_withdraw", lambda self, slot, *, resuming: None):
        yield


@mutant("chosen-id-runs-twice", rule="EXE-040")
@contextmanager
def chosen_id_runs_twice() -> Iterator[None]:
    """An id that the caller chose is forgotten at once."""
    with patch(Remembered, "find", lambda self, request: None):
        yield


@mutant("second-caller-waits-for-ever", rule="EXE-040")
@contextmanager
def second_caller_waits_for_ever() -> Iterator[None]:
    """Who submits under a known id gets a handle that nobody will answer."""
    find = Remembered.find

    def forget(self: Remembered, request: Request[Any]) -> LocalHandle[Any] | None:
        known = find(self, request)
        return None if known is None else LocalHandle(known.execution_id, None)

    with patch(Remembered, "find", forget):
        yield


@mutant("chosen-id-answers-for-another", rule="EXE-041")
@contextmanager
def chosen_id_answers_for_another() -> Iterator[None]:
    """A known id answers with what it stood for, whatever is asked for now."""
    with edit(Remembered, "find", "check_same_work(entry[0], request)", "pass"):
        yield


@mutant("delay-ignored", rule="EXE-042")
@contextmanager
def delay_ignored() -> Iterator[None]:
    """Delayed work begins at once."""
    admit = Admission.admit

    def forget(self: Admission, *args: Any, **options: Any) -> Request[Any]:
        request = admit(self, *args, **options)
        request.when = None
        return request

    with patch(Admission, "admit", forget):
        yield


@mutant("delay-holds-slot", rule="EXE-042")
@contextmanager
def delay_holds_slot() -> Iterator[None]:
    """Delayed work takes its slot, and then waits for its time."""
    attempts = Engine._attempts

    async def hold(self: Engine, execution: Execution) -> ProcessorResult[Any]:
        if execution.request.when is not None:
            await execution.slot.acquire()
        return await attempts(self, execution)

    with patch(Engine, "_attempts", hold):
        yield


@mutant("past-time-waits", rule="EXE-043")
@contextmanager
def past_time_waits() -> Iterator[None]:
    """Work for a time that is past waits for as long as that is ago."""
    with edit(When, "seconds", "max(0.0, self.at - wall_clock())", "abs(self.at - wall_clock())"):
        yield


@mutant("naive-time-accepted", rule="EXE-043")
@contextmanager
def naive_time_accepted() -> Iterator[None]:
    """A time without a zone is taken for one of this machine's."""
    when = am2z.admission._when

    def accept(delay: float | None, at: Any) -> When | None:
        is_naive = isinstance(at, datetime) and at.tzinfo is None
        return when(delay, at.astimezone() if is_naive else at)

    with patch(am2z.admission, "_when", accept):
        yield
