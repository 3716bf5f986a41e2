"""Stopping, forgetting and expiring sessions."""

from __future__ import annotations

import pytest

from am2z.queue.protocol import Parent, StateWrite
from am2z.queue.wire import CancelOrder, Finished, Why

from .protocol_driver import Driver, check


def stop(driver: Driver, session_id: str, limit: int = 500) -> int:
    total, more = 0, True
    while more:
        finished, more = driver.stop_session(session_id, limit)
        assert finished <= limit
        total += finished
        check(driver)
    return total


@pytest.mark.parametrize("limit", [7, 20, 1000])
def test_stopping_a_session_answers_every_waiter(driver: Driver, limit: int) -> None:
    for n in range(40):
        driver.add(f"w{n}", f"p{n % 3}", session_id="A", reply_to="me")
    for n in range(5):
        driver.add(f"y{n}", session_id="A", reply_to="me", delay=9.0)
        driver.add(f"b{n}", session_id="B", reply_to="me")
    item = driver.take_one("p0", worker="wk")
    assert stop(driver, "A", limit) == 45
    entries = driver.finished()
    assert len(entries) == 45
    assert {entry.why for entry in entries.values()} == {Why.STOPPED}
    assert driver.inbox("wk") == [CancelOrder(item.id, item.fence)]
    assert driver.done(item, state=StateWrite(b"", "", "")) == "stopped"
    assert driver.nack(item.id, item.fence, retry=True).value == "stopped"
    assert driver.heartbeat([(item.id, item.fence)], 9.0) == [item.id]
    assert [i.id for i in driver.take(total=9)] == [f"b{n}" for n in range(5)]
    assert driver.take("p0", "p1", "p2", total=9) == []
    assert driver.active_sessions() == ["B"]
    check(driver)


def test_waiting_work_is_answered_oldest_first(driver: Driver) -> None:
    for n in range(9):
        driver.add(f"a{n}", session_id="A", reply_to="me")
    stop(driver, "A", 2)
    assert list(driver.finished()) == [f"a{n}" for n in range(9)]


def test_a_stopped_session_refuses_work_until_it_is_forgotten(driver: Driver) -> None:
    driver.add("a", session_id="A")
    driver.state_set("A", StateWrite(b"", "", ""))
    assert driver.forget_session("A") is False
    stop(driver, "A")
    assert driver.add("b", session_id="A") == "stopped"
    assert driver.stats("A")["p"].failed == 1
    assert driver.forget_session("A") is True
    assert not driver.raw.exists(driver.keys.state("A"), driver.keys.session("A"))
    assert driver.add("b", session_id="A") == "ok"
    assert driver.take_one().id == "b"
    assert driver.forget_session("unknown") is True


def test_while_a_session_is_being_stopped_nothing_of_it_starts_or_commits(driver: Driver) -> None:
    for n in range(30):
        driver.add(f"a{n}", session_id="A", reply_to="me")
    running = driver.take(total=6, lease=1.0)
    assert driver.stop_session("A", 1) == (1, True)  # one of the six; then its caller dies
    check(driver)
    assert driver.take(total=5) == []
    for item in running[:2]:
        assert driver.done(item, state=StateWrite(b"", "", "")) == "stopped"
    for item in running[2:4]:
        assert driver.nack(item.id, item.fence, retry=True).value == "stopped"
    driver.advance(1.0)
    assert driver.reclaim() == (0, 0)
    check(driver)
    assert {item.id for item in running} <= driver.finished().keys()
    assert driver.raw.exists(driver.keys.state("A")) == 0
    assert driver.active_sessions() == []
    assert driver.expired_sessions(500.0) == ["A"]  # so that others go on with it
    stop(driver, "A")
    assert driver.expired_sessions(0.0) == []


def test_created_and_stopped_are_told_once(driver: Driver) -> None:
    driver.add("a", session_id="A")
    driver.add("b", session_id="A")
    stop(driver, "A", 1)
    stop(driver, "A")
    stop(driver, "never seen")
    assert [(e.type, e.session_id) for e in driver.events() if e.execution_id is None] == [
        ("created", "A"),
        ("stopped", "A"),
    ]


def test_a_stopped_session_goes_with_its_time_to_live(driver: Driver) -> None:
    driver.protocol._session_ttl = 5_000
    driver.add("a", session_id="A")
    driver.done(driver.take_one(), state=StateWrite(b"", "", ""))
    stop(driver, "A")
    for key in (driver.keys.session("A"), driver.keys.state("A")):
        assert 0 < driver.raw.pttl(key) <= 5_000


def test_stopping_a_session_keeps_no_state_for_longer(driver: Driver) -> None:
    driver.protocol._session_ttl = 5_000
    for group, ttl, least, most in (("A", 1.0, 1, 1_000), ("B", 60.0, 1_001, 5_000)):
        driver.add(group, session_id=group)
        driver.done(driver.take_one(), state=StateWrite(b"", "", "", ttl))
        stop(driver, group)
        assert least <= driver.raw.pttl(driver.keys.state(group)) <= most


def test_only_idle_sessions_expire(driver: Driver) -> None:
    for name in ("idle", "waiting", "active", "delayed"):
        driver.add(name, name, session_id=name, delay=99.0 if name == "delayed" else 0.0)
    driver.done(driver.take_one("idle"))
    driver.take_one("active")
    assert driver.expired_sessions(10.0) == []
    driver.advance(10.0)
    assert driver.expired_sessions(10.0) == ["idle"]
    driver.cancel("waiting")
    assert driver.expired_sessions(10.0) == ["idle"]
    driver.advance(10.0)
    assert sorted(driver.expired_sessions(10.0)) == ["idle", "waiting"]


def test_a_stop_finds_children_and_tells_them_why(driver: Driver) -> None:
    driver.add("a", session_id="A")
    item = driver.take_one(worker="wk")
    driver.add("a.1", session_id="A", parent=Parent("a", item.fence, "h"), reply_to="wk")
    stop(driver, "A")
    ends = [entry for entry in driver.inbox("wk") if isinstance(entry, Finished)]
    assert [(end.id, end.why) for end in ends] == [("a.1", Why.STOPPED)]


def test_a_long_queue_of_a_session_is_stopped_in_linear_time(driver: Driver) -> None:
    pipe = driver.raw.pipeline(transaction=False)
    sha = driver.raw.script_load(driver.protocol._scripts["enqueue"].text)
    for n in range(10_000):
        args = (f"a{n}", "p", "A", "x", 0, 3, 0, "me", 0, "", "", "")
        pipe.evalsha(sha, 1, driver.keys.prefix, *args)
    pipe.execute()
    driver.raw.config_resetstat()
    calls, more = 0, True
    while more:
        _, more = driver.stop_session("A", 500)
        calls += 1
    assert calls == 21
    commands = driver.raw.info("commandstats")
    assert sum(stat["calls"] for stat in commands.values()) < 20 * 10_000
    assert "cmdstat_lpos" not in commands, "a list is searched"
    assert commands["cmdstat_lrem"]["calls"] <= 1
    assert driver.raw.llen(driver.keys.inbox("me")) == 10_000
    assert [
        key for key in driver.left() if key.startswith(("w:", "ready", "wake", "sj", "j"))
    ] == []


def test_what_ends_late_does_not_list_a_stopped_session_again(driver: Driver) -> None:
    driver.add("a", session_id="A")
    driver.take_one()
    driver.raw.delete(f"{driver.keys.prefix}sj:A")  # as if Redis had lost it
    driver.stop_session("A")
    driver.cancel("a")
    assert driver.active_sessions() == []
    assert driver.expired_sessions(0.0) == []


def test_counting_passes_over_what_redis_lost(driver: Driver) -> None:
    for name in "ab":
        driver.add(name, session_id="A")
        driver.take_one()
    driver.raw.delete(driver.keys.job("a"))
    assert driver.stats("A")["p"].active == 1


@pytest.mark.parametrize(("processor", "session"), [("p", "B"), ("p", None), ("q", "A")])
def test_a_stop_leaves_alone_what_has_come_again_elsewhere(
    driver: Driver, processor: str, session: str | None
) -> None:
    for n in range(900):
        driver.add(f"a{n}", session_id="A")
    driver.cancel("a450")  # too far from both ends of its list to be taken out
    driver.raw.delete(f"{driver.keys.prefix}r:a450")  # as if its time had passed
    driver.add("a450", processor, session_id=session, reply_to="me")
    ended = 900 if session == "A" else 899  # and not before its own list is looked at
    assert driver.stop_session("A", 1_000) == (ended, False)
    if session == "A":
        assert driver.finished()["a450"].why is Why.STOPPED
    else:
        assert driver.inbox() == []
        assert driver.take_one(processor).id == "a450"
