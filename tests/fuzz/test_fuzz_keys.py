"""Garbage in every kind of key: no script ends halfway, and other work goes on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from am2z.queue.protocol import Parent, StateWrite
from am2z.queue.wire import Finished, Why
from tests.distributed.protocol.protocol_driver import Driver, check

from .garbage import tries

STATE = StateWrite(b"data", "sum", "m:T")
JUNK = [
    b"", b" ", b"\xff\x00", b"nan", b"inf", b"-inf", b"-1", b"1e400", b"9" * 400, b"x y z", b"%zz",
    b"a", b"w", b"D", b"2", b"{}:*", b"123456789012345678901",
]  # fmt: skip
SPARED = ("clock",)  # the virtual clock is no key of the protocol


def world(d: Driver) -> None:
    """Something of everything that a namespace can hold."""
    d.raw.flushall()
    d.advance(0)
    d.presence("wk", ["p", "q"], 1000.0)
    d.add("done", reply_to="me", session_id="A")
    d.done(d.take_one(), state=STATE)
    d.add("dead", reply_to="me", session_id="A")
    d.fail(d.take_one())
    d.add("parent", "top", reply_to="me", session_id="A")
    item = d.take_one("top", worker="wk")
    for n in range(2):
        d.add(f"parent/1-{n}", "q", parent=Parent("parent", item.fence, "h"), reply_to="wk")
    d.emit("parent", item.fence, "progress", progress=3.0)
    d.add("active", reply_to="me", session_id="B")
    d.take_one("p", lease=1.0, worker="wk")
    d.add("delayed", delay=1.0, reply_to="me", session_id="A")
    for n in range(3):
        d.add(f"waiting{n}", reply_to="me", session_id="A")
        d.add(f"alone{n}", reply_to="me")
    d.lock_acquire("l", "one", 60.0)
    d.lock_acquire("l", "two", 60.0, runtime_id="me", wait=60.0)


def names(d: Driver) -> list[bytes]:
    return sorted(key for key in d.raw.scan_iter("*") if key.decode() not in SPARED)


def spoil(d: Driver, key: bytes, how: str, junk: bytes, pick: int) -> None:
    """Break one key: another kind, a broken part, a part less, a part more."""
    raw, kind = d.raw, d.raw.type(key)
    if how == "kind":
        raw.delete(key)
        raw.rpush(key, junk) if kind != b"list" else raw.hset(key, b"f", junk)
    elif kind == b"hash":
        fields = sorted(raw.hkeys(key))
        field = fields[pick % len(fields)]
        if how == "less":
            raw.hdel(key, field)
        elif how == "more":
            raw.hset(key, junk, junk)
        else:
            raw.hset(key, field, junk)
    elif kind == b"string":
        raw.delete(key) if how == "less" else raw.set(key, junk)
    elif kind == b"list":
        raw.lpush(key, junk)
        raw.rpush(key, junk)
    elif kind == b"set":
        raw.sadd(key, junk)
    elif kind == b"zset":
        for name, score in ((junk, 1), (junk + b"!", float("inf")), (b"~" + junk, float("-inf"))):
            raw.zadd(key, {name: score})
    elif kind == b"stream":
        raw.xadd(key, {junk: junk, b"t": junk})


def everything(d: Driver) -> None:
    """Every script once more, on what is broken. None of them raises."""
    d.presence("wk", ["p", "q"], 1000.0)
    d.promote()
    d.look(["parent", "active", "delayed", "waiting0", "alone0", "done", "dead", "nothing"])
    d.stats()
    d.stats("A")
    d.dead()
    d.active_sessions()
    d.expired_sessions(0.0)
    d.add("done", reply_to="you", session_id="A")
    d.add("waiting0", reply_to="you", session_id="A")
    for item in d.take("p", "q", "top", total=2):
        d.heartbeat([(item.id, item.fence)], 10.0)
        d.emit(item.id, item.fence, "custom", name="x")
        d.nack(item.id, item.fence, retry=True, delay=1.0)
    for item in d.take("p", "q", "top", total=2):
        d.nack(item.id, item.fence, retry=False)
    d.cancel("alone1")
    d.state_set("A", STATE)
    d.lock_release("l", "one")
    d.lock_acquire("l", "two", 60.0, runtime_id="me", wait=60.0)
    d.advance(100.0)
    d.reclaim()


def work_off(d: Driver) -> None:
    """Do all work that there is."""
    for _ in range(8):
        d.advance(200.0)
        d.reclaim(1000)
        while items := d.take("p", "q", "top", "fresh", total=50):
            for item in items:
                d.done(item, state=STATE)


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
    d.add("fresh0", "fresh", session_id="F", reply_to="fresh")
    everything(d)
    d.add("fresh1", "fresh", reply_to="fresh")
    work_off(d)
    ends = d.finished("fresh")
    assert ends.keys() == {"fresh0", "fresh1"}
    assert {end.body for end in ends.values()} == {b"result"}
    d.stop_session("A")
    d.stop_session("A")
    assert d.forget_session("F")


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


@pytest.mark.parametrize("name", ["waiting1", "active", "delayed"])
def test_a_corrupted_execution_is_a_dead_letter_and_its_caller_is_answered(
    driver: Driver, name: str
) -> None:
    world(driver)
    driver.raw.hset(driver.keys.job(name), mapping={"n": "junk", "a": "junk"})
    work_off(driver)
    ends = [e for e in driver.inbox("me") if isinstance(e, Finished) and e.id == name]
    assert [end.why for end in ends] == [Why.CORRUPT]
    assert name in [letter.id for letter in driver.dead()]
    assert driver.dead(name)[0].payload == b"input"
    check(driver)


def test_an_id_that_came_again_elsewhere_is_not_mistaken_for_a_broken_one(driver: Driver) -> None:
    for n in range(900):
        driver.add(f"a{n}")
    driver.cancel("a400")
    driver.raw.delete(f"{driver.keys.prefix}r:a400")  # as if its time had passed
    driver.add("a400", "q", session_id="S", reply_to="me")
    assert len(driver.take(total=1000)) == 899
    assert driver.inbox("me") == []
    assert driver.take_one("q").id == "a400"
