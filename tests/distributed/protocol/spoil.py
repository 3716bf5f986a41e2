"""A namespace that holds something of everything, and ways to break it."""

from __future__ import annotations

from am2z.queue.protocol import Parent, StateWrite

from .protocol_driver import Driver

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


def spoil(d: Driver, key: bytes, how: str, junk: bytes, pick: int = 0) -> None:
    """Break one key: ``kind`` of another kind, ``part`` broken, ``less`` or ``more`` of it."""
    kind = d.raw.type(key)
    if how == "kind":
        d.raw.delete(key)
        d.raw.rpush(key, junk) if kind != b"list" else d.raw.hset(key, b"f", junk)
    elif kind == b"hash":
        spoil_hash(d, key, how, junk, pick)
    elif how == "less":
        d.raw.delete(key)
    else:
        spoil_other(d, key, kind, junk)


def spoil_hash(d: Driver, key: bytes, how: str, junk: bytes, pick: int) -> None:
    fields = sorted(d.raw.hkeys(key))
    field = fields[pick % len(fields)]
    if how == "less":
        d.raw.hdel(key, field)
    else:
        d.raw.hset(key, junk if how == "more" else field, junk)


def spoil_other(d: Driver, key: bytes, kind: bytes, junk: bytes) -> None:
    if kind == b"string":
        d.raw.set(key, junk)
    elif kind == b"list":
        d.raw.lpush(key, junk)
        d.raw.rpush(key, junk)
    elif kind == b"set":
        d.raw.sadd(key, junk)
    elif kind == b"zset":
        for name, score in ((junk, 1), (junk + b"!", float("inf")), (b"~" + junk, float("-inf"))):
            d.raw.zadd(key, {name: score})
    else:
        d.raw.xadd(key, {junk: junk, b"t": junk})


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
