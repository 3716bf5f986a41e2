"""The ten after those of ``unseen``, of which the suite killed five.

They are kept as they were; ``docs/kill-matrix.md`` tells what they showed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from am2z import compose
from am2z.admission import Admission
from am2z.local.handle import LocalHandle
from am2z.local.runtime import LocalRuntime
from am2z.policy import RetryPolicy
from am2z.queue.payload import Ending
from am2z.queue.run import Run
from am2z.queue.stream import EventReader
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script


@mutant("on-retry-told-the-next-attempt", rule="ERR-016")
@contextmanager
def on_retry_told_the_next_attempt() -> Iterator[None]:
    """on_retry gets the number of the attempt that comes, not of the one that failed."""
    right = "call_hook(self.on_retry, error, attempt)"
    with edit(RetryPolicy, "next_delay", right, "call_hook(self.on_retry, error, attempt + 1)"):
        yield


@mutant("nested-call-opens-a-session", rule="SES-015")
@contextmanager
def nested_call_opens_a_session() -> Iterator[None]:
    """What an execution without a session calls is in a session that everybody sees."""
    with edit(Admission, "admit_child", "request.is_named = is_named", "request.is_named = True"):
        yield


@mutant("cancel-returns-at-once", rule="RES-015")
@contextmanager
def cancel_returns_at_once() -> Iterator[None]:
    """A handle's cancel() asks for the end, and does not wait for it."""
    with edit(LocalHandle, "cancel", "    await self._done.wait()\n", ""):
        yield


@mutant("route-chooses-on-the-state-itself", rule="EXE-031")
@contextmanager
def route_chooses_on_the_state_itself() -> Iterator[None]:
    """What a route's choose() does to a list is done to the state that goes on."""
    right = compose.copy_state

    def copy(state: Any) -> Any:
        return state if sys._getframe(1).f_code.co_qualname.startswith("route.") else right(state)

    with patch(compose, "copy_state", copy):
        yield


@mutant("unregistered-processors-lose-their-figures", rule="REG-003")
@contextmanager
def unregistered_processors_lose_their_figures() -> Iterator[None]:
    """queue_stats() shows only processors that are registered now."""
    right = "{*self._registry.names(), *self._work.completed, *self._work.failed, *live}"
    with edit(LocalRuntime, "queue_stats", right, "{*self._registry.names()}"):
        yield


@mutant("retrying-does-not-say-when", rule="EVT-020", base="queue")
@contextmanager
def retrying_does_not_say_when() -> Iterator[None]:
    """The event of a retry does not tell how long the wait before it is."""
    right = "pack_failure(outcome.error, delay=delay)"
    with edit(Run, "_end", right, "pack_failure(outcome.error)"):
        yield


@mutant("cancelled-work-runs-on", rule="EXE-027", base="queue")
@contextmanager
def cancelled_work_runs_on() -> Iterator[None]:
    """The worker that runs what is cancelled hears of it with its next heartbeat."""
    with script("_finish", "if job.t == 'a' then post(job.k, id .. ' !' .. job.f) end", ""):
        yield


@mutant("finished-id-answers-other-sessions", rule="EXE-041", base="queue")
@contextmanager
def finished_id_answers_other_sessions() -> Iterator[None]:
    """A chosen id that has ended answers whoever uses it, in whatever session."""
    right = "past.proc == proc and past.group == (group == '' and '-' or group)"
    with script("enqueue", right, "past.proc == proc"):
        yield


@mutant("attempt-lost-on-the-wire", rule="ERR-004", base="queue")
@contextmanager
def attempt_lost_on_the_wire() -> Iterator[None]:
    """A result always says that it was the first attempt."""
    with edit(Ending, "result", "attempt=self.attempt,", ""):
        yield


@mutant("nested-events-name-no-session", rule="EVT-010", base="queue")
@contextmanager
def nested_events_name_no_session() -> Iterator[None]:
    """The events of a call without a named session give the call's own id as their session."""
    with edit(EventReader, "_translate", "root_of(execution_id)", "execution_id"):
        yield
