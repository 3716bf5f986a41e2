"""Executions and results as JSON, which is what goes through streaq."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from typing import Any

import msgspec

from am2z import AppState, ExecutionMetadata, ProcessorResult
from am2z.authoring import (
    Request,
    decode_error,
    decode_named_state,
    encode_error,
    encode_state,
    type_name,
)


def dump(value: Any) -> str:
    """Streaq's serializer. What JSON does not know, as an exception, goes as text."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def load(text: str | bytes) -> Any:
    """Streaq's deserializer."""
    return msgspec.json.decode(text)


def pack_state(state: AppState) -> list[str]:
    """A state by the name of its class."""
    return [type_name(type(state)), b64encode(encode_state(state)).decode()]


def unpack_state(packed: list[str]) -> Any:
    """The other end of ``pack_state``."""
    return decode_named_state(packed[0], b64decode(packed[1]))


def pack_request(request: Request[Any]) -> dict[str, Any]:
    """What a worker needs to know of an execution."""
    return {
        "name": request.name,
        "session_id": request.session_id if request.is_named else None,
        "execution_id": request.execution_id,
        "state": [type_name(type(request.state)), b64encode(request.data).decode()],
        "begin_at": None if request.when is None else time.time() + request.when.seconds(),
    }


def pack_result(result: ProcessorResult[Any]) -> dict[str, Any]:
    """What the caller is told."""
    return {
        "state": pack_state(result.state),
        "error": None if result.error is None else b64encode(encode_error(result.error)).decode(),
        "execution_time": result.execution_time,
        "metadata": msgspec.to_builtins(result.metadata),
    }


def unpack_result(packed: dict[str, Any]) -> ProcessorResult[Any]:
    """The other end of ``pack_result``."""
    error = packed["error"]
    return ProcessorResult(
        success=error is None,
        state=unpack_state(packed["state"]),
        error=None if error is None else decode_error(b64decode(error)),
        execution_time=packed["execution_time"],
        metadata=msgspec.convert(packed["metadata"], ExecutionMetadata),
    )
