"""Mutants that break one clause of what the documentation says in passing, of any group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import am2z.base
from am2z import admission, codec, context, statestore
from am2z.base import BaseRuntime
from am2z.bus import EventBus
from am2z.errors import CallDepthExceededError, StateConflictError
from am2z.events import Event
from am2z.ids import check_name
from am2z.local.engine import Engine
from am2z.local.locks import LocalLocks
from am2z.local.runtime import LocalRuntime
from am2z.local.sessions import SessionTable
from am2z.queue.dispatch import Dispatch
from am2z.queue.lockkeeper import LockKeeper
from am2z.resources import ResourceMonitor
from am2z.runtime import EventHandler
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


# --- events


@mutant("late-handler-gets-old-events", rule="EVT-006")
@contextmanager
def late_handler_gets_old_events() -> Iterator[None]:
    """Events that came before a handler are handed to it when it comes."""
    right, on = EventBus.publish, EventBus.on
    kept: dict[EventBus, list[Event]] = {}

    def publish(self: EventBus, event: Event) -> None:
        kept.setdefault(self, []).append(event)
        right(self, event)

    def catch_up(self: EventBus, pattern: str, handler: EventHandler) -> None:
        on(self, pattern, handler)
        for event in kept.get(self, []):
            if fnmatchcase(event.type, pattern):
                handler(event)

    with patch(EventBus, "publish", publish), patch(EventBus, "on", catch_up):
        yield


@mutant("async-handler-accepted", rule="EVT-007")
@contextmanager
def async_handler_accepted() -> Iterator[None]:
    """An async function may be a handler, though nobody ever awaits it."""
    with edit(EventBus, "on", "if inspect.iscoroutinefunction(handler):", "if False:"):
        yield


@mutant("event-for-each-pattern", rule="EVT-014")
@contextmanager
def event_for_each_pattern() -> Iterator[None]:
    """A subscription has an event once for each of its patterns that matches."""
    right = "[sub.put for sub in self._subscriptions if sub.matches(event_type)]"
    wrong = (
        "[sub.put for sub in self._subscriptions for pattern in sub._patterns "
        "if fnmatchcase(event_type, pattern)]"
    )
    with edit(EventBus, "_find", right, wrong):
        yield


@mutant("metrics-without-queues", rule="EVT-005")
@contextmanager
def metrics_without_queues() -> Iterator[None]:
    """metrics:collected says nothing of single queues."""
    with edit(BaseRuntime, "_collect_metrics", '{**stats, "queues": queues}', "stats"):
        yield


@mutant("events-of-any-size", rule="EVT-018")
@contextmanager
def events_of_any_size() -> Iterator[None]:
    """The data of an event may be as large as you please."""
    with patch(codec, "MAX_EVENT_BYTES", 1 << 30):
        yield


@mutant("event-limit-too-low", rule="EVT-018")
@contextmanager
def event_limit_too_low() -> Iterator[None]:
    """The data of an event may be 60,000 bytes, not 64 KB."""
    with patch(codec, "MAX_EVENT_BYTES", 60_000):
        yield


@mutant("some-prefixes-are-free", rule="EVT-019")
@contextmanager
def some_prefixes_are_free() -> Iterator[None]:
    """Of the runtime's own prefixes those of its work are kept, and not the other ones."""
    with patch(context, "_RESERVED", ("processor:", "queue:", "session:")):
        yield


@mutant("prefix-without-its-colon", rule="EVT-019")
@contextmanager
def prefix_without_its_colon() -> Iterator[None]:
    """Every name that begins with the word of a prefix is refused."""
    with patch(context, "_RESERVED", tuple(one[:-1] for one in context._RESERVED)):
        yield


# --- sessions


@mutant("state-set-opens-a-session", rule="SES-003")
@contextmanager
def state_set_opens_a_session() -> Iterator[None]:
    """A session with a state is active, whether anything ever ran in it or not."""
    right = LocalRuntime.active_sessions

    async def active_sessions(self: LocalRuntime) -> list[str]:
        return sorted({*await right(self), *self._store._records})

    with patch(LocalRuntime, "active_sessions", active_sessions):
        yield


@mutant("stop-forgets-the-state", rule="SES-012")
@contextmanager
def stop_forgets_the_state() -> Iterator[None]:
    """The state of a session is gone with its stop."""
    right = "self._store.expire(session_id, self.limits.session_ttl)"
    with edit(LocalRuntime, "_stop_session", right, "self._store.forget(session_id)"):
        yield


@mutant("many-slip-into-a-stopped-session", rule="SES-012")
@contextmanager
def many_slip_into_a_stopped_session() -> Iterator[None]:
    """execute_many does not look whether the session was stopped."""
    right = LocalRuntime.execute_many

    async def execute_many(self: LocalRuntime, *args: Any) -> Any:
        for session_id in list(self._sessions._stopped):
            self._sessions.clean(session_id)
        return await right(self, *args)

    with patch(LocalRuntime, "execute_many", execute_many):
        yield


@mutant("end-in-a-back-off-is-not-told", rule="SES-018")
@contextmanager
def end_in_a_back_off_is_not_told() -> Iterator[None]:
    """An execution that is ended in its back-off has no processor:failed."""
    right = "if execution.was_active:"
    with edit(Engine, "_fail", right, 'if execution.was_active and execution.phase != "delayed":'):
        yield


@mutant("session-ids-too-short", rule="SES-019")
@contextmanager
def session_ids_too_short() -> Iterator[None]:
    """A session id may have 255 characters."""

    def check(name: object, what: str) -> str:
        check_name(f"{name}+" if what == "session" and name else name, what)
        return check_name(name, what)

    with patch(admission, "check_name", check):
        yield


# --- states


@mutant("execution-goes-on-from-the-committed-state", rule="STA-008")
@contextmanager
def execution_goes_on_from_the_committed_state() -> Iterator[None]:
    """An execution in a session gets what is committed there, not what its caller gives."""
    right = LocalRuntime.execute

    async def execute(self: LocalRuntime, what: Any, state: Any, session_id: Any = None) -> Any:
        kept = await self.state.get(session_id) if session_id else None
        return await right(self, what, state if kept is None else kept.state, session_id)

    with patch(LocalRuntime, "execute", execute):
        yield


@contextmanager
def _knowing_the_version_before(right: str, wrong: str) -> Iterator[None]:
    """``version`` is what was committed when the attempt began."""
    note = (
        "vars(self).setdefault('seen', {})[id(execution)] = self._store._peek(request.session_id)"
    )
    known = "(lambda record: record.version if record else 0)(self.seen[id(execution)])"
    with (
        edit(Engine, "_context", "self._fence += 1", f"self._fence += 1; {note}"),
        edit(Engine, "_succeed", right, wrong.replace("VERSION", known)),
    ):
        yield


_COMMIT = "self._store.commit(request.session_id, state, data, checksum(data))"


@mutant("older-work-does-not-commit", rule="STA-030")
@contextmanager
def older_work_does_not_commit() -> Iterator[None]:
    """What began before the last commit does not commit."""
    now = "(lambda record: record.version if record else 0)(self._store._peek(request.session_id))"
    with _knowing_the_version_before(_COMMIT, f"VERSION == {now} and {_COMMIT}"):
        yield


@mutant("commit-counts-from-its-beginning", rule="STA-030")
@contextmanager
def commit_counts_from_its_beginning() -> Iterator[None]:
    """A commit has the version after the one that was there when its attempt began."""
    wrong = (
        f"{_COMMIT}; entry = self._store._records[request.session_id]; "
        "self._store._records[request.session_id] = "
        "(entry[0]._replace(version=VERSION + 1), entry[1])"
    )
    with _knowing_the_version_before(_COMMIT, wrong):
        yield


@mutant("stored-class-for-the-given", rule="STA-031")
@contextmanager
def stored_class_for_the_given() -> Iterator[None]:
    """A state is read as the class that was stored, whatever class is given."""
    with edit(statestore, "_verified", "if cls is None:", "if True:"):
        yield


@mutant("given-class-only-as-stored", rule="STA-031")
@contextmanager
def given_class_only_as_stored() -> Iterator[None]:
    """A state is read as no other class than the one that was stored."""
    right = "state = decode_state(cls, record.data)"
    wrong = "state = decode_named_state(record.type_name, record.data, cls)"
    with edit(statestore, "_verified", right, wrong):
        yield


@mutant("retry-keeps-the-progress", rule="EVT-022")
@contextmanager
def retry_keeps_the_progress() -> Iterator[None]:
    """A second attempt is as far as the first one came, before it has done anything."""
    with edit(Engine, "_attempts", "execution.progress = 0.0", "pass"):
        yield


@mutant("stopped-session-has-no-figures", rule="SES-005")
@contextmanager
def stopped_session_has_no_figures() -> Iterator[None]:
    """What a session did is forgotten when it is stopped."""
    with edit(SessionTable, "stats", "_, session = self._stopped[session_id]", "pass"):
        yield


# --- limits and locks


@mutant("one-limit-for-all-queues", rule="RES-006")
@contextmanager
def one_limit_for_all_queues() -> Iterator[None]:
    """max_queue_size is for what waits in all queues together."""
    right = "waiting = self.waiting.get(request.name, 0)"
    with edit(Engine, "begin", right, "waiting = sum(self.waiting.values())"):
        yield


@mutant("calls-refused-by-a-full-queue", rule="RES-031", base="queue")
@contextmanager
def calls_refused_by_a_full_queue() -> Iterator[None]:
    """A nested call is refused where its queue is full."""
    right = "self.most_waiting if parent is None else 0"
    with edit(Dispatch, "_submission", right, "self.most_waiting"):
        yield


@mutant("delayed-work-waits-at-first", rule="RES-031")
@contextmanager
def delayed_work_waits_at_first() -> Iterator[None]:
    """Delayed work has its place among what waits until its task has begun."""
    with edit(Engine, "wait", '"delayed" if is_delayed else "waiting"', '"waiting"'):
        yield


@mutant("warned-of-once-and-for-all", rule="RES-021")
@contextmanager
def warned_of_once_and_for_all() -> Iterator[None]:
    """A share that falls below its threshold and rises again is not warned of again."""
    right = "self._above.discard(resource)"
    forgotten = 'self._above.discard("connections")'
    with (
        edit(ResourceMonitor, "_watch", right, "pass"),
        edit(ResourceMonitor, "unregister_connection", forgotten, "pass"),
    ):
        yield


@mutant("lock-names-too-short", rule="RES-025")
@contextmanager
def lock_names_too_short() -> Iterator[None]:
    """The name of a lock may have 255 characters."""

    def check(name: object, what: str) -> str:
        check_name(f"{name}+" if what == "lock" and name else name, what)
        return check_name(name, what)

    with patch(am2z.base, "check_name", check):
        yield


@mutant("fences-begin-anew", rule="RES-027")
@contextmanager
def fences_begin_anew() -> Iterator[None]:
    """The fences of a runtime that was started again begin with 1."""
    right = LocalRuntime.start

    async def start(self: LocalRuntime) -> None:
        self._lock_table = LocalLocks()
        await right(self)

    with patch(LocalRuntime, "start", start):
        yield


@mutant("one-lock-extended-at-a-time", rule="RES-026", base="queue")
@contextmanager
def one_lock_extended_at_a_time() -> Iterator[None]:
    """Of the locks that a runtime holds the one that it took last is extended."""
    right = "kept = self._kept[lock.owner] ="
    with edit(LockKeeper, "keep", right, f"self._kept.clear(); {right}"):
        yield


@mutant("release-forgets-the-other-locks", rule="RES-026", base="queue")
@contextmanager
def release_forgets_the_other_locks() -> Iterator[None]:
    """A lock that is given back ends the keeping of those that were taken later."""
    right = "kept = self._kept.pop(lock.owner, None)"
    wrong = f"{right}; self._kept.clear()"
    with edit(LockKeeper, "drop", right, wrong):
        yield


# --- errors


@mutant("conflict-is-final", rule="ERR-031")
@contextmanager
def conflict_is_final() -> Iterator[None]:
    """A state that somebody else changed meanwhile is not worth another try."""
    with patch(StateConflictError, "retryable", False):
        yield


@mutant("deep-calls-are-tried-again", rule="ERR-031")
@contextmanager
def deep_calls_are_tried_again() -> Iterator[None]:
    """A call that was too deep is made again."""
    with patch(CallDepthExceededError, "retryable", True):
        yield
