"""What holds the first time, for a few or where all is quiet, and otherwise not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

import am2z.compose
import am2z.executor
from am2z.admission import Admission, runtime_stopped
from am2z.context import ThreadContext
from am2z.local.engine import Engine
from am2z.local.runtime import LocalRuntime
from am2z.runtime import RuntimeMixin
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@mutant("grace-of-the-first-stop-only", rule="LIF-007")
@contextmanager
def grace_of_the_first_stop_only() -> Iterator[None]:
    """A runtime that stops for the second time cancels what runs at once."""
    right = LocalRuntime._drain

    async def drain(self: LocalRuntime) -> None:
        if vars(self).setdefault("_has_drained", False):
            self._work.end_all()
        vars(self)["_has_drained"] = True
        await right(self)

    with patch(LocalRuntime, "_drain", drain):
        yield


@mutant("delayed-work-has-no-grace", rule="LIF-013")
@contextmanager
def delayed_work_has_no_grace() -> Iterator[None]:
    """What waits for its time or its next attempt ends with stop(), whoever waits for it."""
    right = LocalRuntime._drain

    async def drain(self: LocalRuntime) -> None:
        for execution in list(self._work.executions.values()):
            if execution.phase == "delayed":
                execution.end_with(runtime_stopped(execution.request.name))
        await right(self)

    with patch(LocalRuntime, "_drain", drain):
        yield


@mutant("own-sessions-are-counted", rule="LIF-004")
@contextmanager
def own_sessions_are_counted() -> Iterator[None]:
    """stats() counts the session of an execution that has no named one as an active one."""
    right = "active_sessions=len(self._sessions.names())"
    wrong = f"{right} + sum(not e.request.is_named for e in self._work.executions.values())"
    with edit(LocalRuntime, "stats", right, wrong):
        yield


@mutant("callers-are-not-running", rule="LIF-004")
@contextmanager
def callers_are_not_running() -> Iterator[None]:
    """What waits for others that it called does not count as running here."""
    right = 'running=phases["active"]'
    with edit(LocalRuntime, "stats", right, "running=self._work.slots.active"):
        yield


@mutant("default-timeout-bounds-all", rule="LIF-001")
@contextmanager
def default_timeout_bounds_all() -> Iterator[None]:
    """No processor may take longer than the default, whatever its own timeout is."""
    right = "(processor.timeout or self._config.default_timeout)"
    wrong = "min(processor.timeout or 1e9, self._config.default_timeout)"
    with edit(Engine, "_context", right, wrong):
        yield


@mutant("calls-have-no-default-timeout", rule="LIF-001")
@contextmanager
def calls_have_no_default_timeout() -> Iterator[None]:
    """What is called without a timeout of its own has all the time of its caller."""
    right = "(processor.timeout or self._config.default_timeout)"
    wrong = f"{right[:-1]} * (1e6 if execution.depth else 1))"
    with edit(Engine, "_context", right, wrong):
        yield


@contextmanager
def _named_otherwise(change: str) -> Iterator[None]:
    right = 'check_name(session_id, "session")\n'
    wrong = f"{right}        session_id = {change} or session_id\n"
    with edit(Admission, "admit", right, wrong):
        yield


@mutant("session-ids-stripped", rule="SES-002")
@contextmanager
def session_ids_stripped() -> Iterator[None]:
    """Spaces around a session's id are no part of it."""
    with _named_otherwise("session_id.strip()"):
        yield


@mutant("session-ids-normalised", rule="SES-002")
@contextmanager
def session_ids_normalised() -> Iterator[None]:
    """Session ids that only look the same are the same."""
    with _named_otherwise('__import__("unicodedata").normalize("NFC", session_id)'):
        yield


@mutant("stop-ends-a-hundred", rule="SES-011")
@contextmanager
def stop_ends_a_hundred() -> Iterator[None]:
    """Of the live work of a stopped session, a hundred pieces are ended."""
    with edit(LocalRuntime, "_stop_session", "in live:", "in live[:100]:"):
        yield


@mutant("clean-all-cleans-ten", rule="SES-017")
@contextmanager
def clean_all_cleans_ten() -> Iterator[None]:
    """Of the active sessions, the first ten are cleaned."""
    right = "await self.active_sessions():"
    wrong = "(await self.active_sessions())[:10]:"
    with edit(RuntimeMixin, "clean_all_sessions", right, wrong):
        yield


@mutant("calls-live-in-no-session", rule="SES-005")
@contextmanager
def calls_live_in_no_session() -> Iterator[None]:
    """The statistics of a session show what its work has called only when that has ended."""
    right = "if session is not None:\n        session.live"
    with edit(Engine, "begin", right, right.replace("None:", "None and depth == 0:")):
        yield


@mutant("threads-share-trios-limit", rule="EXE-030")
@contextmanager
def threads_share_trios_limit() -> Iterator[None]:
    """No more plain functions run at once than trio has threads for, who wait among them."""
    right = "limiter = trio.CapacityLimiter(1)"
    with edit(am2z.executor, "_call_in_thread", right, "limiter = None"):
        yield


@mutant("thread-calls-have-no-depth", rule="EXE-030")
@contextmanager
def thread_calls_have_no_depth() -> Iterator[None]:
    """What a plain function calls is always one deep, however deep its caller is."""
    right = ThreadContext._call

    async def call(self: ThreadContext, processor: Any, state: Any) -> Any:
        self._ctx.call_depth = 0
        return await right(self, processor, state)

    with patch(ThreadContext, "_call", call):
        yield


@mutant("thread-logs-name-no-execution", rule="EXE-030")
@contextmanager
def thread_logs_name_no_execution() -> Iterator[None]:
    """A plain function logs to a logger that knows nothing of its execution."""
    right = ThreadContext.__getattr__

    def find(self: ThreadContext, name: str) -> Any:
        return logging.getLogger("am2z.processor") if name == "log" else right(self, name)

    with patch(ThreadContext, "__getattr__", find):
        yield


@mutant("work-beyond-a-hundred-is-dropped", rule="EXE-055")
@contextmanager
def work_beyond_a_hundred_is_dropped() -> Iterator[None]:
    """A composition does the first hundred of its items and leaves the others out."""
    right = am2z.compose._run_all

    def run(ctx: Any, work: Any) -> Any:
        return right(ctx, work[:100])

    with patch(am2z.compose, "_run_all", run):
        yield


@mutant("steps-keep-the-class-of-the-input", rule="EXE-055")
@contextmanager
def steps_keep_the_class_of_the_input() -> Iterator[None]:
    """What a step makes is read as a state of the class that the step was given."""
    right = am2z.compose.run_step

    async def run(ctx: Any, step: Any, state: Any, label: str) -> Any:
        result = await right(ctx, step, state, label)
        fields = {name: getattr(result.state, name, None) for name in state.__struct_fields__}
        return msgspec.structs.replace(result, state=type(state)(**fields))

    with patch(am2z.compose, "run_step", run):
        yield


@mutant("steps-wait-out-their-back-off", rule="EXE-054")
@contextmanager
def steps_wait_out_their_back_off() -> Iterator[None]:
    """A step that waits for its next attempt waits on, though the whole was cancelled."""
    right = "        await trio.sleep(delay)"
    wrong = "        with trio.CancelScope(shield=True):\n            await trio.sleep(delay)"
    with edit(am2z.executor, "_run_in_place", right, wrong):
        yield


@mutant("steps-give-up-before-the-time", rule="EXE-054")
@contextmanager
def steps_give_up_before_the_time() -> Iterator[None]:
    """A step whose next attempt would come too late fails at once, with time left."""
    right = "        await trio.sleep(delay)"
    wrong = (
        "        if trio.current_time() + delay > ctx.deadline:\n"
        f"            return to_result(outcome, state, inner.metadata)\n{right}"
    )
    with edit(am2z.executor, "_run_in_place", right, wrong):
        yield
