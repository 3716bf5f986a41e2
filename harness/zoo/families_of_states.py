"""States: one way, setting or name of a family that is not as the others are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z import executor, statestore
from am2z.executor import Outcome
from am2z.local.state import LocalStateManager
from am2z.state import AppState
from am2z.statestore import BaseStateManager
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@mutant("state-ttl-beats-the-given", rule="STA-032")
@contextmanager
def state_ttl_beats_the_given() -> Iterator[None]:
    """The ttl that set() is given is nothing where the runtime has a state_ttl."""
    right = "self._ttl if ttl is None else ttl"
    wrong = "self._ttl or ttl"
    with edit(BaseStateManager, "set", right, wrong):
        yield


@mutant("set-knows-no-state-ttl", rule="STA-032")
@contextmanager
def set_knows_no_state_ttl() -> Iterator[None]:
    """RuntimeConfig.state_ttl is for what executions commit, and not for set()."""
    right = "self._ttl if ttl is None else ttl"
    wrong = "ttl"
    with edit(BaseStateManager, "set", right, wrong):
        yield


@mutant("update-never-renews", rule="STA-032")
@contextmanager
def update_never_renews() -> Iterator[None]:
    """update() keeps the end of a state also where the runtime has a state_ttl."""
    right = "keeps_ttl=self._ttl is None"
    wrong = "keeps_ttl=True"
    with edit(BaseStateManager, "update", right, wrong):
        yield


@mutant("stopped-session-prolongs-its-state", rule="STA-032")
@contextmanager
def stopped_session_prolongs_its_state() -> Iterator[None]:
    """A state that would end soon lives for a session_ttl when its session is stopped."""
    right = "min(entry[1], trio.current_time() + ttl)"
    wrong = "trio.current_time() + ttl"
    with edit(LocalStateManager, "expire", right, wrong):
        yield


@mutant("store-takes-any-name", rule="STA-020")
@contextmanager
def store_takes_any_name() -> Iterator[None]:
    """Nobody looks at the names of sessions that a state manager is asked for."""
    with patch(statestore, "check_name", lambda name, _what: name):
        yield


@mutant("update-error-becomes-a-conflict", rule="STA-021")
@contextmanager
def update_error_becomes_a_conflict() -> Iterator[None]:
    """What an async function raises that update() was given comes out as a conflict."""
    right = "        new = await answer if inspect.isawaitable(answer) else answer\n"
    wrong = (
        "        try:\n"
        "            new = await answer if inspect.isawaitable(answer) else answer\n"
        "        except Exception as error:\n"
        "            raise StateConflictError(str(error)) from error\n"
    )
    with edit(BaseStateManager, "update", right, wrong):
        yield


@mutant("update-of-nothing-changes-nothing", rule="STA-021")
@contextmanager
def update_of_nothing_changes_nothing() -> Iterator[None]:
    """A function that returns nothing is taken for one that leaves the state as it is."""
    right = "if not isinstance(new, AppState):"
    wrong = (
        "if new is None:\n"
        "            return current.state\n"
        "        if not isinstance(new, AppState):"
    )
    with edit(BaseStateManager, "update", right, wrong):
        yield


@mutant("update-answers-what-it-was-given-back", rule="STA-021")
@contextmanager
def update_answers_what_it_was_given_back() -> Iterator[None]:
    """update() answers what its function returned, which may name no session."""
    right = "new = in_session(new, session_id)"
    wrong = "new = new"
    with edit(BaseStateManager, "update", right, wrong):
        yield


@mutant("state-is-born-again", rule="STA-014")
@contextmanager
def state_is_born_again() -> Iterator[None]:
    """A state that a processor builds from nothing was created then, whatever it was made of."""
    right = "created_at=min(old.created_at, now.created_at)"
    wrong = "created_at=now.created_at"
    with edit(executor, "_advance", right, wrong):
        yield


@mutant("evolve-forgets-the-session", rule="STA-014")
@contextmanager
def evolve_forgets_the_session() -> Iterator[None]:
    """evolve() gives a copy that belongs to no session."""
    right = "session_id=old.session_id,\n"
    wrong = ""
    with edit(AppState, "evolve", right, wrong):
        yield


@mutant("partial-state-is-the-processors-own", rule="ERR-022")
@contextmanager
def partial_state_is_the_processors_own() -> Iterator[None]:
    """The partial state of a failure is no copy of what the processor has."""
    with patch(Outcome, "_seal_partial", lambda *_: None):
        yield
