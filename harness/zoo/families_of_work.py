"""Whole families of ways to ask for work, each with one that is not like the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import am2z.admission
import am2z.ids
import am2z.local.engine
import am2z.local.remembered
import am2z.local.runtime
from am2z.admission import Admission
from am2z.context import Context, ThreadContext
from am2z.local.engine import Engine
from am2z.local.remembered import Remembered
from am2z.local.runtime import LocalRuntime
from am2z.processor import Processor
from am2z.queue.runtime import QueueRuntime
from am2z.runtime import RuntimeMixin
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@mutant("calls-register-what-they-call", rule="EXE-002")
@contextmanager
def calls_register_what_they_call() -> Iterator[None]:
    """ctx.call() of a processor that was never registered runs it, and registers it."""
    right = Context.call

    async def call(self: Context, processor: Any, state: Any) -> Any:
        host = self._host
        if isinstance(processor, Processor) and isinstance(host, Engine):
            host._registry.register((processor,))
        return await right(self, processor, state)

    with patch(Context, "call", call):
        yield


@mutant("refusals-share-a-state", rule="EXE-002")
@contextmanager
def refusals_share_a_state() -> Iterator[None]:
    """Work that is refused answers with its caller's own state, and not with a copy."""
    with (
        edit(am2z.admission, "refusal", "state=request.given(),", "state=request.state,"),
        patch(am2z.local.engine, "refusal", am2z.admission.refusal),
        patch(am2z.local.runtime, "refusal", am2z.admission.refusal),
    ):
        yield


@mutant("subclasses-of-a-state-refused", rule="EXE-001")
@contextmanager
def subclasses_of_a_state_refused() -> Iterator[None]:
    """A processor takes states of its own class, and none of a class below it."""
    right = "and not isinstance(state, known.state_type)"
    wrong = "and known.state_type is not AppState and type(state) is not known.state_type"
    with edit(Admission, "admit", right, wrong):
        yield


@mutant("many-forget-their-session", rule="EXE-053")
@contextmanager
def many_forget_their_session() -> Iterator[None]:
    """What submit_many() hands over is in no session."""
    right = "self.submit(processor, state, session_id)"
    with edit(RuntimeMixin, "submit_many", right, "self.submit(processor, state)"):
        yield


@mutant("many-in-reverse", rule="EXE-053")
@contextmanager
def many_in_reverse() -> Iterator[None]:
    """submit_many() hands over the last state first, and answers in that order."""
    with edit(RuntimeMixin, "submit_many", "in states]", "in [*states][::-1]]"):
        yield


@mutant("many-forget-their-session-on-a-queue", rule="EXE-053", base="queue")
@contextmanager
def many_forget_their_session_on_a_queue() -> Iterator[None]:
    """submit_many() goes to the session's shard, with work that is in no session."""
    right = "admit(processor, state, session_id)"
    with edit(QueueRuntime, "submit_many", right, "admit(processor, state, None)"):
        yield


@mutant("progress-never-falls", rule="EXE-028")
@contextmanager
def progress_never_falls() -> Iterator[None]:
    """A handle says the greatest percentage and not the last one."""
    right = "execution.progress = percent"
    wrong = "execution.progress = max(percent, execution.progress)"
    with edit(Engine, "progress_from", right, wrong):
        yield


@mutant("thread-makes-no-progress", rule="EXE-030")
@contextmanager
def thread_makes_no_progress() -> Iterator[None]:
    """What a plain function reports as its progress is dropped."""
    with patch(ThreadContext, "update_progress", lambda *_: None):
        yield


@mutant("thread-hears-of-no-mistake", rule="EXE-030")
@contextmanager
def thread_hears_of_no_mistake() -> Iterator[None]:
    """What a plain function emits under a wrong name is dropped, and not raised there."""
    right = ThreadContext.emit

    def emit(self: ThreadContext, event: str, data: Any = None) -> None:
        if event and event.isprintable():
            right(self, event, data)

    with patch(ThreadContext, "emit", emit):
        yield


@mutant("none-is-no-key", rule="EXE-031")
@contextmanager
def none_is_no_key() -> Iterator[None]:
    """A route takes a key that is empty for none at all, and its fallback."""
    init = Processor.__post_init__

    def choose_otherwise(self: Processor[Any]) -> None:
        init(self)
        if self.fn.__qualname__.startswith("route."):
            names = self.fn.__code__.co_freevars
            cells = dict(zip(names, self.fn.__closure__ or (), strict=True))
            choose, nothing = cells["choose"].cell_contents, object()
            cells["choose"].cell_contents = lambda state: choose(state) or nothing

    with patch(Processor, "__post_init__", choose_otherwise):
        yield


@mutant("cancelled-id-runs-again", rule="EXE-040")
@contextmanager
def cancelled_id_runs_again() -> Iterator[None]:
    """A chosen id is forgotten when its execution is cancelled."""
    right = "self._entries[request.execution_id] = (request, handle, expires)"
    wrong = (
        "error = handle._result.error if handle._result is not None else None\n"
        "        if getattr(error, 'code', '') != 'EXECUTION_CANCELLED':\n"
        f"            {right}"
    )
    with edit(Remembered, "ended", right, wrong):
        yield


@mutant("refused-id-is-used-up", rule="EXE-040")
@contextmanager
def refused_id_is_used_up() -> Iterator[None]:
    """A chosen id is remembered from the asking on, also where the work was refused."""
    right = "handle.resolve(refusal(request, execution))\n        return handle"
    wrong = right.replace("return", "self._remembered.keep(request, handle)\n        return")
    with edit(LocalRuntime, "_submit", right, wrong):
        yield


@mutant("own-session-counts-as-named", rule="EXE-041")
@contextmanager
def own_session_counts_as_named() -> Iterator[None]:
    """The session that an execution has for itself is taken for a named one of that id."""
    right = "if not same or earlier.is_named != request.is_named:"
    with (
        edit(am2z.admission, "check_same_work", right, "if not same:"),
        patch(am2z.local.remembered, "check_same_work", am2z.admission.check_same_work),
    ):
        yield


@mutant("chosen-ids-too-short", rule="EXE-041")
@contextmanager
def chosen_ids_too_short() -> Iterator[None]:
    """A chosen id may have 100 characters only."""
    right = "len(execution_id) <= 200"
    with (
        edit(am2z.ids, "check_execution_id", right, "len(execution_id) <= 100"),
        patch(am2z.admission, "check_execution_id", am2z.ids.check_execution_id),
    ):
        yield


@contextmanager
def _when_otherwise(right: str, wrong: str) -> Iterator[None]:
    with edit(am2z.admission, "_when", right, wrong):
        yield


@mutant("no-delay-refused", rule="EXE-043")
@contextmanager
def no_delay_refused() -> Iterator[None]:
    """A delay of 0 seconds is refused."""
    with _when_otherwise('check_duration("delay", delay, zero=True)', 'check_duration("", delay)'):
        yield


@mutant("beginning-of-time-refused", rule="EXE-043")
@contextmanager
def beginning_of_time_refused() -> Iterator[None]:
    """The time 0 is refused, though it is past as others are."""
    with _when_otherwise('check_duration("at", at, zero=True)', 'check_duration("at", at)'):
        yield


@mutant("no-delay-beside-a-time", rule="EXE-043")
@contextmanager
def no_delay_beside_a_time() -> Iterator[None]:
    """Both delay and at are taken where one of them is 0."""
    with _when_otherwise("if delay is not None and at is not None:", "if delay and at:"):
        yield


@mutant("steps-have-no-fence", rule="EXE-051")
@contextmanager
def steps_have_no_fence() -> Iterator[None]:
    """A step that runs in place has the fence 0."""
    with edit(Context, "step", "        fence=self.fence,\n", ""):
        yield
