"""A fixed program of calls, each with its answer and with what it changed in Redis, as text."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from am2z.queue.protocol import Parent, Report, StateWrite, Submission

from .protocol_driver import Driver

_CALLERS = ("eval", "evalsha", "info", "config", "config|resetstat")
_EVENT_ID = re.compile(r"\d{13}-\d+")


class Kept(NamedTuple):
    """What one key held after a call: its value as text, and when it goes."""

    value: str
    expiry: int | None
    """Server milliseconds."""
    ttl: int | None
    """The seconds it was given, rounded up to one digit: a slow machine must not change them."""

    def __str__(self) -> str:
        return self.value if self.ttl is None else f"{self.value} for {self.ttl} s"


class Transcript:
    """Calls a driver and writes down what happens."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.lines: list[str] = []
        self._before: dict[str, Kept] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.driver.raw.config_resetstat()
            answer = getattr(self.driver, name)(*args, **options)
            cost = commands(self.driver)
            shown = [*map(show, args), *(f"{key}={show(value)}" for key, value in options.items())]
            self.lines += ["", f"{name}({', '.join(shown)}) -> {show(answer)}", f"    {cost}"]
            self._note_changes()
            return answer

        return call

    def _note_changes(self) -> None:
        after = keys(self.driver, self._before)
        for key in sorted(self._before.keys() | after.keys()):
            now = str(after.get(key, "(gone)"))
            if str(self._before.get(key, "(gone)")) != now:
                self.lines.append(f"    {key}: {now}")
        self._before = after


def show(value: Any) -> str:
    """A value without what differs from run to run; long ones are cut."""
    if isinstance(value, dict):
        value = sorted(value.items())
    elif isinstance(value, tuple) and value[:1] == (False,) and isinstance(value[1], float):
        value = (False, roughly(value[1] * 1000))  # how long a lock is still held
    text = value if isinstance(value, str) else repr(value)
    text = re.sub(r"<(\w+\.\w+): '\w*'>", r"\1", _EVENT_ID.sub("EVENT", text))
    return text if len(text) < 1_500 else f"{text[:60]}... ({len(text)})"


def commands(driver: Driver) -> str:
    """Which commands Redis ran for a call: a needless one shows nowhere else."""
    found = {
        name.removeprefix("cmdstat_"): stat["calls"]
        for name, stat in driver.raw.info("commandstats").items()
    }
    return ", ".join(f"{n} {name}" for name, n in sorted(found.items()) if name not in _CALLERS)


def keys(driver: Driver, before: dict[str, Kept]) -> dict[str, Kept]:
    """Every key of the namespace."""
    raw, found = driver.raw, {}
    for key in raw.scan_iter(f"{driver.keys.prefix}*", count=1000):
        name = key.decode().removeprefix(driver.keys.prefix)
        found[name] = kept(driver, key, before.get(name))
    return found


def kept(driver: Driver, key: bytes, before: Kept | None) -> Kept:
    pipe = driver.raw.pipeline()
    (seconds, micros), left = pipe.time().pttl(key).execute()
    value = show(value_of(driver.raw, key))
    if left < 0:
        return Kept(value, None, None)
    expiry = seconds * 1000 + micros // 1000 + left
    if before is not None and before.expiry is not None and abs(before.expiry - expiry) < 1000:
        return Kept(value, before.expiry, before.ttl)
    return Kept(value, expiry, roughly(left))


def value_of(raw: Any, key: bytes) -> str:
    match raw.type(key):
        case b"hash":
            value = sorted(raw.hgetall(key).items())
        case b"list":
            value = raw.lrange(key, 0, -1)
        case b"set":
            value = sorted(raw.smembers(key))
        case b"zset":
            value = raw.zrange(key, 0, -1, withscores=True)
        case b"stream":
            last = raw.xrevrange(key, count=1)[0][1]
            return f"{raw.xlen(key)} events, last {plain(sorted(last.items()))}"
        case _:
            value = raw.get(key)
    return repr(plain(value))


def plain(value: Any) -> Any:
    """Text instead of bytes."""
    if isinstance(value, bytes):
        return value.decode()
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def roughly(milliseconds: float) -> int:
    """Seconds, rounded up to one digit."""
    if math.isinf(milliseconds):
        return -1
    seconds = milliseconds / 1000
    step = 10 ** max(0, math.floor(math.log10(max(seconds, 1))))
    return math.ceil(seconds / step) * step


def lives(t: Transcript) -> None:
    """Executions from their beginning to their end."""
    t.layout(2)
    t.layout(3)
    t.presence("wk", ["p", "q"], 10.0)
    t.enqueue("a", "p", b"in", session_id="A", reply_to="me", need_served=True, max_queue=2)
    t.enqueue("a", "p", b"in", session_id="A", reply_to="me")
    t.enqueue("a", "p", b"in", session_id="A", reply_to="you")
    t.enqueue("a", "p", b"in", session_id="A")
    t.enqueue("b", "p", b"in", max_queue=2)
    t.enqueue("b", "p", b"in", reply_to="me")
    t.enqueue("full", "p", b"in", max_queue=2)
    t.enqueue("c", "p", b"in", session_id="A", delay=2.0)
    t.enqueue("d", "p", b"in", at=1003.0)
    t.enqueue("e", "p", b"in", at=1.0)
    a, b = t.claim("wk", [("p", 2)], total=2, lease=10.0).items
    t.heartbeat([(a.id, a.fence), (b.id, 1)], 20.0)
    t.emit(a.id, a.fence, "progress", b"data", progress=12.5)
    t.emit(b.id, b.fence, "custom", name="note")
    t.look(["a", "b", "c", "none"])
    t.ack(a.id, a.fence, success=True, body=b"out", event_data=b"ev",
          state=StateWrite(b"st", "sum", "m:T", 30.0))  # fmt: skip
    t.ack(b.id, b.fence, success=False, body=b"bad", state=None)
    t.enqueue("a", "p", b"in", session_id="A")
    t.enqueue("b", "p", b"in")
    t.look(["a", "b"])
    t.dead()
    t.dead("nothing")
    t.claim("wk", [("p", 9), ("q", 9)], total=9, lease=1.0)
    t.advance(2.0)
    t.reclaim()
    t.promote()
    t.advance(1.0)
    t.promote()


def ends(t: Transcript) -> None:
    """Giving back, trying again, cancelling, poison."""
    items = t.claim("wk", [("p", 9)], total=9, lease=9.0).items
    e, c, d = (next(item for item in items if item.id == name) for name in "ecd")
    t.nack(e.id, e.fence, retry=True, delay=1.0, event_data=b"why")
    t.nack(e.id, e.fence, retry=True, delay=1.0)
    t.nack(c.id, c.fence, retry=True, delay=0.0)
    t.nack(d.id, d.fence, retry=False)
    t.cancel("e")
    t.cancel("e")
    items = t.claim("wk", [("p", 9)], total=9, lease=9.0).items
    t.cancel("d")
    t.cancel("nothing")
    [c] = (item for item in items if item.id == "c")
    t.nack(c.id, c.fence, retry=True, delay=5.0)
    t.cancel("c")
    for session in (None, "P"):
        t.enqueue(f"bad{session}", "q", b"in", session_id=session, max_deliveries=1)
        t.claim("wk", [("q", 1)], total=1, lease=1.0)
        t.advance(1.0)
        t.reclaim()
    t.dead_drop("badP")
    t.enqueue("top", "p", b"in", session_id="A", reply_to="me")
    [top] = t.claim("wk", [("p", 1)], total=1, lease=9.0).items
    t.enqueue(
        "top/1", "q", b"x", session_id="A", reply_to="wk", parent=Parent("top", top.fence, "h")
    )
    t.enqueue("top/3", "r", b"x", parent=Parent("top", top.fence, "h"))
    [child] = t.claim("w2", [("q", 1), ("r", 1)], total=1, lease=9.0).items
    [other] = t.claim("w2", [("r", 1)], total=1, lease=9.0).items
    t.ack(other.id, other.fence, success=True, body=b"")  # two children would be ended in any order
    t.enqueue("top/2", "q", b"x", parent=Parent("top", 1, "h"))
    t.ack(top.id, top.fence, success=True, body=b"o" * 70_000)
    t.ack(child.id, child.fence, success=True, body=b"late")
    t.enqueue("top", "p", b"in", session_id="A")


def batches(t: Transcript) -> None:
    """Several at once, the ends of some with the claim of others."""
    t.enqueue_many(
        [
            Submission("m1", "p", b"in", max_queue=3, reply_to="me"),
            Submission("m2", "p", b"in", max_queue=3, session_id="M"),
            Submission("m3", "q", b"in", max_queue=3, session_id="M", delay=1.0),
            Submission("m1", "p", b"in", max_queue=3, reply_to="you"),
            Submission("m4", "p", b"in", max_queue=3, session_id="M"),
            Submission("m5", "p", b"in", max_queue=3),
        ],
    )
    m1, m2 = t.claim("wk", [("p", 2), ("q", 2)], total=2, lease=9.0).items
    t.advance(1.0)
    reports = [
        Report(m1.id, m1.fence, success=True, body=b"out"),
        Report(m2.id, m2.fence, success=False, body=b"bad", event_data=b"ev"),
        Report(m2.id, 1, success=True, body=b""),
    ]
    t.claim("wk", [("q", 1), ("p", 1)], total=1, lease=9.0, reports=reports)
    t.ack_many(reports)
    t.stop_session("M")


def others(t: Transcript) -> None:
    """Sessions, states, counters, locks, presence."""
    t.enqueue("s1", "p", b"in", session_id="S")
    t.enqueue("s2", "q", b"in", session_id="S", delay=5.0)
    t.enqueue("s3", "p", b"in", session_id="S", reply_to="me")
    t.claim("wk", [("p", 1)], total=1, lease=9.0)
    t.stats()
    t.stats("S")
    t.forget_session("S")
    t.stop_session("S", 1)
    t.expired_sessions(0.0)
    t.stop_session("S", 2)
    t.stop_session("S", 9)
    t.stop_session("S", 9)
    t.enqueue("s4", "p", b"in", session_id="S")
    t.active_sessions()
    t.advance(5.0)
    t.expired_sessions(5.0)
    t.forget_session("S")
    for ttl in (30.0, None, 0.0):
        t.state_set("B", StateWrite(b"d", "s", "t", ttl))
    t.state_set("B", StateWrite(b"d", "s", "t"), expected=7)
    t.emit_runtime("runtime:started", b"{}")
    t.lock_acquire("l", "one", 50.0)
    t.lock_acquire("l", "two", 50.0, runtime_id="me", wait=40.0)
    t.lock_acquire("l", "two", 50.0, runtime_id="me", wait=40.0)
    t.lock_acquire("l", "three", 50.0)
    t.lock_acquire("l", "four", 50.0, wait=40.0)
    t.lock_extend("l", "two", 80.0)
    t.lock_extend("l", "one", 80.0)
    t.lock_release("l", "three")
    t.lock_release("l", "one")
    t.lock_acquire("l", "four", 50.0, wait=40.0)
    t.lock_acquire("l", "two", 50.0)
    t.lock_release("l", "four")
    t.lock_release("l", "two")
    t.presence("wk", ["p"], 10.0)
    t.leave("wk", ["q"])
    t.leave("wk")


def transcript(driver: Driver) -> str:
    """The whole program as text."""
    t = Transcript(driver)
    t.advance(0.0)
    for part in (lives, ends, batches, others):
        t.lines += ["", f"# {part.__doc__}"]
        part(t)
    return "\n".join(t.lines[1:]) + "\n"
