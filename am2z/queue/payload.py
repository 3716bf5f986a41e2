"""What goes through Redis: the job that a worker gets, and the ending that a caller gets."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from am2z.admission import session_stopped
from am2z.codec import decode_error, decode_named_state, encode_error, encode_state
from am2z.errors import (
    AM2ZError,
    ExecutionCancelledError,
    NetworkError,
    PoisonExecutionError,
    StateCorruptError,
)
from am2z.executor import Outcome
from am2z.queue.wire import Finished, Status, Why
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.state import AppState, StateMetadata, StateT
from am2z.typenames import type_name

__all__ = [
    "Ending",
    "Job",
    "call_hash",
    "error_of",
    "progress_at_end",
    "read_result",
    "root_of",
]


class Job(msgspec.Struct, frozen=True, array_like=True):
    """The work itself. ``budget``: seconds that are left of the caller's own deadline."""

    type_name: str
    data: bytes
    depth: int = 0
    budget: float | None = None

    def encode(self) -> bytes:
        """This job as bytes."""
        return _encoder.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Job:
        """The job in ``data``. Raises ``StateCorruptError`` where there is none."""
        job: Job = _decode(_job_decoder, data)
        return job


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """How an execution ended, as its worker tells it. ``data`` is empty where no state is told."""

    type_name: str
    data: bytes
    error: bytes
    elapsed: float
    completed_steps: int
    attempt: int
    started_at: float
    progress: float = 0.0

    @classmethod
    def of(
        cls,
        outcome: Outcome[Any],
        data: bytes | None,
        metadata: ExecutionMetadata,
        progress: float,
    ) -> Ending:
        """The ending that an outcome means; ``data`` are the bytes of a success."""
        state = outcome.state if outcome.error is None else outcome.partial
        if data is None and state is not None:
            data = encode_state(state)
        return cls(
            type_name(type(state)) if state is not None else "",
            data or b"",
            b"" if outcome.error is None else encode_error(outcome.error),
            outcome.elapsed,
            outcome.completed_steps,
            metadata.attempt,
            metadata.started_at,
            progress,
        )

    def encode(self) -> bytes:
        """This ending as bytes."""
        return _encoder.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Ending:
        """The ending in ``data``. Raises ``StateCorruptError`` where there is none."""
        ending: Ending = _decode(_ending_decoder, data)
        return ending

    def result(self, given: StateT, metadata: ExecutionMetadata) -> ProcessorResult[StateT]:
        """The result that the caller gets, who gave the state ``given``."""
        metadata = msgspec.structs.replace(
            metadata,
            attempt=self.attempt,
            started_at=self.started_at,
            completed_steps=self.completed_steps,
        )
        error = decode_error(self.error) if self.error else None
        state: Any = given
        if self.type_name:
            state = decode_named_state(self.type_name, self.data)
        return ProcessorResult(
            success=error is None,
            state=state,
            error=error,
            execution_time=self.elapsed,
            metadata=metadata,
        )


def read_result(
    finished: Finished, given: StateT, metadata: ExecutionMetadata
) -> ProcessorResult[StateT]:
    """The result of a finished execution; what cannot be read becomes a failure that says so."""
    error: AM2ZError | None
    if finished.why is not Why.NONE:
        error = error_of(finished.why, finished.id, metadata)
    else:
        try:
            result = Ending.decode(finished.body or b"").result(given, metadata)
        except AM2ZError as unreadable:
            error = unreadable
        else:
            if result.success == (finished.status is Status.DONE):
                return result
            error = StateCorruptError(f"the result of {finished.id} contradicts its own status")
    return ProcessorResult(success=False, state=given, error=error, metadata=metadata)


def progress_at_end(finished: Finished, known: float) -> float:
    """How far an execution was when it ended; ``known`` where that cannot be read."""
    body = finished.body or b""
    try:
        return Ending.decode(body).progress if finished.why is Why.NONE else float(body)
    except (AM2ZError, ValueError):
        return known


def error_of(why: str, execution_id: str, metadata: ExecutionMetadata) -> AM2ZError:
    """The error of an execution that ended without a word from its worker."""
    if why == Why.STOPPED:
        return session_stopped(metadata.session_id)
    if why == Why.POISON:
        return PoisonExecutionError(
            f"every worker that took execution {execution_id} of {metadata.processor_name!r} died "
            "with it; look at what it does to its process before running it again"
        )
    if why == Why.CORRUPT:
        return StateCorruptError(
            f"the record of execution {execution_id} in Redis was damaged, so it was set aside; "
            "look whether another program writes to keys of this namespace"
        )
    if why == Why.LOST:
        return NetworkError(
            f"Redis no longer knows execution {execution_id}: it lost data, or `result_ttl` passed "
            "before anybody asked; whether it ran is unknown"
        )
    if why == Why.ORPHAN:
        return ExecutionCancelledError(f"execution {execution_id} lost the one that called it")
    return ExecutionCancelledError(f"execution {execution_id} was cancelled")


def call_hash(name: str, state: AppState) -> str:
    """A fingerprint of a nested call: the same whenever the same is called with the same values.

    The metadata are left out: they hold times, which differ between two deliveries.
    """
    bare = msgspec.structs.replace(state, metadata=_NO_METADATA)
    return hashlib.sha256(f"{name}\0".encode() + encode_state(bare)).hexdigest()[:16]


def root_of(execution_id: str) -> str:
    """The execution that a caller asked for, of which this one is a part.

    Where no session was named it is that execution's own, and has its id.
    """
    return execution_id.partition("/")[0]


_NO_METADATA = StateMetadata(version=0, created_at=0.0, last_updated=0.0)
_encoder = msgspec.msgpack.Encoder()
_job_decoder = msgspec.msgpack.Decoder(Job)
_ending_decoder = msgspec.msgpack.Decoder(Ending)


def _decode(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateCorruptError(
            f"{len(data)} bytes that are no message of this version of AM2Z: {error}"
        ) from error
