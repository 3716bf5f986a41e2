"""What one runtime was asked for, what it answered, and what its events told meanwhile."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any

import trio

from am2z import (
    AppState,
    Event,
    ExecutionHandle,
    Processor,
    ProcessorResult,
    ResourceLimits,
    Runtime,
    RuntimeConfig,
    Versioned,
)
from harness.audit.events import event_errors
from harness.audit.results import result_errors
from harness.audit.stories import story_errors

__all__ = ["Asked", "Ledger", "copied"]

_LIVES = ("stopped", "started")


@dataclass(frozen=True, eq=False)
class Asked:
    """What somebody asked a runtime for."""

    name: str
    session: str | None
    chosen: str | None
    version: int
    created: float
    updated: float
    given: Any
    """A copy of the state as it was given; ``None`` where it cannot be copied."""
    began: float
    is_again: bool = False
    """Whether its id was used before, so that the result may be of what was given then."""


@dataclass
class Ledger:
    """The books of one runtime. ``say(law, text)`` tells what is wrong at once."""

    runtime: Runtime
    config: RuntimeConfig
    limits: ResourceLimits
    say: Callable[[str, str], None]
    is_first: bool
    is_alone: bool = True
    """Whether no other runtime was there, whose work could be in the figures too."""

    processors: dict[str, Processor[Any]] = field(default_factory=dict)
    stories: dict[str, list[Event]] = field(default_factory=dict)
    sessions: dict[str, list[str]] = field(default_factory=dict)
    """The ``created`` and ``stopped`` of each session, in order."""
    since: dict[str, int] = field(default_factory=dict)
    """For each session, how many queue events had come when it was created last."""
    lives: list[str] = field(default_factory=list)
    """The ``stopped`` and ``started`` of the runtime, in order."""
    restarted: float | None = None
    """When it was last asked to start again."""
    unregistered: set[str] = field(default_factory=set)
    kept: dict[tuple[str, int], Versioned[Any]] = field(default_factory=dict)
    """The committed states that were read, for as long as nobody but executions changes them."""
    ends: list[Event] = field(default_factory=list)
    """Every ``queue:completed`` and ``queue:failed``."""
    results: dict[str, tuple[Asked, ProcessorResult[Any]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    open: set[Asked] = field(default_factory=set)
    """What was asked for and has no result that we know of."""
    handles: dict[str, tuple[ExecutionHandle[Any], ProcessorResult[Any]]] = field(
        default_factory=dict
    )
    spoilt: set[str] = field(default_factory=set)
    """The executions of which some event is wrong by itself: there is no more to say of those."""
    touched: set[str] = field(default_factory=set)
    """What a rule did beside asking for work: ``state``, ``dead``, ``sessions``, ``life``."""
    began: float = field(default_factory=trio.current_time)
    began_wall: float = field(default_factory=time.time)

    def touch(self, what: str) -> None:
        """Somebody changes states and sessions beside asking for work."""
        self.touched.add(what)
        self.kept.clear()

    def register(self, processors: Collection[Any]) -> None:
        """Know processors, and those that come along with them, by their names."""
        for one in processors:
            if not isinstance(one, Processor):
                continue
            is_new = self.processors.get(one.name) is not one
            self.unregistered.discard(one.name)
            self.processors[one.name] = one
            if is_new:
                self.register([d for d in one.dependencies if isinstance(d, Processor)])

    def take(self, event: Any) -> None:
        """An event has come."""
        wrong = list(event_errors(event, self.began_wall))
        for law, text in wrong:
            self.say(law, text)
        if not isinstance(event, Event):
            return
        if wrong:
            self.spoilt.add(event.execution_id)
        if event.type in ("runtime:started", "runtime:stopped"):
            self.lives.append(event.type.removeprefix("runtime:"))
        if event.type.startswith("session:"):
            self.kept.clear()
            kind = event.type.removeprefix("session:")
            self.sessions.setdefault(event.session_id, []).append(kind)
            if kind == "created":
                self.since[event.session_id] = len(self.ends)
        elif event.execution_id:
            self.stories.setdefault(event.execution_id, []).append(event)
            if event.type in ("queue:completed", "queue:failed"):
                self.ends.append(event)

    def ask(
        self,
        processor: Any,
        state: Any,
        session: str | None,
        options: Mapping[str, Any] | None = None,
    ) -> Asked:
        """Somebody asks for an execution."""
        name = processor.name if isinstance(processor, Processor) else processor
        is_state = isinstance(state, AppState)
        asked = Asked(
            name=name,
            session=session,
            chosen=(options or {}).get("execution_id"),
            version=state.metadata.version if is_state else 0,
            created=state.metadata.created_at if is_state else math.inf,
            updated=state.metadata.last_updated if is_state else 0.0,
            given=copied(state) if is_state else None,
            began=trio.current_time(),
        )
        self.asked.append(asked)
        self.open.add(asked)
        return asked

    def refused(self, asked: Asked) -> None:
        """It raised: nothing was asked for."""
        self.asked.remove(asked)
        self.open.discard(asked)

    def answer(self, asked: Asked, result: Any, handle: ExecutionHandle[Any] | None = None) -> None:
        """This is the result."""
        self.open.discard(asked)
        began = asked.began
        if asked.chosen is not None:  # it may stand for what was asked for before, with less
            began = self.began
            first = next((one for one in self.asked if one.chosen == asked.chosen), asked)
            asked = replace(first, is_again=first is not asked or "dead" in self.touched)
        elif (other := self._other_of(asked, result)) is not None:
            self.say("EXE-049", f"{asked.name!r} and {other.name!r} have one execution id")
        wrong = False
        own = handle.execution_id if handle is not None else None
        for law, text in result_errors(asked, result, own, began, self.processors):
            wrong = True
            self.say(law, text)
        if not wrong:
            self.results[result.metadata.execution_id] = (asked, result)
            if handle is not None and not asked.is_again:
                self.handles[result.metadata.execution_id] = (handle, result)

    def _other_of(self, asked: Asked, result: Any) -> Asked | None:
        """What else was asked for, and has a result of the same execution."""
        own = getattr(getattr(result, "metadata", None), "execution_id", "")
        other, _ = self.results.get(own, (asked, None))
        return None if other is asked else other

    def errors(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the stories so far."""
        if not self.is_first:
            return  # one that came later may have missed the beginning of some
        for execution_id, story in self.stories.items():
            if execution_id in self.spoilt:
                continue
            _, result = self.results.get(execution_id, (None, None))
            name = story[0].processor_name
            yield from story_errors(
                execution_id, story, self.processors.get(name), result, alone=self.is_alone
            )
        for execution_id, (_, result) in self.results.items():
            if execution_id not in self.stories and result.success:
                yield "EVT-023", f"execution {execution_id} succeeded, and no event told of it"
        if self.is_alone and self.lives != [*islice(cycle(_LIVES), len(self.lives))]:
            yield "LIF-006", f"the runtime told of its life: {' '.join(self.lives)}"
        for session_id, kinds in self.sessions.items():
            lives = ["created", "stopped"] * len(kinds)
            if self.is_alone and kinds != lives[: len(kinds)]:
                yield "EVT-017", f"session {session_id!r}: {' '.join(kinds)}"

    @property
    def is_idle(self) -> bool:
        """Whether everything that was asked for has its result, and every story its end."""
        ends = ("queue:completed", "queue:failed")
        return not self.open and all(s[-1].type in ends for s in self.stories.values())


def copied(state: Any) -> Any:
    """What it is now, whatever is done to it; ``None`` where it cannot be copied."""
    try:
        return copy.deepcopy(state)
    except Exception:
        return None
