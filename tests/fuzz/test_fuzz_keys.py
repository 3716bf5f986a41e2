"""Garbage in every kind of key: no script ends halfway, and other work goes on."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.distributed.protocol.protocol_driver import Driver
from tests.distributed.protocol.spoil import JUNK, names, spoil, work_off, world
from tests.distributed.protocol.test_protocol_garbage import goes_on

from .garbage import tries


@tries(100)
@given(
    st.integers(0, 200),
    st.sampled_from(["kind", "part", "part", "less", "more"]),
    st.sampled_from(JUNK),
    st.integers(0, 12),
)
def test_garbage_in_any_key_ends_no_script_and_stops_no_other_work(
    server: Any, which: int, how: str, junk: bytes, pick: int
) -> None:
    d = Driver(server)
    world(d)
    keys = names(d)
    spoil(d, keys[which % len(keys)], how, junk, pick)
    goes_on(d)


@tries(40)
@given(
    st.sampled_from(["waiting1", "alone1", "active", "delayed", "parent"]),
    st.sampled_from(["part", "less"]),
    st.sampled_from(JUNK),
    st.integers(0, 12),
)
def test_a_broken_record_leaves_no_waiter_and_no_lasting_key(
    server: Any, name: str, how: str, junk: bytes, pick: int
) -> None:
    """Its caller finds an end, or that nothing is known: then it is told that it was lost.

    (Where the name of the processor or the session is replaced, it waits for that one.)
    """
    d = Driver(server)
    world(d)
    key = d.keys.job(name)
    named = d.raw.hmget(key, "p", "s")
    spoil(d, key.encode(), how, junk, pick)
    assume(how == "less" or d.raw.hmget(key, "p", "s") == named)
    work_off(d)
    [look] = d.look([name])
    assert look.status in ("D", "F", "")
    assert not d.raw.exists(d.keys.job(name))
