"""The events that the runtimes of one rule emitted, kept for the story of a failure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from am2z import Event, Runtime
from harness.outcome import Moment

__all__ = ["EventTrace"]

_KEPT = 200


class EventTrace:
    """Listens to everything; the last 200 events are kept."""

    def __init__(self) -> None:
        self._events: deque[tuple[str, Event]] = deque(maxlen=_KEPT)
        self.left_out = 0
        """How many earlier events were not kept."""
        self._watched = 0
        self._notes: list[str] = []

    def watch(self, runtime: Runtime) -> None:
        """Record the events of a runtime from now on."""
        self._watched += 1
        label = f"r{self._watched}"

        def take(event: Event) -> None:
            self.left_out += len(self._events) == _KEPT
            self._events.append((label, event))

        try:
            runtime.on("*", take)
        except Exception as error:
            self._notes.append(f"(no events of {label}: runtime.on raised {error!r:.200})")

    def lines(self) -> list[str]:
        """The story, a line for each event, with the seconds since the first."""
        lines = list(self._notes)
        if self.left_out:
            lines.append(f"({self.left_out} earlier events left out)")
        return lines + [_line(moment) for moment in self.moments()]

    def moments(self) -> list[Moment]:
        """The events as data."""
        start = self._events[0][1].time if self._events else 0.0
        return [
            Moment(
                at=_seconds(event.time - start),
                type=_name(event.type, 80),
                runtime=label if self._watched > 1 else "",
                processor=_name(event.processor_name),
                execution=_name(event.execution_id),
                session=_name(event.session_id) if event.session_id != event.execution_id else "",
                data=_short(event.data),
            )
            for label, event in self._events
        ]


def _seconds(span: float) -> float:
    """A number that JSON can carry: a runtime under test may give its events any time."""
    return round(span, 6) if math.isfinite(span) else 0.0


def _name(value: object, width: int = 24) -> str:
    return str(value)[:width].encode("utf-8", "backslashreplace").decode("utf-8")


def _line(moment: Moment) -> str:
    where = f"{moment.runtime} " if moment.runtime else ""
    names = {
        "processor": moment.processor,
        "execution": moment.execution,
        "session": moment.session,
    }
    parts = [f"{moment.at:9.4f}  {where}{moment.type}"]
    parts += [f"{key}={value}" for key, value in names.items() if value]
    return " ".join(part for part in (*parts, moment.data) if part)


def _short(data: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={_value(value):.80}" for key, value in data.items())
    return f"{{{text:.160}}}" if text else ""


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
