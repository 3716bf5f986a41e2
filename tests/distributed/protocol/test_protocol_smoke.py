"""Every script works on a real server and on fakeredis."""

from __future__ import annotations

from am2z.queue.library import library
from am2z.queue.protocol import Parent, StateWrite
from am2z.queue.wire import CancelOrder, Status

from .protocol_driver import Driver, check


def test_one_execution_from_end_to_end(either: Driver) -> None:
    assert either.add("a", session_id="S:1", reply_to="me") == "ok"
    check(either)
    item = either.take_one(worker="wk")
    assert (item.id, item.session_id, item.payload) == ("a", "S:1", b"input")
    assert (item.attempt, item.deliveries) == (1, 1)
    check(either)
    assert either.heartbeat([("a", item.fence), ("b", 1)], 10.0) == ["b"]
    assert either.emit("a", item.fence, "progress", b"{}", progress=35.0)
    assert either.look(["a", "b"])[0].progress == 35.0
    acked = either.ack(
        "a", item.fence, success=True, body=b"r 1", state=StateWrite(b"data", "sum", "m:T", 60.0)
    )
    assert acked == ("ok", 1)
    check(either)
    end = either.finished()["a"]
    assert end == either.look(["a"])[0].finished
    assert (end.status, end.version, end.body) == (Status.DONE, 1, b"r 1")
    assert either.types("a") == ["active", "progress", "completed"]
    assert end.event_id == either.events()[-1].event_id


def test_every_other_script_answers(either: Driver) -> None:
    assert either.layout(2) == 2
    assert either.layout(3) == 2, "who says it first decides"
    either.presence("me", ["p", "q"], 30.0)
    assert either.add("a", session_id="A", need_served=True, reply_to="me") == "ok"
    assert either.add("b", "unknown", need_served=True) == "unserved"
    assert either.add("later", delay=5.0) == "ok"
    assert either.promote() == (0, 5.0)
    item = either.take_one(worker="wk")
    parent = Parent("a", item.fence, "hash")
    assert either.add("a.1", session_id="A", parent=parent, reply_to="wk") == "ok"
    assert either.nack("a", item.fence, retry=True, delay=1.0, event_data=b"e").value == "ok"
    assert either.finished("wk")["a.1"].why == "cancelled"
    check(either)
    either.advance(1.0)
    item = either.take_one(worker="wk", lease=1.0)
    assert item.attempt == 2
    either.advance(2.0)
    assert either.reclaim() == (1, 0)
    check(either)
    item = either.take_one(worker="wk")
    assert either.cancel("a").value == "ok"
    assert either.inbox("wk") == [CancelOrder("a", item.fence)]
    assert either.active_sessions() == ["A"]
    assert either.expired_sessions(3600.0) == []
    assert either.state_set("A", StateWrite(b"d", "s", "t"), expected=0) == (True, 1)
    assert either.stop_session("A") == (0, False)
    assert either.add("x", session_id="A") == "stopped"
    assert either.forget_session("A") is True
    assert either.stats()["p"] == (0, 0, 1, 0, 2)
    assert either.stats("A") == {}
    taken, fence = either.lock_acquire("l", "o", 5.0)
    assert taken
    assert fence > 0
    assert either.lock_extend("l", "o", 5.0)
    assert either.lock_release("l", "o")
    assert either.add("bad", "other") == "ok"
    assert either.fail(either.take_one("other")) == "ok"
    assert [letter.id for letter in either.dead()] == ["bad"]
    assert either.dead("bad") == either.dead()
    assert either.dead_drop("bad") is True
    assert either.dead() == []
    either.emit_runtime("runtime:started", b"{}")
    either.leave("me", ["q"])
    either.leave("me")
    check(either)
    used = {"enqueue", "claim", "heartbeat", "ack", "nack", "reclaim", "promote", "cancel", "emit"}
    used |= {"look", "stats", "stop_session", "forget_session", "expired_sessions", "state_set"}
    used |= {"active_sessions", "presence", "leave", "layout"}
    used |= {"dead_list", "dead_drop", "lock_acquire", "lock_extend", "lock_release"}
    assert used == set(library()), "a script is not in the smoke test"
