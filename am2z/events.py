"""The types of events, and the event object."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

__all__ = ["Event", "EventType"]


class EventType(StrEnum):
    """The events that a runtime itself emits.

    For one execution they obey a grammar:
    ``active (progress | custom)* (retrying active (progress | custom)*)* (completed | failed)``.
    Work that was dropped before it ever ran has only its ``queue:failed``.
    """

    ACTIVE = "processor:active"
    PROGRESS = "processor:progress"
    COMPLETED = "processor:completed"
    FAILED = "processor:failed"
    RETRYING = "processor:retrying"
    QUEUE_COMPLETED = "queue:completed"
    QUEUE_FAILED = "queue:failed"
    SESSION_CREATED = "session:created"
    SESSION_STOPPED = "session:stopped"
    METRICS_COLLECTED = "metrics:collected"
    RESOURCE_WARNING = "resource:warning"
    RUNTIME_STARTED = "runtime:started"
    RUNTIME_STOPPED = "runtime:stopped"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened.

    ``time`` is wall-clock time in seconds since the epoch. ``data`` depends on the type:
    ``percent`` in progress, ``error`` (an ``AM2ZError``) in failed and in retrying after a failure
    (not where another worker takes over), ``execution_time`` in completed, ``attempt`` in all of
    them, and whatever a processor gave in its own events.
    """

    type: str
    execution_id: str = ""
    session_id: str = ""
    processor_name: str = ""
    time: float
    data: Mapping[str, Any] = {}
