"""What is read from Redis is understood or refused, and never half understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am2z.queue.keys import encode
from am2z.queue.wire import CancelOrder, Finished, Status, Why, WireError, parse_event, parse_inbox

names = st.text(max_size=20)


def write(entry: Finished) -> bytes:
    """An entry as the scripts write it."""
    head = [encode(entry.id), entry.status, entry.why or "-", str(entry.version)]
    rest = b"*" if entry.body is None else b"=" + entry.body
    return " ".join([*head, entry.event_id or "-"]).encode() + b" " + rest


@given(
    names,
    st.sampled_from([Status.DONE, Status.FAILED]),
    st.sampled_from(Why),
    st.integers(0, 2**63),
    st.sampled_from([None, "1700000000000-0", "0-1"]),
    st.one_of(
        st.none(), st.binary(max_size=200), st.sampled_from([b"*", b" ", b"=", b"a b c d e f"])
    ),
)
def test_every_entry_is_read_as_it_was_written(
    name: str, status: Status, why: Why, version: int, event_id: str | None, body: bytes | None
) -> None:
    entry = Finished(name, status, why, version, event_id, body)
    assert parse_inbox(write(entry)) == entry


@given(names, st.integers(0, 2**63))
def test_every_order_is_read_as_it_was_written(name: str, fence: int) -> None:
    assert parse_inbox(f"{encode(name)} !{fence}".encode()) == CancelOrder(name, fence)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.text("abD F-01=*!% ", max_size=30).map(str.encode),
        st.binary(min_size=5000, max_size=5100),
    )
)
def test_garbage_is_refused_or_means_what_it_says(data: bytes) -> None:
    try:
        entry = parse_inbox(data)
    except WireError:
        return
    if isinstance(entry, Finished):
        assert write(entry).split(b" ")[:3] == data.split(b" ")[:3]
    else:
        assert data.startswith(encode(entry.id).encode() + b" !")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        b"a !",
        b"a !x",
        b"a !-1",
        b"a ! 1",
        b"a !1 ",
        b"a !" + b"1" * 21,
        b"a D - 0 1-1 body",
        b"a D - 0 1-1 *more",
        b"a D - 0 1-1 ",
        b"a w - 0 1-1 =x",
        b"a D why 0 1-1 =x",
        b"a D - -1 1-1 =x",
        b"a D - 0 1_1 =x",
        b"a%zz D - 0 1-1 =x",
        b"\xff D - 0 1-1 =x",
        b"x" * 1_000_000,
        b" " * 1_000_000,
    ],
)
def test_what_no_script_writes_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        parse_inbox(data)


@given(
    st.dictionaries(st.sampled_from([b"t", b"i", b"p", b"s", b"a", b"d"]), st.binary(max_size=9))
)
def test_an_event_of_garbage_is_refused_or_read(fields: dict[bytes, bytes]) -> None:
    try:
        event = parse_event(b"1-1", fields)
    except WireError:
        return
    assert event.type.encode() == fields[b"t"]


def test_an_event_without_a_type_is_refused() -> None:
    with pytest.raises(WireError, match="no event"):
        parse_event(b"1-1", {})
