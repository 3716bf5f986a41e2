"""Whatever comes out of Redis or off the wire: the right value, or the one documented error."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from am2z import AM2ZError, AppState, ProcessorResult
from am2z.bus import EventBus
from am2z.codec import (
    checksum,
    decode_error,
    decode_mapping,
    decode_named_state,
    decode_state,
    encode_error,
)
from am2z.errors import StateCorruptError, ValidationError
from am2z.queue.dead import _letter
from am2z.queue.keys import Keys
from am2z.queue.payload import Ending, Job, read_result
from am2z.queue.protocol import Parent, Protocol, Report, StateWrite, Submission
from am2z.queue.stream import EventReader
from am2z.queue.upkeep import Buried
from am2z.queue.wire import (
    CancelOrder,
    Finished,
    LockFree,
    Status,
    StreamEvent,
    Why,
    WireError,
    as_bytes,
    as_enum,
    as_event_id,
    as_int,
    as_list,
    as_name,
    as_session,
    as_text,
    parse_event,
    parse_inbox,
)
from am2z.result import ExecutionMetadata
from am2z.statestore import StateRecord, _verified
from am2z.typenames import type_name
from tests.distributed.protocol.protocol_driver import now

from .garbage import DEEP, MSGPACK, PLAIN, REPLIES, tries


class Thing(AppState):
    count: int = 0
    items: tuple[dict[str, Any], ...] = ()
    ratio: float | None = None


class OddError(AM2ZError):
    """Has what a field from outside must not replace."""

    code = "ODD"
    limit = 7

    def __init__(self, message: str, first: int, second: int) -> None:
        super().__init__(message)
        self.first, self.second = first, second

    @property
    def total(self) -> int:
        return self.first + self.second

    def explain(self) -> str:
        return "odd"


NAME = type_name(Thing)
METADATA = ExecutionMetadata(processor_name="p", execution_id="i", session_id="s")


def is_short(error: Exception) -> None:
    """It quotes the beginning of what it refuses, and not a megabyte."""
    assert len(str(error)) < 500


# --- wire.py


@tries(150)
@given(st.one_of(st.binary(max_size=60), REPLIES))
def test_every_reader_of_a_value_gives_its_type_or_a_wire_error(value: Any) -> None:
    kinds = {as_bytes: bytes, as_text: str, as_name: str, as_int: int, as_event_id: str,
             as_list: list, as_session: str | None}  # fmt: skip
    for read, kind in kinds.items():
        with contextlib.suppress(WireError):
            assert isinstance(read(value), kind)
    with contextlib.suppress(WireError):
        assert as_enum(Status, value) in Status


WORDS = st.lists(
    st.sampled_from([b"a", b"D", b"F", b"-", b"0", b"1-1", b"=x", b"*", b"!7", b"+", b"%zz",
                     b"", b"\xff", b"9" * 30, b"corrupt", b"stopped", b"nobody"]),
    max_size=9,
).map(b" ".join)  # fmt: skip


@tries(150)
@given(st.one_of(WORDS, st.binary(max_size=80)))
@example(b" " * 1_000_000)
@example(b"a D - 0 1-1 =" + b"x" * 1_000_000)
def test_a_message_of_an_inbox_is_read_or_refused(data: bytes) -> None:
    try:
        told = parse_inbox(data)
    except WireError as error:
        is_short(error)
        return
    assert isinstance(told, Finished | CancelOrder | LockFree)


FIELDS = st.dictionaries(
    st.one_of(st.sampled_from([b"t", b"i", b"p", b"s", b"a", b"n", b"d", b"y"]), st.binary()),
    st.one_of(
        st.sampled_from([b"failed", b"custom", b"created", b"dropped"]), st.binary(), MSGPACK
    ),
    max_size=9,
)


@tries(100)
@given(st.one_of(st.binary(max_size=9), st.sampled_from([b"1-1"])), FIELDS)
def test_an_event_is_read_or_refused(event_id: bytes, fields: dict[bytes, bytes]) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(parse_event(event_id, fields), StreamEvent)


class Anywhere:
    """Stands for the node of a runtime that reads events."""

    runtime_id = "me"


@tries(100)
@given(FIELDS)
@example({b"t": b"failed", b"i": b"x", b"d": msgspec.msgpack.encode({"e": b"\x91" * DEEP})})
@example({b"t": b"custom", b"d": b"\x81\xa1d" + b"\x91" * DEEP})
def test_an_event_of_garbage_never_stops_the_reader_of_events(fields: dict[bytes, bytes]) -> None:
    reader = EventReader(Anywhere(), EventBus())  # type: ignore[arg-type]
    reader.hand_on(b"5-1", [part for pair in fields.items() for part in pair])
    assert reader._position == (5, 1)


# --- protocol.py


class Parrot:
    """A client to whom Redis answers anything."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    async def run_script(self, *_: Any, **__: Any) -> Any:
        return self.reply

    async def block_then_run(self, *_: Any, **__: Any) -> Any:
        return None, self.reply


REPORT = Report("i", 1, success=True, body=b"")
CALLS = {
    "enqueue": ("i", "p", b""),
    "enqueue_many": ([Submission("i", "p", b""), Submission("j", "p", b"")],),
    "claim": ("r", [("p", 1)], {"total": 1, "lease": 1.0, "reports": [REPORT]}),
    "claim_when_woken": ("r", [("p", 1)], {"lease": 1.0, "patience": 1.0}),
    "heartbeat": ([("i", 1)], 1.0),
    "ack": ("i", 1, {"success": True, "body": b""}),
    "ack_many": ([REPORT, REPORT],),
    "nack": ("i", 1, {"retry": True}),
    "cancel": ("i",),
    "emit": ("i", 1, "custom"),
    "emit_runtime": ("n",),
    "look": (["i", "j"],),
    "reclaim": (),
    "promote": (),
    "presence": ("r", ["p"], 1.0),
    "leave": ("r",),
    "layout": (1,),
    "stop_session": ("s",),
    "forget_session": ("s",),
    "expired_sessions": (1.0,),
    "active_sessions": (),
    "stats": (),
    "dead": (),
    "dead_drop": ("i",),
    "state_set": ("s", StateWrite(b"", "", "")),
    "lock_acquire": ("l", "o", 1.0),
    "lock_extend": ("l", "o", 1.0),
    "lock_release": ("l", "o"),
}


@pytest.mark.parametrize("name", CALLS)
@tries(40)
@given(reply=REPLIES)
def test_a_reply_that_no_script_gives_is_a_wire_error(name: str, reply: Any) -> None:
    args = [arg for arg in CALLS[name] if not isinstance(arg, dict)]
    options = next((arg for arg in CALLS[name] if isinstance(arg, dict)), {})
    protocol = Protocol(Parrot(reply), Keys("n"))
    try:
        now(getattr(protocol, name)(*args, **options))
    except WireError as error:
        is_short(error)


def test_every_method_of_the_protocol_is_fuzzed() -> None:
    methods = {name for name, found in vars(Protocol).items() if callable(found)}
    methods |= {name for name in dir(Protocol) if not name.startswith("_")}
    assert {name for name in methods if not name.startswith("_")} == CALLS.keys()
    assert Parent("a", 1, "h").id == "a"


# --- payload.py, codec.py

ROWS = st.lists(st.one_of(PLAIN, MSGPACK), max_size=10).map(msgspec.msgpack.encode)
BYTES = st.one_of(MSGPACK, ROWS)
NESTED = [b"\x91" * DEEP, b"\x81\xa1a" * DEEP, b"\x99" + b"\x91" * DEEP, b"\xdd\xff\xff\xff\xff"]


@tries(150)
@given(BYTES)
@example(NESTED[0])
@example(NESTED[1])
@example(NESTED[2])
@example(NESTED[3])
@example(msgspec.msgpack.encode(["", b"", b"", 0.0, 0, 1, 0.0, 0.0]) + b"\x91" * DEEP)
@example(b"\x9f\xa0\xc4\x00\xa0\x00\xc0" + b"\x91" * DEEP)
def test_a_job_and_an_ending_are_read_or_corrupt(data: bytes) -> None:
    for kind in (Job, Ending):
        try:
            assert isinstance(kind.decode(data), kind)
        except StateCorruptError as error:
            is_short(error)


@tries(75)
@given(st.sampled_from(Status), st.sampled_from(Why), BYTES)
def test_a_result_is_always_a_result(status: Status, why: Why, body: bytes) -> None:
    finished = Finished("i", status, why, 0, None, body)
    result = read_result(finished, Thing(count=1), METADATA)
    assert isinstance(result, ProcessorResult)
    assert result.success == (result.error is None)


@tries(75)
@given(st.sampled_from([NAME, "builtins:dict", "os:system", "", "x" * 9999]), BYTES, BYTES)
def test_an_ending_of_wrong_parts_is_always_a_result(name: str, data: bytes, error: bytes) -> None:
    body = Ending(name, data, error, 0.0, 0, 1, 0.0).encode()
    for status in (Status.DONE, Status.FAILED):
        finished = Finished("i", status, Why.NONE, 0, None, body)
        result = read_result(finished, Thing(count=1), METADATA)
        assert result.success == (result.error is None)


@tries(75)
@given(BYTES, BYTES)
def test_a_dead_letter_can_always_be_shown(payload: bytes, body: bytes) -> None:
    letter = _letter(Buried("i", 1.0, "p", None, payload, body))
    assert isinstance(letter.error, AM2ZError)
    assert isinstance(letter.data, bytes)


@tries(100)
@given(BYTES)
def test_a_state_is_read_or_invalid(data: bytes) -> None:
    with contextlib.suppress(ValidationError):
        assert isinstance(decode_state(Thing, data), Thing)


@tries(50)
@given(st.integers(0, 9), st.one_of(st.text(max_size=30), st.just(NAME)), BYTES, st.booleans())
def test_a_record_of_a_state_is_verified_before_it_is_believed(
    version: int, name: str, data: bytes, fits: bool
) -> None:
    record = StateRecord(version, name, data, checksum(data) if fits else "0" * 64)
    try:
        found = _verified("s", record, None)
    except StateCorruptError:
        assert not fits
    except ValidationError:
        assert fits
    else:
        assert fits
        assert isinstance(found.state, Thing)


@pytest.mark.parametrize(
    "name", ["os:system", "builtins:dict", "subprocess:Popen", "am2z:AM2ZError"]
)
def test_a_name_on_the_wire_reaches_states_only(name: str) -> None:
    with pytest.raises(ValidationError):
        decode_named_state(name, b"\x80")


@tries(100)
@given(BYTES)
def test_a_mapping_is_read_or_corrupt(data: bytes) -> None:
    with contextlib.suppress(StateCorruptError):
        assert isinstance(decode_mapping(data), dict)


# --- errors

KINDS = st.one_of(
    st.sampled_from([type_name(OddError), "am2z.error:AM2ZError", "am2z.errors:ValidationError",
                     "builtins:SystemExit", "builtins:Exception", "nowhere:Error"]),
    PLAIN,
)  # fmt: skip
KEYS = ["type", "code", "category", "severity", "retryable", "message", "context", "fields",
        "notes", "cause", "cause_text", "failed_processor"]  # fmt: skip
EVIL = st.sampled_from(
    ["__class__", "__dict__", "__traceback__", "__cause__", "args", "to_dict", "with_cause",
     "add_note", "total", "explain", "first", "limit", "message", "context", "a b", ""]
)  # fmt: skip
ERRORS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS,
            "fields": st.one_of(PLAIN, st.dictionaries(EVIL, PLAIN, max_size=5)),
            **{key: PLAIN for key in KEYS if key not in ("type", "fields")},
        },
    ),
    lambda inner: st.tuples(inner, inner).map(lambda pair: {**pair[0], "cause": pair[1]}),
    max_leaves=4,
)


@tries(60)
@given(ERRORS)
def test_any_mapping_is_an_error_of_a_class_that_was_defined_here(data: dict[str, Any]) -> None:
    error = AM2ZError.from_dict(data)
    assert isinstance(error, AM2ZError)
    assert isinstance(error.message, str)
    assert isinstance(error.context, dict)
    assert isinstance(error.retryable, bool)
    for method in ("to_dict", "with_cause", "add_note"):
        assert callable(getattr(error, method))
    if isinstance(error, OddError):
        assert error.explain() == "odd"
        assert type(error).total.fget is not None  # type: ignore[attr-defined]
    again = decode_error(encode_error(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


@tries(100)
@given(BYTES)
def test_bytes_are_an_error_or_corrupt(data: bytes) -> None:
    with contextlib.suppress(StateCorruptError):
        assert isinstance(decode_error(data), AM2ZError)


def test_a_long_chain_of_causes_is_cut() -> None:
    data: dict[str, Any] = {"message": "last"}
    for _ in range(900):
        data = {"message": "x", "cause": data}
    error: BaseException | None = AM2ZError.from_dict(data)
    depth = 0
    while error is not None:
        error, depth = error.__cause__, depth + 1
    assert depth <= 10
