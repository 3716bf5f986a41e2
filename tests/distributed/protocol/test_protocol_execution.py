"""Each script about one execution, and each check in it."""

from __future__ import annotations

from am2z.queue.protocol import Parent, StateWrite
from am2z.queue.wire import CancelOrder, Finished, Status, Why

from .protocol_driver import Driver, check

STATE = StateWrite(b"data", "sum", "m:T")


def test_enqueue_is_idempotent_by_its_id(driver: Driver) -> None:
    assert driver.add("a", reply_to="one") == "ok"
    assert driver.add("a", reply_to="one") == "exists"
    assert driver.add("a", reply_to="two") == "exists"
    assert driver.stats()["p"].waiting == 1
    driver.done(driver.take_one())
    assert driver.take() == []
    assert [len(driver.inbox(r)) for r in ("one", "two")] == [1, 1]
    again = driver.enqueue("a", "p", b"input", reply_to="one")
    assert again.answer == "finished"
    assert again.finished.body == b"result"
    assert driver.inbox("one") == []
    check(driver)


def test_an_id_names_one_call_only(driver: Driver) -> None:
    driver.add("a", session_id="A")
    assert driver.add("a", session_id="B") == "mismatch"
    assert driver.add("a") == "mismatch"
    assert driver.add("a", "q", session_id="A") == "mismatch"
    driver.done(driver.take_one())
    assert driver.add("a", session_id="B") == "mismatch"
    assert driver.add("a", session_id="A") == "finished"


def test_a_full_queue_refuses_and_keeps_nothing(driver: Driver) -> None:
    assert driver.enqueue("a", "p", b"", max_queue=2) == ("ok", 1, None)
    assert driver.enqueue("b", "p", b"", max_queue=2) == ("ok", 2, None)
    before = driver.left()
    assert driver.enqueue("c", "p", b"", max_queue=2, session_id="new") == ("full", 2, None)
    assert driver.left() == before
    assert driver.add("c", "q", max_queue=2) == "ok"
    driver.take_one()
    assert driver.add("c2", max_queue=2) == "ok"
    check(driver)


def test_work_that_nobody_serves_is_refused(driver: Driver) -> None:
    assert driver.add("a", need_served=True) == "unserved"
    driver.presence("rt", ["p"], 10.0)
    assert driver.add("a", need_served=True) == "ok"
    driver.advance(10.0)
    assert driver.add("b", need_served=True) == "unserved"
    driver.presence("rt", ["p"], 10.0)
    driver.leave("rt", ["p"])
    assert driver.add("b", need_served=True) == "unserved"


def test_work_of_one_session_starts_in_order(driver: Driver) -> None:
    for n in range(5):
        driver.add(f"a{n}", session_id="A")
    assert [driver.take_one().id for _ in range(2)] == ["a0", "a1"]
    assert [item.id for item in driver.take(total=9)] == ["a2", "a3", "a4"]


def test_sessions_take_turns(driver: Driver) -> None:
    for n in range(100):
        driver.add(f"noisy{n}", session_id="noisy")
    driver.add("calm", session_id="calm")
    driver.add("none")
    assert {item.id for item in driver.take(total=3)} == {"noisy0", "calm", "none"}
    assert [driver.take_one().id for _ in range(2)] == ["noisy1", "noisy2"]
    for name in ("x", "y"):
        for n in range(3):
            driver.add(f"{name}{n}", session_id=name)
    got = [driver.take_one().id for _ in range(6)]
    assert [i for i in got if i[0] == "x"] == ["x0", "x1"]
    assert [i for i in got if i[0] == "y"] == ["y0", "y1"]
    check(driver)


def test_a_claim_keeps_to_its_limits_and_its_order(driver: Driver) -> None:
    for n in range(4):
        driver.add(f"p{n}", "p")
        driver.add(f"q{n}", "q", session_id=f"s{n % 2}")
    claims = driver.claim("w", [("q", 2), ("p", 3)], total=4, lease=1.0)
    assert [item.id for item in claims.items] == ["q0", "q1", "p0", "p1"]
    assert claims.next_due == 0, "more waits"
    assert driver.claim("w", [("q", 2), ("p", 0)], total=4, lease=1.0).next_due is None
    assert driver.claim("w", [("q", 0), ("nothing", 5)], total=4, lease=1.0).items == []
    check(driver)


def test_fences_grow_even_where_the_counter_is_lost(driver: Driver) -> None:
    for n in range(6):
        driver.add(f"a{n}")
    first = [item.fence for item in driver.take(total=3)]
    driver.raw.delete(driver.keys.prefix + "fence")
    driver.advance(0.001)
    last = [item.fence for item in driver.take(total=2)]
    driver.raw.decrby("clock", 500_000)  # somebody set the clock back
    last += [item.fence for item in driver.take(total=1)]
    assert first + last == sorted(set(first + last))


def test_delayed_work_starts_when_it_is_due(driver: Driver) -> None:
    driver.add("b", delay=5.0, session_id="B")
    driver.add("a", delay=2.5)
    assert driver.claim("w", [("p", 9)], total=9, lease=1.0)[:2] == ([], 2.5)
    check(driver)
    driver.advance(2.5)
    claims = driver.claim("w", [("p", 9)], total=9, lease=1.0)
    assert [item.id for item in claims.items] == ["a"]
    assert claims.next_due == 2.5
    driver.advance(2.5)
    assert driver.promote() == (1, None)
    check(driver)
    assert driver.take_one().id == "b"


def test_new_and_due_work_wakes_a_worker_and_an_empty_queue_nobody(driver: Driver) -> None:
    def tokens() -> int:
        return driver.raw.llen(driver.keys.wake("p"))

    for n in range(200):
        driver.add(f"a{n}")
    assert tokens() == 64
    driver.raw.delete(driver.keys.wake("p"))
    driver.take(total=10)
    assert tokens() == 1  # work is left: the next idle worker is woken
    driver.take(total=190)
    assert tokens() == 0
    driver.add("late", delay=1.0)
    assert tokens() == 1  # who sleeps until something later is due must learn of it
    assert driver.take() == []
    assert tokens() == 0
    driver.advance(1.0)
    driver.promote()
    assert tokens() == 1


def test_tokens_are_bounded_under_steady_work(driver: Driver) -> None:
    driver.add("first")
    for n in range(300):
        driver.add(f"a{n}")
        driver.take_one()
    assert driver.raw.llen(driver.keys.wake("p")) <= 64


def test_stale_worker_cannot_ack(driver: Driver) -> None:
    driver.add("a", reply_to="me", session_id="A")
    stale = driver.take_one(lease=1.0)
    driver.advance(1.0)
    driver.reclaim()
    for retry in (True, False):
        assert driver.nack("a", stale.fence, retry=retry).value == "lost"
    assert driver.done(stale) == "lost"
    fresh = driver.take_one()
    assert fresh.fence > stale.fence
    assert (fresh.attempt, fresh.deliveries) == (1, 2)
    for state in (None, STATE):
        assert driver.done(stale, state=state) == "lost"
    assert driver.fail(stale) == "lost"
    for retry in (True, False):
        assert driver.nack("a", stale.fence, retry=retry).value == "lost"
    assert driver.emit("a", stale.fence, "custom", name="x") is False
    assert driver.heartbeat([("a", stale.fence)], 9.0) == ["a"]
    assert driver.inbox() == []
    assert driver.heartbeat([("a", fresh.fence)], 9.0) == []
    assert driver.done(fresh, state=STATE) == "ok"
    assert driver.done(stale) == "lost"
    assert driver.raw.hget(driver.keys.state("A"), "v") == b"1"
    check(driver)


def test_an_ack_sent_twice_commits_once(driver: Driver) -> None:
    driver.add("a", session_id="A", reply_to="me")
    item = driver.take_one()
    assert driver.ack("a", item.fence, success=True, body=b"r", state=STATE) == ("ok", 1)
    assert driver.ack("a", item.fence, success=True, body=b"r", state=STATE) == ("already", 1)
    assert driver.raw.hget(driver.keys.state("A"), "v") == b"1"
    assert len(driver.inbox()) == 1
    check(driver)


def test_a_failure_and_an_unnamed_session_commit_no_state(driver: Driver) -> None:
    driver.add("a", session_id="A", reply_to="me")
    assert driver.fail(driver.take_one(), b"bad") == "ok"
    assert driver.finished()["a"][1:4] == (Status.FAILED, Why.NONE, 0)
    driver.add("b")
    item = driver.take_one()
    assert driver.ack("b", item.fence, success=True, body=b"", state=STATE) == ("ok", 0)
    assert not list(driver.raw.scan_iter(f"{driver.keys.prefix}st:*"))
    assert driver.look(["b"])[0].finished.body == b""


def test_state_keeps_renews_or_loses_its_time_to_live(driver: Driver) -> None:
    key = driver.keys.state("A")
    for ttl, expected in ((30.0, True), (None, True), (0.0, False), (None, False)):
        driver.state_set("A", StateWrite(b"", "", "", ttl))
        assert (driver.raw.pttl(key) > 0) is expected


def test_state_is_written_only_over_the_expected_version(driver: Driver) -> None:
    assert driver.state_set("A", STATE, expected=1) == (False, 0)
    assert driver.state_set("A", STATE, expected=0) == (True, 1)
    assert driver.state_set("A", STATE, expected=0) == (False, 1)
    assert driver.state_set("A", STATE) == (True, 2)
    assert driver.state_set("A", STATE, expected=2) == (True, 3)


def test_state_is_written_only_over_the_record_that_was_seen(driver: Driver) -> None:
    seen, other = StateWrite(b"d", "s", "t"), StateWrite(b"e", "z", "t")
    assert driver.state_set("A", seen, expected=0, seen="s") == (False, 0)
    assert driver.state_set("A", seen) == (True, 1)
    assert driver.state_set("A", other, expected=1, seen="z") == (False, 1)
    assert driver.state_set("A", other, seen="s") == (True, 2)


def test_a_retry_starts_a_new_attempt_after_its_delay(driver: Driver) -> None:
    driver.add("a", session_id="A")
    driver.add("b", session_id="A")
    item = driver.take_one()
    driver.emit("a", item.fence, "progress", b"1", progress=50.0)
    for _ in range(2):  # the second one is a repeat: its answer was lost
        assert driver.nack("a", item.fence, retry=True, delay=2.0, event_data=b"e").value == "ok"
    check(driver)
    assert driver.look(["a"])[0][1:3] == (Status.DELAYED, None)
    driver.advance(2.0)
    assert [(i.id, i.attempt, i.deliveries) for i in driver.take(total=5)] == [
        ("b", 1, 1),
        ("a", 2, 1),
    ]
    assert driver.types("a") == ["active", "progress", "retrying", "active"]
    assert [e.attempt for e in driver.events() if e.execution_id == "a"] == [1, 1, 1, 2]
    check(driver)


def test_returned_work_goes_to_the_front_and_is_not_counted(driver: Driver) -> None:
    driver.add("a", session_id="A", max_deliveries=1)
    driver.add("b", session_id="A")
    for _ in range(5):
        item = driver.take_one()
        assert (item.id, item.attempt, item.deliveries) == ("a", 1, 1)
        assert driver.nack("a", item.fence, retry=False).value == "ok"
        check(driver)


def test_a_long_result_is_not_copied_into_inboxes(driver: Driver) -> None:
    for size, short in ((65_536, True), (65_537, False)):
        name = f"a{size}"
        driver.add(name, reply_to="me")
        driver.done(driver.take_one(), bytes(size))
        entry = driver.finished()[name]
        assert (entry.body == bytes(size)) is short
        assert driver.look([name])[0].finished == entry
        assert driver.look([name], whole=True)[0].finished.body == bytes(size)
        again = driver.enqueue(name, "p", b"input", reply_to="me").finished
        assert again == entry


def test_a_result_that_looks_like_a_mark_is_still_a_result(driver: Driver) -> None:
    driver.add("a", reply_to="me")
    driver.done(driver.take_one(), b"*")
    assert driver.finished()["a"].body == b"*"


def test_every_waiter_of_many_is_answered(driver: Driver) -> None:
    for n in range(50):
        driver.add("a", reply_to=f"runtime {n}")
    driver.done(driver.take_one())
    assert all(driver.finished(f"runtime {n}")["a"].body == b"result" for n in range(50))


def test_cancel_ends_work_wherever_it_is(driver: Driver) -> None:
    assert driver.cancel("nothing").value == "absent"
    driver.add("active", session_id="A", reply_to="me")
    driver.add("waiting", session_id="A", reply_to="me")
    driver.add("delayed", session_id="A", reply_to="me", delay=9.0)
    item = driver.take_one(worker="wk")
    for name in ("active", "waiting", "delayed"):
        assert driver.cancel(name).value == "ok"
        assert driver.cancel(name).value == "ok"  # a repeat: its answer was lost
        check(driver)
    assert {e.why for e in driver.finished().values()} == {Why.CANCELLED}
    assert driver.inbox("wk") == [CancelOrder("active", item.fence)]
    assert driver.done(item) == "lost"
    assert driver.types("waiting") == ["dropped"]
    assert driver.types("active") == ["active", "failed"]
    assert driver.take() == []
    driver.add("b")
    driver.done(driver.take_one())
    assert driver.cancel("b").value == "finished"
    check(driver)


def test_an_early_cancel_does_not_kill_the_next_of_its_name(driver: Driver) -> None:
    # python-arq/arq#485
    assert driver.cancel("a").value == "absent"
    driver.add("a")
    assert driver.take_one().id == "a"


def test_work_cancelled_in_the_middle_of_a_long_list_is_skipped_by_the_claim(
    driver: Driver,
) -> None:
    for n in range(900):
        driver.add(f"a{n}", session_id="A")
    for n in (*range(300, 600), *range(1, 300), *range(898, 599, -1)):
        driver.cancel(f"a{n}")
    assert driver.raw.llen(driver.keys.prefix + "w:p:A") == 302
    check(driver)
    assert [item.id for item in driver.take(total=2)] == ["a0", "a899"]
    assert driver.take() == []
    check(driver)


def test_an_id_that_a_list_still_holds_can_come_again(driver: Driver) -> None:
    for n in range(900):
        driver.add(f"a{n}")
    driver.cancel("a400")
    driver.raw.delete(f"{driver.keys.prefix}r:a400")  # as if its time had passed
    driver.add("a400", payload=b"new")
    items = driver.take(total=1000)
    assert len(items) == len({item.id for item in items}) == 900
    assert driver.look(["a400"])[0].status is Status.ACTIVE
    assert driver.take() == []


def test_a_cancelled_session_in_a_long_ring_does_no_harm(driver: Driver) -> None:
    for n in range(300):
        driver.add(f"a{n}", session_id=f"s{n}")
    driver.cancel("a7")
    check(driver)
    driver.add("again", session_id="s7")
    check(driver)
    assert len(driver.take(total=1000)) == 300
    assert driver.take() == []
    check(driver)


def test_a_child_needs_a_parent_that_runs(driver: Driver) -> None:
    driver.add("a")
    item = driver.take_one()
    assert driver.add("a.1", parent=Parent("a", item.fence + 1, "h")) == "orphan"
    assert driver.add("a.1", parent=Parent("zz", item.fence, "h")) == "orphan"
    assert driver.add("a.1", parent=Parent("a", item.fence, "h")) == "ok"
    assert driver.add("a.1", parent=Parent("a", item.fence, "h")) == "exists"
    assert driver.add("a.1", parent=Parent("a", item.fence, "other")) == "mismatch"
    driver.done(item)
    assert driver.add("a.2", parent=Parent("a", item.fence, "h")) == "orphan"


def test_a_redelivered_parent_finds_its_finished_children(driver: Driver) -> None:
    driver.add("a")
    item = driver.take_one(lease=1.0)
    driver.add("a.1", "child", parent=Parent("a", item.fence, "h"), reply_to="one")
    driver.done(driver.take_one("child"))
    driver.advance(1.0)
    driver.reclaim()
    item = driver.take_one()
    found = driver.enqueue("a.1", "child", b"", parent=Parent("a", item.fence, "h"))
    assert isinstance(found.finished, Finished)
    other = driver.enqueue("a.1", "child", b"", parent=Parent("a", item.fence, "h2"))
    assert other.answer == "mismatch"


def test_children_end_with_their_parent(driver: Driver) -> None:
    for end in ("done", "fail", "cancel", "retry"):
        driver.add(end, "top", session_id="A")
        item = driver.take_one("top", worker="wk")
        parent = Parent(end, item.fence, "h")
        for n, kind in enumerate(("active", "waiting", "delayed")):
            delay = 9.0 if kind == "delayed" else 0.0
            driver.add(f"{end}.{n}", kind, parent=parent, delay=delay, reply_to="wk")
        child = driver.take_one("active", worker="other")
        grandchild = f"{end}.0.0"
        driver.add(grandchild, parent=Parent(child.id, child.fence, "h"), reply_to="other")
        check(driver)
        if end == "retry":
            driver.nack(end, item.fence, retry=True, delay=99.0)
        elif end == "cancel":
            driver.cancel(end)
        else:
            getattr(driver, end)(item)
        check(driver)
        children = {e.id: e.why for e in driver.inbox("wk") if isinstance(e, Finished)}
        assert children == {f"{end}.{n}": Why.CANCELLED for n in range(3)}
        entries = driver.inbox("other")
        assert CancelOrder(child.id, child.fence) in entries
        assert [e.id for e in entries if isinstance(e, Finished)] == [grandchild]
        assert not list(driver.raw.scan_iter(f"{driver.keys.prefix}kd:*"))


def test_returned_work_keeps_its_children(driver: Driver) -> None:
    driver.add("a", "top")
    item = driver.take_one("top")
    driver.add("a.1", parent=Parent("a", item.fence, "h"))
    driver.nack("a", item.fence, retry=False)
    assert driver.take_one().id == "a.1"


def test_more_children_than_one_script_cancels_are_dropped_later(driver: Driver) -> None:
    driver.add("a", "top")
    item = driver.take_one("top")
    for n in range(1_200):
        driver.add(f"a.{n}", parent=Parent("a", item.fence, "h"))
    driver.done(item)
    assert driver.stats()["p"] == (200, 0, 0, 0, 1000)
    while driver.stats()["p"].waiting:
        assert driver.take(total=50) == []
    check(driver)
    assert not [key for key in driver.left() if key.startswith(("kd", "w:", "ready", "wake"))]


def test_looking_tells_every_status_in_the_order_asked(driver: Driver) -> None:
    driver.add("done")
    driver.done(driver.take_one())
    driver.add("active")
    item = driver.take_one()
    driver.emit("active", item.fence, "progress", progress=12.5)
    driver.add("waiting")
    driver.add("delayed", delay=1.0)
    names = ["delayed", "unknown", "waiting", "active", "done"]
    assert "".join(look.status or "-" for look in driver.look(names)) == "y-waD"
    assert driver.look(["active"])[0].progress == 12.5
    assert driver.look([]) == []


def test_a_lock_has_one_owner_and_growing_fences(driver: Driver) -> None:
    real = Driver(driver.raw, "locks", virtual=False)
    taken, first = real.lock_acquire("l", "a", 30.0)
    assert taken
    assert real.lock_acquire("l", "a", 30.0) == (True, first)  # a repeat: its answer was lost
    taken, wait = real.lock_acquire("l", "b", 30.0)
    assert not taken
    assert 10.0 < wait <= 30.0
    assert not real.lock_extend("l", "b", 30.0)
    assert not real.lock_release("l", "b")
    assert real.lock_extend("l", "a", 60.0)
    assert real.lock_release("l", "a")
    assert not real.lock_release("l", "a")
    assert not real.lock_extend("l", "a", 60.0)
    taken, second = real.lock_acquire("l", "b", 30.0)
    assert taken
    assert second > first


def test_the_stream_of_events_is_bounded(driver: Driver) -> None:
    # taskforcesh/bullmq#3087
    pipe = driver.raw.pipeline(transaction=False)
    script = driver.protocol._scripts["emit"]
    sha = driver.raw.script_load(script.text)
    for _ in range(12_000):
        pipe.evalsha(sha, 1, driver.keys.prefix, "", "", "runtime", "x", "", "")
    pipe.execute()
    assert driver.raw.xlen(driver.keys.events) <= 10_200


def test_names_from_outside_reach_no_other_keys(driver: Driver) -> None:
    for name in ("x:y", "}:j:a", "%3A", "", "a b", "w:p:", "\ud800", "*"):
        driver.add(f"id{name}", name, session_id=name, reply_to=name)
        item = driver.take_one(name)
        assert (item.processor, item.session_id) == (name, name)
        assert driver.done(item, state=STATE) == "ok"
        assert driver.finished(name).keys() == {f"id{name}"}
        assert set(driver.stats(name)) == {name}
        check(driver)
    assert len(driver.active_sessions()) == 8
