"""What the rules about sessions, state, events and resources look at runtimes with."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from am2z import Context, Event, ResourceMonitor, Runtime, Versioned
from harness.collector import TestEventCollector
from harness.conformance._processors import make
from harness.states import TestState

__all__ = [
    "committed",
    "count_events",
    "events_of",
    "exact",
    "grammar_errors",
    "monitor_of",
    "recorded",
]

_LETTERS = {
    "processor:active": "A",
    "processor:progress": "P",
    "processor:retrying": "R",
    "processor:completed": "S",
    "processor:failed": "F",
    "queue:completed": "s",
    "queue:failed": "f",
}
_CUSTOM = "C"
_GRAMMAR = re.compile(r"A[PC]*(RA[PC]*)*(Ss|Ff)|f")
"""One execution that has ended; work dropped before it ran has its ``queue:failed`` only."""


async def _pass(state: TestState, _ctx: Context) -> TestState:
    return state


_fence = make("fence", _pass)


async def committed(runtime: Runtime, session_id: str) -> Versioned[TestState]:
    """The committed state of a session, which must have one."""
    found = await runtime.state.get(session_id, TestState)
    assert found is not None, f"session {session_id!r} has no committed state"
    return found


def exact(value: object) -> object:
    """``value`` as what is equal only to the same of the same kinds: ``True`` is not 1 then."""
    if isinstance(value, Mapping):
        return {key: exact(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [exact(part) for part in value]
    return type(value), value


def monitor_of(runtime: Runtime) -> ResourceMonitor:
    """The runtime's own monitor."""
    monitor = getattr(runtime, "resources", None)
    assert isinstance(monitor, ResourceMonitor), "runtime.resources is to be its ResourceMonitor"
    return monitor


def events_of(events: TestEventCollector, execution_id: str) -> list[str]:
    """The types of one execution's events, in their order."""
    return [event.type for event in events.events() if event.execution_id == execution_id]


async def count_events(runtime: Runtime, events: TestEventCollector, event_type: str) -> int:
    """How many events of a type came, once what was emitted before now has come.

    An execution's events are delivered before its result, and what came before it before them.
    """
    runtime.register(_fence)
    await runtime.sync_processors()
    fence = await runtime.execute(_fence, TestState())
    ours = fence.metadata.execution_id
    return sum(event.execution_id != ours for event in events.events(event_type))


def grammar_errors(events: Iterable[Event]) -> list[str]:
    """A line for each execution among ``events`` whose events are not those of an ended execution.

    ``active (progress | custom)* (retrying active (progress | custom)*)* (completed | failed)``,
    and then the ``queue:completed`` or ``queue:failed`` that goes with it.
    """
    stories: dict[str, list[str]] = {}
    for event in events:
        if event.execution_id:
            stories.setdefault(event.execution_id, []).append(event.type)
    return [
        f"execution {execution_id}: {' '.join(story)}"
        for execution_id, story in stories.items()
        if not _GRAMMAR.fullmatch("".join(_LETTERS.get(kind, _CUSTOM) for kind in story))
    ]


@contextmanager
def recorded(records: list[logging.LogRecord], name: str = "") -> Iterator[None]:
    """Keep what is logged to the logger ``name``, or to those below it; whatever was set up."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, keeper = logging.getLogger(name), Keeper()
    was, logger.disabled = logger.disabled, False
    logger.addHandler(keeper)
    try:
        yield
    finally:
        logger.removeHandler(keeper)
        logger.disabled = was
