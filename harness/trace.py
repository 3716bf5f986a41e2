"""The events that the runtimes of one rule emitted, kept for the story of a failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from am2z import Event, Runtime

__all__ = ["EventTrace"]

_KEPT = 200


class EventTrace:
    """Listens to everything; the last 200 events are kept."""

    def __init__(self) -> None:
        self._events: deque[tuple[str, Event]] = deque(maxlen=_KEPT)
        self._dropped = 0
        self._watched = 0
        self._notes: list[str] = []

    def watch(self, runtime: Runtime) -> None:
        """Record the events of a runtime from now on."""
        self._watched += 1
        label = f"r{self._watched}"

        def take(event: Event) -> None:
            self._dropped += len(self._events) == _KEPT
            self._events.append((label, event))

        try:
            runtime.on("*", take)
        except Exception as error:
            self._notes.append(f"(no events of {label}: runtime.on raised {error!r:.200})")

    def lines(self) -> list[str]:
        """The story, a line for each event, with the seconds since the first."""
        lines = list(self._notes)
        if self._dropped:
            lines.append(f"({self._dropped} earlier events left out)")
        start = self._events[0][1].time if self._events else 0.0
        for label, event in self._events:
            where = f"{label} " if self._watched > 1 else ""
            parts = [f"{event.time - start:9.4f}  {where}{event.type}"]
            parts += [
                f"{key}={value:.24}"
                for key, value in (
                    ("processor", event.processor_name),
                    ("execution", event.execution_id),
                    ("session", event.session_id),
                )
                if value and not (key == "session" and value == event.execution_id)
            ]
            parts.append(_short(event.data))
            lines.append(" ".join(part for part in parts if part))
        return lines


def _short(data: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={value!r:.80}" for key, value in data.items())
    return f"{{{text:.160}}}" if text else ""
