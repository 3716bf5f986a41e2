"""Mutants that change a state on its way to bytes and back, or share it (STA)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import msgspec

from am2z import codec, executor, statestore
from am2z.codec import encode_state
from am2z.executor import Outcome
from am2z.local.engine import Engine
from am2z.state import AppState, StateT
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


# --- the way to bytes and back


def _converted(kind: type[Any], change: Callable[[Any], Any]) -> Any:
    """The result of an execution has fields of one kind changed."""
    right = executor.decode_state

    def decode(cls: type[StateT], data: bytes) -> StateT:
        new = right(cls, data)
        fields = {name: getattr(new, name) for name in new.__struct_fields__}
        changed = {n: change(value) for n, value in fields.items() if type(value) is kind}
        return msgspec.structs.replace(new, **changed)

    return patch(executor, "decode_state", decode)


@mutant("tuple-becomes-list", rule="STA-005")
@contextmanager
def tuple_becomes_list() -> Iterator[None]:
    """A tuple in a result comes back as a list."""
    with _converted(tuple, list):
        yield


@mutant("float-through-text", rule="STA-005")
@contextmanager
def float_through_text() -> Iterator[None]:
    """A float in a result has passed through a text of six decimals."""
    with _converted(float, lambda value: float(f"{value:.6f}")):
        yield


@mutant("microseconds-cut", rule="STA-005")
@contextmanager
def microseconds_cut() -> Iterator[None]:
    """A moment in a result has whole seconds only."""
    with _converted(datetime, lambda value: value.replace(microsecond=0)):
        yield


@mutant("checksum-constant", rule="STA-006")
@contextmanager
def checksum_constant() -> Iterator[None]:
    """Every state has the checksum of nothing."""
    with patch(codec, "hashlib", SimpleNamespace(sha256=lambda _data: hashlib.sha256())):
        yield


@mutant("checksum-not-hex", rule="STA-006")
@contextmanager
def checksum_not_hex() -> Iterator[None]:
    """A checksum is told in base 64."""

    def sha256(data: bytes) -> Any:
        text = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return SimpleNamespace(hexdigest=lambda: text)

    with patch(codec, "hashlib", SimpleNamespace(sha256=sha256)):
        yield


@mutant("checksum-of-unordered-bytes", rule="STA-006")
@contextmanager
def checksum_of_unordered_bytes() -> Iterator[None]:
    """Sets and mappings are encoded in the order in which they happen to be."""
    with patch(codec, "_encoder", msgspec.msgpack.Encoder()):
        yield


@mutant("bad-state-accepted", rule="STA-018")
@contextmanager
def bad_state_accepted() -> Iterator[None]:
    """What cannot cross the wire crosses it as its text."""
    forgiving = msgspec.msgpack.Encoder(order="deterministic", enc_hook=repr)
    with patch(codec, "_encoder", forgiving):
        yield


@mutant("bad-state-without-path", rule="STA-018")
@contextmanager
def bad_state_without_path() -> Iterator[None]:
    """A state that cannot cross is refused without saying which part of it."""
    with patch(codec, "_find_culprit", lambda _value, error: ("state", str(error))):
        yield


@mutant("bad-result-passes-locally", rule="STA-019")
@contextmanager
def bad_result_passes_locally() -> Iterator[None]:
    """A result that cannot cross is a success, as no wire is in its way."""
    right = Outcome.seal

    def seal(self: Outcome[Any], limit: int | None = None) -> bytes | None:
        made, error = self.state, self.error
        data = right(self, limit)
        if data is None and made is not None:
            self.state, self.error = made, error
            return encode_state(AppState())
        return data

    with patch(Outcome, "seal", seal):
        yield


@mutant("bad-result-raises", rule="STA-019")
@contextmanager
def bad_result_raises() -> Iterator[None]:
    """A result that cannot cross raises where it is encoded, in nobody's hands."""
    with edit(Outcome, "seal", "self.state, self.error = None, error", "raise"):
        yield


# --- by value


@mutant("nested-call-shares-state", rule="STA-011")
@contextmanager
def nested_call_shares_state() -> Iterator[None]:
    """A nested call works on its caller's own object."""
    wrong = "processor, request.state if is_child else request.given(), ctx"
    with edit(Engine, "_attempts", "processor, request.given(), ctx", wrong):
        yield


@mutant("store-hands-out-its-own", rule="STA-011")
@contextmanager
def store_hands_out_its_own() -> Iterator[None]:
    """Every reader of a committed state gets the same object."""
    right, kept = statestore._verified, dict[tuple[int, Any], Any]()

    def verified(session_id: str, record: Any, cls: Any) -> Any:
        key = (id(record), cls)
        if key not in kept:
            kept[key] = (record, right(session_id, record, cls))
        return kept[key][1]

    with patch(statestore, "_verified", verified):
        yield
