"""Whole families of methods and options, each with one that is not like the others.

The lives of runtimes and sessions, and what is registered; ``families_of_work`` has the rest.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import am2z.compose
import am2z.local.engine
from am2z.base import BaseRuntime
from am2z.local.execution import Execution
from am2z.local.runtime import LocalRuntime
from am2z.processor import Processor
from am2z.registry import Registry
from am2z.runtime import RuntimeMixin
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []

STARTED = "    self._require_started()\n"


@contextmanager
def _asked_while_stopped(name: str) -> Iterator[None]:
    with edit(LocalRuntime, name, STARTED, ""):
        yield


@mutant("stopped-runtime-tells-figures", rule="LIF-002")
@contextmanager
def stopped_runtime_tells_figures() -> Iterator[None]:
    """A stopped runtime goes on to answer queue_stats()."""
    with _asked_while_stopped("queue_stats"):
        yield


@mutant("stopped-runtime-stops-sessions", rule="LIF-002")
@contextmanager
def stopped_runtime_stops_sessions() -> Iterator[None]:
    """A stopped runtime stops sessions, whose events and work are nobody's."""
    with _asked_while_stopped("stop_session"):
        yield


@mutant("stopped-runtime-synchronises", rule="LIF-002")
@contextmanager
def stopped_runtime_synchronises() -> Iterator[None]:
    """sync_processors() of a stopped runtime says that all is well."""
    with _asked_while_stopped("sync_processors"):
        yield


@mutant("stopped-runtime-retries-dead-letters", rule="LIF-002")
@contextmanager
def stopped_runtime_retries_dead_letters() -> Iterator[None]:
    """A dead letter is handed over to a runtime that does not run."""
    with _asked_while_stopped("_resubmit"):
        yield


@mutant("stopped-runtime-emits", rule="LIF-002")
@contextmanager
def stopped_runtime_emits() -> Iterator[None]:
    """emit() of a stopped runtime is taken without a word."""
    with edit(BaseRuntime, "emit", "if self._engine_done.is_set():", "if False:"):
        yield


@contextmanager
def _forgotten_at_a_start(what: str) -> Iterator[None]:
    right = "self._locks = lambda _: self._lock_table\n"
    with edit(LocalRuntime, "_engine", right, f"{right}    {what}\n"):
        yield


@mutant("restart-forgets-stopped-sessions", rule="LIF-006")
@contextmanager
def restart_forgets_stopped_sessions() -> Iterator[None]:
    """A session that was stopped takes work again once its runtime was stopped and started."""
    with _forgotten_at_a_start("self._sessions._stopped.clear()"):
        yield


@mutant("restart-forgets-chosen-ids", rule="LIF-006")
@contextmanager
def restart_forgets_chosen_ids() -> Iterator[None]:
    """An id that was used before a stop runs again after it."""
    with _forgotten_at_a_start("self._remembered._entries.clear()"):
        yield


@mutant("restart-forgets-dead-letters", rule="LIF-006")
@contextmanager
def restart_forgets_dead_letters() -> Iterator[None]:
    """What had failed for good is forgotten by a stop."""
    with _forgotten_at_a_start("self._dead._letters.clear()"):
        yield


@mutant("restart-begins-fences-anew", rule="LIF-006")
@contextmanager
def restart_begins_fences_anew() -> Iterator[None]:
    """Fences begin at 1 again with each start."""
    with _forgotten_at_a_start("self._work._fence = 0"):
        yield


@mutant("end-of-the-block-has-no-grace", rule="LIF-007")
@contextmanager
def end_of_the_block_has_no_grace() -> Iterator[None]:
    """Leaving the block in order cancels what runs, as leaving it by an exception does."""
    with edit(BaseRuntime, "__aexit__", "if exc is None:", "if False:"):
        yield


@mutant("exception-of-the-block-in-a-group", rule="LIF-009")
@contextmanager
def exception_of_the_block_in_a_group() -> Iterator[None]:
    """What a block is left by comes out of the runtime in a group, so that nobody catches it."""
    right = BaseRuntime.__aexit__

    async def leave(self: BaseRuntime, kind: Any, exc: Any, traceback: Any) -> None:
        await right(self, kind, exc, traceback)
        if isinstance(exc, Exception):
            raise ExceptionGroup("the runtime's", [exc])

    with patch(LocalRuntime, "__aexit__", leave):
        yield


@mutant("register-answers-nothing", rule="REG-001")
@contextmanager
def register_answers_nothing() -> Iterator[None]:
    """register() answers None, so that it cannot be written behind the making of a runtime."""
    with edit(BaseRuntime, "register", "return self", "return None"):
        yield


@mutant("two-of-one-name-registered", rule="REG-001")
@contextmanager
def two_of_one_name_registered() -> Iterator[None]:
    """Of two different processors of one name, registered at once, some one is taken."""
    with edit(Registry, "register", "if item.name in found:", "if False:"):
        yield


@mutant("unregister-takes-dependencies-along", rule="REG-003")
@contextmanager
def unregister_takes_dependencies_along() -> Iterator[None]:
    """What came along with a processor goes with it, whoever else needs it."""
    right = "return self._processors.pop(name, None) is not None"
    wrong = (
        "one = self._processors.pop(name, None)\n"
        "    for part in one.dependencies if one is not None else ():\n"
        "        self._processors.pop(getattr(part, 'name', part), None)\n"
        "    return one is not None"
    )
    with edit(Registry, "unregister", right, wrong):
        yield


@mutant("dependencies-replace-nothing", rule="REG-006")
@contextmanager
def dependencies_replace_nothing() -> Iterator[None]:
    """What comes along under a known name is dropped; only what is registered itself replaces."""
    wrong = (
        "for one in found.values():\n"
        "        if one in processors or one.name not in self._processors:\n"
        "            self._processors[one.name] = one"
    )
    with edit(Registry, "register", "self._processors.update(found)", wrong):
        yield


@mutant("fallback-does-not-come-along", rule="REG-006")
@contextmanager
def fallback_does_not_come_along() -> Iterator[None]:
    """The routes of a route are registered with it, its fallback is not."""
    init = Processor.__post_init__

    def forget(self: Processor[Any]) -> None:
        init(self)
        if self.fn.__qualname__.startswith("route."):
            fallback = inspect.getclosurevars(self.fn).nonlocals.get("fallback")
            kept = tuple(one for one in self.dependencies if one is not fallback)
            object.__setattr__(self, "dependencies", kept)

    with patch(Processor, "__post_init__", forget):
        yield


@mutant("last-reason-wins", rule="SES-014")
@contextmanager
def last_reason_wins() -> Iterator[None]:
    """Work of a stopped session that is cancelled before it ends says that it was cancelled."""
    with edit(Execution, "end_with", "if self.verdict is None:", "if True:"):
        yield


@mutant("stopped-session-may-be-asked-again", rule="SES-012")
@contextmanager
def stopped_session_may_be_asked_again() -> Iterator[None]:
    """The error of work for a stopped session says that it may be tried again."""
    right = am2z.local.engine.session_stopped

    def stopped(session_id: str) -> Any:
        error = right(session_id)
        error.retryable = True
        return error

    with patch(am2z.local.engine, "session_stopped", stopped):
        yield


@mutant("clean-all-frees-stopped-sessions", rule="SES-017")
@contextmanager
def clean_all_frees_stopped_sessions() -> Iterator[None]:
    """clean_all_sessions() lets those in again that were stopped on purpose."""
    right = RuntimeMixin.clean_all_sessions

    async def clean(self: LocalRuntime) -> None:
        await right(self)
        self._sessions._stopped.clear()

    with patch(LocalRuntime, "clean_all_sessions", clean):
        yield


@contextmanager
def _unchecked(name: str) -> Iterator[None]:
    with edit(LocalRuntime, name, '    check_name(session_id, "session")\n', ""):
        yield


@mutant("illegal-sessions-stopped", rule="SES-019")
@contextmanager
def illegal_sessions_stopped() -> Iterator[None]:
    """stop_session() takes what can be no session's id."""
    with _unchecked("stop_session"):
        yield


@mutant("illegal-sessions-cleaned", rule="SES-019")
@contextmanager
def illegal_sessions_cleaned() -> Iterator[None]:
    """clean_session() takes what can be no session's id."""
    with _unchecked("clean_session"):
        yield


@mutant("illegal-sessions-have-figures", rule="SES-019")
@contextmanager
def illegal_sessions_have_figures() -> Iterator[None]:
    """session_stats() answers for what can be no session's id."""
    with _unchecked("session_stats"):
        yield


@contextmanager
def _forgetting(kind: str, option: str) -> Iterator[None]:
    """One kind of composition drops one of its options."""
    right = am2z.compose._composition
    names = ("timeout", "retry", "queue")

    def compose(name: str, run: Any, steps: Any, *options: Any, **more: Any) -> Any:
        if run.__qualname__.startswith(f"{kind}."):
            kept = zip(names, options, strict=True)
            options = tuple(None if known == option else value for known, value in kept)
        return right(name, run, steps, *options, **more)

    with patch(am2z.compose, "_composition", compose):
        yield


@mutant("route-forgets-its-timeout", rule="EXE-054")
@contextmanager
def route_forgets_its_timeout() -> Iterator[None]:
    """A route has the default timeout, whatever was said."""
    with _forgetting("route", "timeout"):
        yield


@mutant("route-forgets-its-retries", rule="EXE-054")
@contextmanager
def route_forgets_its_retries() -> Iterator[None]:
    """A route is never tried again as a whole."""
    with _forgetting("route", "retry"):
        yield


@mutant("route-forgets-its-limit", rule="EXE-054")
@contextmanager
def route_forgets_its_limit() -> Iterator[None]:
    """As many of a route run at once as there are slots."""
    with _forgetting("route", "queue"):
        yield


@mutant("parallel-forgets-its-timeout", rule="EXE-054")
@contextmanager
def parallel_forgets_its_timeout() -> Iterator[None]:
    """A parallel has the default timeout, whatever was said."""
    with _forgetting("parallel", "timeout"):
        yield


@mutant("parallel-forgets-its-retries", rule="EXE-054")
@contextmanager
def parallel_forgets_its_retries() -> Iterator[None]:
    """A parallel is never tried again as a whole."""
    with _forgetting("parallel", "retry"):
        yield


@mutant("batch-forgets-its-limit", rule="EXE-054")
@contextmanager
def batch_forgets_its_limit() -> Iterator[None]:
    """As many of a batch run at once as there are slots."""
    with _forgetting("batch", "queue"):
        yield
