"""Ten mistakes drawn from the promises of the documents, by somebody who had not read the suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import trio

from am2z.context import Context
from am2z.errors import ExecutionCancelledError
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.runtime import LocalRuntime
from am2z.local.sessions import SessionTable
from am2z.queue.handle import QueueHandle
from am2z.queue.payload import Job
from am2z.queue.run import Run
from am2z.queue.stream import EventReader
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.state import in_session
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@mutant("failure-shares-the-callers-lists", rule="ERR-022")
@contextmanager
def failure_shares_the_callers_lists() -> Iterator[None]:
    """The state of a failed result is no copy: its lists are those of the state that was given.

    docs/concepts.md, State: "What a processor gets is a copy, and what its caller gets back is a
    copy, in both runtimes. Changing a list inside a state touches nobody else."
    """
    original = Engine._fail

    def fail(
        self: Engine,
        execution: Execution,
        outcome: Any,
        metadata: ExecutionMetadata | None = None,
    ) -> ProcessorResult[Any]:
        result = original(self, execution, outcome, metadata)
        if outcome.partial is not None:
            return result
        request = execution.request
        given = in_session(request.state, request.session_id)
        return msgspec.structs.replace(result, state=given)

    with patch(Engine, "_fail", fail):
        yield


@mutant("answer-before-the-end-of-what-was-dropped", rule="EVT-015", base="queue")
@contextmanager
def answer_before_the_end_of_what_was_dropped() -> Iterator[None]:
    """Who asks for what was cancelled or stopped is answered before the handlers had its end.

    docs/concepts.md, Events: "When `execute` or `handle.result()` answers, the handlers of this
    runtime have had the events of that execution."
    """
    with edit(
        QueueHandle,
        "result",
        "if isinstance(ended, Finished):",
        "if isinstance(ended, Finished) and not ended.why:",
    ):
        yield


@mutant("progress-never-goes-back", rule="EXE-028")
@contextmanager
def progress_never_goes_back() -> Iterator[None]:
    """A handle tells the largest percentage of the attempt instead of the last one.

    am2z/runtime.py, ExecutionHandle.progress: "The last percentage that the processor reported in
    this attempt; 0 before the first."
    """
    with edit(
        Engine,
        "progress_from",
        "execution.progress = percent",
        "execution.progress = max(execution.progress, percent)",
    ):
        yield


@mutant("event-data-refused-while-awaited", rule="EVT-018", base="queue")
@contextmanager
def event_data_refused_while_awaited() -> Iterator[None]:
    """An event whose data cannot cross is refused to who awaits its delivery, and else lost.

    am2z/context.py, Context.emit: "Raises ... ``ValidationError`` for data that cannot cross";
    docs/concepts.md, Context: "take effect at once; awaiting them is optional".
    """
    with edit(
        Run,
        "emit_from",
        'return self._send("custom", pack_event(dict(data)), name=event)',
        """try:
        packed = pack_event(dict(data))
    except AM2ZError as error:
        refused = error

        async def refuse() -> None:
            raise refused

        return Delivery(refuse)
    return self._send("custom", packed, name=event)""",
    ):
        yield


@mutant("session-idle-from-the-start-of-its-work", rule="RES-018")
@contextmanager
def session_idle_from_the_start_of_its_work() -> Iterator[None]:
    """The end of an execution is no use of its session: idle time counts from its submission.

    docs/concepts.md, Sessions: "A session comes to be with its first execution. One that nobody
    used for `session_ttl` is stopped."
    """
    with edit(
        Engine,
        "run",
        "execution.session.last_used = trio.current_time()",
        "pass",
    ):
        yield


@mutant("timeout-over-all-attempts", rule="ERR-003", base="queue")
@contextmanager
def timeout_over_all_attempts() -> Iterator[None]:
    """The timeout runs from the start of the first attempt: the later ones get what is left of it.

    docs/concepts.md, Processors: "`timeout` is for each attempt, and counts from its start: time in
    a queue is not part of it."
    """
    original = Run._context
    begun: dict[tuple[str, str], float] = {}

    def context(self: Run, job: Job | None) -> Context:
        ctx = original(self, job)
        now = trio.current_time()
        key = (self._node.runtime_id, self.claimed.id)
        if self.claimed.attempt == 1:
            begun[key] = now
        ctx.deadline -= now - begun.get(key, now)
        return ctx

    with patch(Run, "_context", context):
        yield


@mutant("sessions-in-the-order-of-their-birth", rule="SES-016")
@contextmanager
def sessions_in_the_order_of_their_birth() -> Iterator[None]:
    """The active sessions are listed in the order in which they came to be.

    am2z/runtime.py, RuntimeCore.active_sessions: "The sessions that were created and not stopped
    since, sorted."
    """
    with edit(SessionTable, "names", "sorted(self._sessions)", "list(self._sessions)"):
        yield


@mutant("key-of-a-step-by-its-own-place-only", rule="EXE-051", base="queue")
@contextmanager
def key_of_a_step_by_its_own_place_only() -> Iterator[None]:
    """The first steps of two compositions inside a third have the same idempotency key.

    docs/guarantees.md, Effects outside: "is the same in every attempt and every delivery of an
    execution, and in no other; a step that a composition runs in place has one of its own."
    """
    with edit(Context, "step", 'path=f"{self.path}/s{label}"', 'path=f"/s{label}"'):
        yield


@mutant("dropped-without-an-error", rule="EVT-016", base="queue")
@contextmanager
def dropped_without_an_error() -> Iterator[None]:
    """The ``queue:failed`` of work that was dropped before it ran does not say why.

    docs/concepts.md, Events: "`queue:completed`, `queue:failed` | once for each execution, right
    after its end; `queue:failed` alone for work that was dropped before it ran | as above", which
    is "`execution_time`, or `error`; `attempt`".
    """
    with edit(
        EventReader,
        "_translate",
        'elif entry.why and entry.type in ("failed", "dropped"):',
        'elif entry.why and entry.type == "failed":',
    ):
        yield


@mutant("unregister-ends-what-runs", rule="REG-003")
@contextmanager
def unregister_ends_what_runs() -> Iterator[None]:
    """To take a processor away cancels what runs of it.

    am2z/runtime.py, RuntimeCore.unregister: "Forget a processor; answers whether there was one.
    What runs of it goes on."
    """
    original = LocalRuntime.unregister

    def unregister(self: LocalRuntime, name: str) -> bool:
        for execution in list(self._work.executions.values()):
            if execution.request.name == name and execution.phase == "active":
                execution.end_with(ExecutionCancelledError(f"{name!r} was unregistered"))
        return original(self, name)

    with patch(LocalRuntime, "unregister", unregister):
        yield
