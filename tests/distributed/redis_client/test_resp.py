from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import DataError, InvalidResponse, NoScriptError, RedisError

from am2z.queue.client import resp
from am2z.queue.client.resp import INCOMPLETE, PythonReader, new_reader, pack

REPLIES = st.recursive(
    st.one_of(
        st.none(),
        st.integers(-(2**63), 2**63 - 1),
        st.binary(max_size=40),
    ),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def encode(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(encode, reply))


def read_all(reader: Any, data: bytes, cuts: list[int]) -> list[Any]:
    replies, start = [], 0
    for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
        if cut > start:
            reader.feed(data[start:cut])
            start = cut
        while (reply := reader.gets()) is not INCOMPLETE:
            replies.append(reply)
    return replies


@given(st.lists(REPLIES, max_size=5), st.lists(st.integers(0, 10_000), max_size=8))
def test_readers_give_every_reply_however_the_bytes_are_cut(
    replies: list[Any], cuts: list[int]
) -> None:
    data = b"".join(map(encode, replies))
    assert read_all(PythonReader(), data, cuts) == replies
    assert read_all(new_reader(), data, cuts) == replies


@pytest.mark.parametrize("make", [PythonReader, new_reader])
def test_readers_give_errors_as_objects_also_inside_arrays(make: Any) -> None:
    reader = make()
    reader.feed(b"*2\r\n+OK\r\n-NOSCRIPT No matching script.\r\n")
    ok, error = reader.gets()
    assert ok == b"OK"
    assert isinstance(error, NoScriptError)


@pytest.mark.parametrize("make", [PythonReader, new_reader])
def test_readers_refuse_what_is_not_resp(make: Any) -> None:
    reader = make()
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(InvalidResponse):
        reader.gets()


@pytest.mark.parametrize("with_hiredis", [True, False])
def test_packing_splits_command_names_and_takes_every_kind_of_argument(
    with_hiredis: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_hiredis:
        monkeypatch.setattr(resp, "hiredis", None)
    assert pack(("CONFIG GET", "x")) == b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$1\r\nx\r\n"
    assert pack((b"SET", "k", 1.5)) == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n1.5\r\n"
    assert (
        pack(("ECHO", memoryview(b"ab")))
        == pack(("ECHO", bytearray(b"ab")))
        == pack(("ECHO", "ab"))
    )


@pytest.mark.parametrize("args", [(), ("",), (None,), ("GET", None), ("GET", object())])
def test_packing_refuses_what_redis_cannot_hold(args: tuple[Any, ...]) -> None:
    with pytest.raises((DataError, RedisError)):
        pack(args)
