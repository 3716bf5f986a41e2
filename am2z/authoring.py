"""The pieces that runtimes are made of, for those who write one.

``ForwardingRuntime`` stands in front of another runtime and hands everything on to it: a subclass
writes what it does otherwise.

``BaseRuntime`` is a runtime without its engine: its life (``async with``, ``start``, ``stop``), its
registry, its events, its locks and its limits are there, and a subclass says how executions get
done. What an engine is made of is here too: ``Admission`` checks and encodes what a caller asks
for, ``attempt`` runs a processor once, ``Outcome`` says how that went, ``Slots`` bound how much
runs at once, ``BaseStateManager`` is everything of a state manager but the reading and writing.

The names of this module are as stable as those of ``am2z``; the modules they come from are not
public.
"""

from __future__ import annotations

from typing import Any

import msgspec

from am2z.admission import (
    Admission,
    Request,
    When,
    call_too_deep,
    check_same_work,
    id_taken,
    refusal,
    runtime_stopped,
    session_stopped,
)
from am2z.base import BaseRuntime
from am2z.bus import EventBus
from am2z.codec import (
    checksum,
    copy_event,
    copy_state,
    decode_error,
    decode_named_state,
    decode_state,
    encode_error,
    encode_state,
)
from am2z.context import ContextHost
from am2z.dead import MAX_DEAD, retry_id
from am2z.errors import StateCorruptError
from am2z.executor import Outcome, attempt, to_result
from am2z.forwarding import ForwardingRuntime
from am2z.ids import check_name, new_id
from am2z.local.locks import LocalLocks
from am2z.locks import HeldLock, LockBackend
from am2z.registry import Registry
from am2z.result import ExecutionMetadata, ProcessorResult
from am2z.runtime import EventHandler, ProcessorRef
from am2z.slots import Slot, Slots
from am2z.state import StateT
from am2z.statestore import BaseStateManager, StateRecord, conflict
from am2z.typenames import type_name

__all__ = [
    "MAX_DEAD",
    "Admission",
    "BaseRuntime",
    "BaseStateManager",
    "ContextHost",
    "EventBus",
    "EventHandler",
    "ForwardingRuntime",
    "HeldLock",
    "LocalLocks",
    "LockBackend",
    "Outcome",
    "ProcessorRef",
    "Registry",
    "Request",
    "Slot",
    "Slots",
    "StateRecord",
    "StateT",
    "When",
    "attempt",
    "call_too_deep",
    "check_name",
    "check_same_work",
    "checksum",
    "conflict",
    "copy_event",
    "copy_state",
    "decode_error",
    "decode_named_state",
    "decode_result",
    "decode_state",
    "encode_error",
    "encode_result",
    "encode_state",
    "id_taken",
    "new_id",
    "refusal",
    "retry_id",
    "runtime_stopped",
    "session_stopped",
    "to_result",
    "type_name",
]


class _Packed(msgspec.Struct, array_like=True):
    """A result as it is stored or sent."""

    state_type: str
    state: bytes
    error: bytes | None
    execution_time: float
    metadata: ExecutionMetadata


_packed = msgspec.msgpack.Decoder(_Packed)


def encode_result(result: ProcessorResult[Any]) -> bytes:
    """A result as bytes: to be kept under its execution's id, or sent to whoever waits."""
    return msgspec.msgpack.encode(
        _Packed(
            state_type=type_name(type(result.state)),
            state=encode_state(result.state),
            error=None if result.error is None else encode_error(result.error),
            execution_time=result.execution_time,
            metadata=result.metadata,
        )
    )


def decode_result(data: bytes) -> ProcessorResult[Any]:
    """The result that ``encode_result`` turned into ``data``.

    Raises ``StateCorruptError`` for other bytes, and ``ValidationError`` where this process has not
    imported the class of the state.
    """
    try:
        packed = _packed.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateCorruptError(f"{len(data)} bytes that are no result: {error}") from error
    return ProcessorResult(
        success=packed.error is None,
        state=decode_named_state(packed.state_type, packed.state),
        error=None if packed.error is None else decode_error(packed.error),
        execution_time=packed.execution_time,
        metadata=packed.metadata,
    )
