"""What holds the first time, or while somebody asks for it, and at no other time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z.base import BaseRuntime
from am2z.bus import EventBus
from am2z.dead import DeadLetters
from am2z.local.dead import LocalDeadLetters
from am2z.local.runtime import LocalRuntime
from am2z.local.state import LocalStateManager
from am2z.resources import ResourceMonitor
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant

__all__: list[str] = []


@mutant("letter-is-gone-before-its-retry", rule="ERR-034")
@contextmanager
def letter_is_gone_before_its_retry() -> Iterator[None]:
    """A dead letter is gone after a retry that was refused, in one process as well."""
    right = "await self._resubmit(letter, new_id)\n    self._letters.pop(execution_id, None)"
    wrong = "self._letters.pop(execution_id, None)\n    await self._resubmit(letter, new_id)"
    with edit(LocalDeadLetters, "retry", right, wrong):
        yield


@mutant("no-letters-are-all-letters", rule="ERR-034")
@contextmanager
def no_letters_are_all_letters() -> Iterator[None]:
    """Who asks for no dead letters gets all of them."""
    right = "[: max(limit, 0)]"
    wrong = "[: limit or None]"
    with edit(DeadLetters, "list", right, wrong):
        yield


@mutant("stop-drops-dead-letters", rule="ERR-034")
@contextmanager
def stop_drops_dead_letters() -> Iterator[None]:
    """A runtime that is stopped and started has lost its dead letters."""
    right = "    self._work.end_all()\n"
    wrong = "    self._work.end_all()\n    self._dead._letters.clear()\n"
    with edit(LocalRuntime, "_drain", right, wrong):
        yield


@mutant("stop-opens-stopped-sessions", rule="RES-019")
@contextmanager
def stop_opens_stopped_sessions() -> Iterator[None]:
    """A runtime that is stopped and started refuses no session any more."""
    right = "    self._work.end_all()\n"
    wrong = "    self._work.end_all()\n    self._sessions._stopped.clear()\n"
    with edit(LocalRuntime, "_drain", right, wrong):
        yield


@mutant("warned-in-the-life-before", rule="RES-010")
@contextmanager
def warned_in_the_life_before() -> Iterator[None]:
    """Who was warned before a restart is not warned again."""
    right = "    self._above: set[str] = set()\n"
    wrong = '    self._above: set[str] = getattr(self, "_above", set())\n'
    with edit(ResourceMonitor, "reset", right, wrong):
        yield


@mutant("patterns-know-no-negation", rule="EVT-013")
@contextmanager
def patterns_know_no_negation() -> Iterator[None]:
    """In a pattern [!ab] means what [ab] means."""
    right = "if fnmatchcase(event_type, pattern)"
    wrong = 'if fnmatchcase(event_type, pattern.replace("[!", "["))'
    with edit(EventBus, "_find", right, wrong):
        yield


@mutant("equal-state-is-no-commit", rule="STA-002")
@contextmanager
def equal_state_is_no_commit() -> Iterator[None]:
    """A state that is set again as it was is no commit."""
    right = "    record = StateRecord(version + 1, name, data, digest)\n"
    wrong = (
        "    if current is not None and current.checksum == digest:\n"
        "        return version\n"
        "    record = StateRecord(version + 1, name, data, digest)\n"
    )
    with edit(LocalStateManager, "write", right, wrong):
        yield


@mutant("ended-state-is-compared-with", rule="STA-007")
@contextmanager
def ended_state_is_compared_with() -> Iterator[None]:
    """A state whose time is over is in the way of who expects none, until somebody reads it."""
    right = "current = self._peek(session_id)"
    wrong = "current = self._records.get(session_id, (None,))[0]"
    with edit(LocalStateManager, "write", right, wrong):
        yield


@mutant("warning-tells-its-threshold", rule="RES-010")
@contextmanager
def warning_tells_its_threshold() -> Iterator[None]:
    """A warning tells its threshold, and not what is in use."""
    right = "self._on_warning(resource, share, threshold)"
    wrong = "self._on_warning(resource, threshold, threshold)"
    with edit(ResourceMonitor, "_watch", right, wrong):
        yield


@mutant("idle-sessions-end-in-the-first-life-only", rule="RES-017")
@contextmanager
def idle_sessions_end_in_the_first_life_only() -> Iterator[None]:
    """A runtime that was stopped and started again ends no idle sessions."""
    right = "nursery.start_soon(self._end_idle_sessions)"
    wrong = (
        'if "_has_lived" not in vars(self):\n'
        '                vars(self)["_has_lived"] = True\n'
        "                nursery.start_soon(self._end_idle_sessions)"
    )
    with edit(BaseRuntime, "_live", right, wrong):
        yield


@mutant("metrics-that-nobody-wanted", rule="EVT-005")
@contextmanager
def metrics_that_nobody_wanted() -> Iterator[None]:
    """A runtime without a metrics_interval tells its metrics all the same."""
    right = (
        "            if self.config.metrics_interval is not None:\n"
        "                nursery.start_soon(self._collect_metrics, "
        "self.config.metrics_interval)"
    )
    wrong = (
        "            nursery.start_soon(self._collect_metrics, self.config.metrics_interval or 0.5)"
    )
    with edit(BaseRuntime, "_live", right, wrong):
        yield
