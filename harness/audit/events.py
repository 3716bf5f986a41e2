"""What has to be true of every event."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from am2z import AM2ZError, Event
from harness.audit.results import is_number

__all__ = ["OF_EXECUTIONS", "event_errors"]

OF_EXECUTIONS = (
    "processor:active",
    "processor:progress",
    "processor:retrying",
    "processor:completed",
    "processor:failed",
    "queue:completed",
    "queue:failed",
)
_OF_NO_EXECUTION = ("session:", "runtime:", "metrics:", "resource:")
_NUMBERS = (
    ("processor:progress", "percent", 100.0),
    ("processor:completed", "execution_time", math.inf),
    ("queue:completed", "execution_time", math.inf),
    ("processor:retrying", "delay", math.inf),
)
_APART = 60.0
"""How far the clocks of two machines may be apart, in seconds."""


def event_errors(event: Any, began: float) -> Iterator[tuple[str, str]]:
    """What is wrong with an event by itself. ``began``: the wall clock when the rule began."""
    law = "EVT-023"
    if not isinstance(event, Event):
        yield law, f"{event!r:.80} is no Event"
        return
    what = f"an event {str(event.type)!r}"
    ids = (event.execution_id, event.session_id, event.processor_name)
    if not all(isinstance(one, str) for one in (event.type, *ids)):
        yield law, f"{what} has {ids!r} as its ids"
        return
    if not is_number(event.time) or not began - _APART < event.time < time.time() + _APART:
        yield law, f"{what} says time={event.time!r}, which is not when it happened"
    data: Any = event.data
    if not isinstance(data, Mapping):
        yield law, f"{what} has {data!r:.80} as its data"
        return
    if event.type in OF_EXECUTIONS and not all(ids):
        yield law, f"{what} has {ids!r} as the ids of its execution, session and processor"
    if event.type.startswith(_OF_NO_EXECUTION) and event.execution_id:
        yield law, f"{what} names an execution"
    if event.type.startswith("session:") and not event.session_id:
        yield law, f"{what} names no session"
    yield from _data_errors(what, event.type, event.data)


def _data_errors(what: str, kind: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    law = "EVT-023"
    attempt = data.get("attempt")
    if kind.startswith("processor:") and (not isinstance(attempt, int) or attempt < 1):
        yield law, f"{what} says attempt={attempt!r}"
    for of, name, most in _NUMBERS:
        if kind == of and (of != "processor:retrying" or "error" in data):
            number: Any = data.get(name)
            if not is_number(number) or not 0 <= number <= most:
                yield law, f"{what} says {name}={number!r}"
    failed = kind.endswith(":failed") or (kind == "processor:retrying" and "error" in data)
    if failed and not isinstance(data.get("error"), AM2ZError):
        yield law, f"{what} has {data.get('error')!r:.80} as its error"
