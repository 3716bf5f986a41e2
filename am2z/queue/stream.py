"""Events across processes: one bounded stream for the namespace, one reader in each runtime."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec
import trio

from am2z.bus import EventBus
from am2z.codec import decode_error, decode_mapping, encode_error, encode_event, encode_mapping
from am2z.errors import AM2ZError
from am2z.events import Event, EventType
from am2z.queue.node import RECOVERABLE, RETRY_PAUSE, Node
from am2z.queue.payload import error_of, root_of
from am2z.queue.wire import StreamEvent, WireError, parse_event
from am2z.result import ExecutionMetadata

__all__ = ["EventReader", "Heard", "pack_event", "pack_failure"]

_log = logging.getLogger("am2z.events")

BLOCK = 2.0
"""Seconds for which one read waits for events."""
BATCH = 500
CATCH_UP = 2.0
"""How long a caller waits for the events of its execution, in seconds, before it goes on."""

_OF_EXECUTION = {
    "active": (EventType.ACTIVE,),
    "progress": (EventType.PROGRESS,),
    "retrying": (EventType.RETRYING,),
    "completed": (EventType.COMPLETED, EventType.QUEUE_COMPLETED),
    "failed": (EventType.FAILED, EventType.QUEUE_FAILED),
    "dropped": (EventType.QUEUE_FAILED,),
}
_LAST_NUMBER = 2**64 - 1
_OF_SESSION = {"created": EventType.SESSION_CREATED, "stopped": EventType.SESSION_STOPPED}


def pack_event(data: dict[str, Any], *, origin: str = "") -> bytes:
    """Event data for the stream; ``origin`` is the runtime that told its own handlers already."""
    told = msgspec.Raw(encode_event(data))
    return encode_mapping({"o": origin, "d": told} if origin else {"d": told})


def pack_failure(error: AM2ZError, **data: Any) -> bytes:
    """The data of a failed or retried execution."""
    return encode_mapping({"d": data, "e": encode_error(error)})


class Heard:
    """What the handlers of a runtime have had, from one start of it to the next.

    They stay while the reader changes, and nothing is to be told them a second time: neither what
    the reader before handed on, nor what the life before told them itself.
    """

    def __init__(self) -> None:
        self.positions: dict[str, tuple[int, int]] = {}
        self.lives: deque[str] = deque(maxlen=2)


class EventReader:
    """Reads the stream from the moment on in which somebody first listens.

    That moment is ours and the stream's order is the server's: the clocks are compared once, when
    the reading begins, to an accuracy of one round trip. What this runtime knows to have happened
    before is left out for certain.
    """

    def __init__(self, node: Node, bus: EventBus, heard: Heard | None = None) -> None:
        self._node = node
        self._bus = bus
        self._heard = Heard() if heard is None else heard
        self._wanted = trio.Event()
        self._since = 0.0
        self._known = (0, 0)
        self._ready = trio.Event()
        self._position = (0, 0)
        self._moved = trio.lowlevel.ParkingLot()

    def want(self) -> None:
        """Somebody listens: begin."""
        if not self._wanted.is_set():
            self._since = time.monotonic()
            self._wanted.set()

    async def ready(self) -> None:
        """Return once every later event will be seen (or after a bounded time)."""
        if self._wanted.is_set() and not self._ready.is_set():
            with trio.move_on_after(CATCH_UP):  # work may go on where events cannot
                await self._ready.wait()

    async def caught_up(self, event_id: str | None) -> None:
        """Return once that event was handed to the handlers (or after a bounded time)."""
        if event_id is None:
            return
        goal = _order(event_id)
        if not self._wanted.is_set():
            self._known = max(self._known, goal)
            return
        with trio.move_on_after(CATCH_UP):
            while self._position < goal:
                await self._moved.park()

    async def run(self) -> None:
        """Read until cancelled."""
        await self._wanted.wait()
        while True:
            try:
                if not self._ready.is_set():
                    known = self._heard.positions.get(self._node.key("events"), (0, 0))
                    self._position = max(known, self._known, await self._beginning())
                    self._ready.set()
                await self._read()
            except RECOVERABLE as error:
                _log.warning("events could not be read: %s", error)
                await trio.sleep(RETRY_PAUSE)

    async def _beginning(self) -> tuple[int, int]:
        """The last position before the moment in which somebody began to listen."""
        seconds, micros = await self._node.client.call("TIME", idempotent=True)
        passed = time.monotonic() - self._since
        moment = int(seconds) + int(micros) / 1e6 - passed
        return int(moment * 1000) - 1, _LAST_NUMBER

    async def _read(self) -> None:
        since = f"{self._position[0]}-{self._position[1]}"
        reply = await self._node.client.block(
            "XREAD", "COUNT", BATCH, "BLOCK", int(BLOCK * 1000),
            "STREAMS", self._node.key("events"), since,
            timeout=BLOCK,
        )  # fmt: skip
        for event_id, raw in reply[0][1] if reply else ():
            self.hand_on(event_id, raw)
            self._heard.positions[self._node.key("events")] = self._position
        self._moved.unpark_all()

    def hand_on(self, event_id: bytes, raw: list[bytes]) -> None:
        """Give an entry of the stream to the handlers; one that cannot be read is skipped."""
        try:
            fields = dict(zip(raw[::2], raw[1::2], strict=True))
            for event in self._translate(parse_event(event_id, fields)):
                self._bus.publish(event)
        except (WireError, AM2ZError, ValueError) as error:
            _log.warning("an event that cannot be read was skipped: %s", error)
        self._position = _order(event_id.decode())

    def _translate(self, entry: StreamEvent) -> Iterator[Event]:
        """The events that one entry of the stream stands for."""
        told = decode_mapping(entry.data) if entry.data else {}
        if told.get("o") in (self._node.runtime_id, *self._heard.lives):
            return  # our own: its handlers have had it already
        given, failure = told.get("d"), told.get("e")
        data: dict[str, Any] = given if isinstance(given, dict) else {}
        execution_id = entry.execution_id or ""
        session_id = entry.session_id or root_of(execution_id)
        processor = entry.processor or ""
        if entry.type in _OF_EXECUTION:
            data["attempt"] = entry.attempt or 1
            if isinstance(failure, bytes):
                data["error"] = decode_error(failure)
            elif entry.why and entry.type in ("failed", "dropped"):
                metadata = ExecutionMetadata(
                    processor_name=processor, execution_id=execution_id, session_id=session_id
                )
                data["error"] = error_of(entry.why, execution_id, metadata)
            types: tuple[str, ...] = _OF_EXECUTION[entry.type]
        elif entry.type in _OF_SESSION:
            types = (_OF_SESSION[entry.type],)
        else:
            types = (entry.name or entry.type,)
        for event_type in types:
            yield Event(
                type=event_type,
                execution_id=execution_id,
                session_id=session_id,
                processor_name=processor,
                time=_order(entry.event_id)[0] / 1000,
                data=data,
            )


def _order(event_id: str) -> tuple[int, int]:
    """An event's id as something that compares by age."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)
