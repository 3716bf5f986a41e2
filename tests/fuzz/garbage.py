"""Strategies for garbage, and how many examples of it are tried."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONG = bool(os.environ.get("AM2Z_CHAOS"))
FACTOR = 100 if LONG else 1


def tries(examples: int) -> settings:
    """Bounded in the normal run; a hundred times as many with ``AM2Z_CHAOS=1``."""
    return settings(
        max_examples=examples * FACTOR, deadline=None, suppress_health_check=list(HealthCheck)
    )


DEEP = 100_000
"""A nesting that no recursion survives."""

PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=12),
        st.binary(max_size=12),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
"""Anything that MessagePack can say."""

REPLIES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.integers(-(2**63), 2**63 - 1),
        st.binary(max_size=20),
        st.sampled_from(
            [b"ok", b"w", b"D", b"-1", b"1", b"finished", b"full", b"a%zz", b"a D - 0 1-1 =x"]
        ),
    ),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=12,
)
"""Anything that a Redis script can answer."""

MSGPACK = st.one_of(
    st.binary(max_size=60),
    PLAIN.map(msgspec.msgpack.encode),
    # a whole message with a piece cut out or put in
    st.tuples(PLAIN.map(msgspec.msgpack.encode), st.integers(0, 60), st.binary(max_size=4)).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + 1 :]
    ),
    # lengths that nobody keeps: 2**32 - 1 elements, keys, characters, bytes
    st.sampled_from([b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"]).flatmap(
        lambda head: st.binary(max_size=9).map(lambda rest: head + b"\xff\xff\xff\xff" + rest)
    ),
    st.sampled_from([b"\x91" * DEEP, b"\x81\xa1a" * DEEP, b"\x91" * DEEP + b"\xc0"]),
)
"""Bytes that claim to be MessagePack."""
