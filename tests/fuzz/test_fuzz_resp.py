"""RESP replies of any bytes, cut anywhere: replies or a clear error, in bounded memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError

from am2z.queue.client.resp import PythonReader, new_reader
from am2z.queue.client.transport import WIRE_ERRORS, _feed

from .garbage import tries

LINES = st.one_of(
    st.sampled_from([b"+", b"-", b":", b"$", b"*"]).flatmap(
        lambda kind: st.one_of(
            st.integers(-5, 12).map(lambda n: b"%d" % n),
            st.integers(-(2**70), 2**70).map(lambda n: b"%d" % n),
            st.sampled_from([b"", b"-", b"1_0", b" 1", b"+1", b"0x1", b"9" * 5000, b"MOVED 1",
                             b"MOVED x y", b"ASK 1 :", b"ERR", b"NOAUTH", b"-1e9"]),
            st.binary(max_size=8),
        ).map(lambda rest: kind + rest + b"\r\n")
    ),
    st.binary(max_size=12),
)  # fmt: skip
STREAMS = st.lists(LINES, max_size=8).map(b"".join)


def read(reader: Any, data: bytes, cuts: list[int]) -> list[Any]:
    """Everything that a connection would hand on before it gives up."""
    replies, start = [], 0
    try:
        for end in [*sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]:
            if end > start:
                replies += _feed(reader, data[start:end])
                start = end
    except WIRE_ERRORS:
        replies.append("refused")
    return replies


def is_reply(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(is_reply, value))
    return value is None or isinstance(value, bytes | int | RedisError)


@pytest.mark.parametrize("make", [PythonReader, new_reader])
@tries(150)
@given(data=STREAMS, cuts=st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_are_replies_or_end_the_connection(
    make: Any, data: bytes, cuts: list[int]
) -> None:
    replies = read(make(), data, cuts)
    assert all(map(is_reply, replies[:-1]))
    assert not replies or replies[-1] == "refused" or is_reply(replies[-1])


@tries(100)
@given(data=STREAMS, cuts=st.lists(st.integers(0, 300), max_size=5))
def test_where_the_bytes_are_cut_changes_nothing(data: bytes, cuts: list[int]) -> None:
    def told(replies: list[Any]) -> list[str]:
        return list(map(repr, replies))

    cut, whole = (told(read(PythonReader(), data, at)) for at in (cuts, []))
    if whole == ["'refused'"]:  # what came before it in the same piece goes with the connection
        assert cut[-1] == "'refused'"
    else:
        assert cut == whole


@pytest.mark.parametrize("make", [PythonReader, new_reader])
@pytest.mark.parametrize(
    "claim", [b"$536870912\r\n", b"$9223372036854775807\r\n", b"*1048576\r\n", b"*4294967295\r\n",
              b"*9223372036854775807\r\n", b"*1\r\n" * 7 + b"*9999999\r\n"],
)  # fmt: skip
def test_a_claimed_length_takes_no_memory(make: Any, claim: bytes) -> None:
    reader, before = make(), resident_memory()
    read(reader, claim + b"$1\r\nx\r\n", [])
    assert resident_memory() - before < 8_000_000


def resident_memory() -> int:
    """In bytes. hiredis reserves addresses for a claimed length, but touches no memory for it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("make", [PythonReader, new_reader])
@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_deep_nesting_ends_the_connection_and_not_the_process(make: Any, depth: int) -> None:
    replies = read(make(), b"*1\r\n" * depth + b":1\r\n", [])
    assert replies == ["refused"]


@pytest.mark.parametrize("make", [PythonReader, new_reader])
def test_a_nesting_that_scripts_answer_is_read(make: Any) -> None:
    replies = read(make(), b"*1\r\n" * 6 + b":1\r\n", [])
    assert replies == [[[[[[[1]]]]]]]


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    reader = PythonReader()
    replies = []
    for _ in range(400):
        replies += read(reader, b"+" + b"x" * 65_536, [])
        if replies:
            break
    assert replies == ["refused"]
