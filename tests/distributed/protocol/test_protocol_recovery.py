"""What happens when workers die, hang or come back."""

from __future__ import annotations

from am2z.queue.wire import Why

from .protocol_driver import Driver, check


def test_an_expired_lease_puts_work_back_in_front(driver: Driver) -> None:
    driver.add("a", session_id="A")
    driver.add("b", session_id="A")
    driver.take_one(lease=2.0)
    driver.advance(1.999)
    assert driver.reclaim() == (0, 0)
    driver.advance(0.001)
    assert driver.reclaim() == (1, 0)
    check(driver)
    assert [i.id for i in driver.take(total=2)] == ["a", "b"]
    assert driver.types("a") == ["active", "retrying", "active"]
    assert [e.why for e in driver.events() if e.type == "retrying"] == ["lease"]


def test_a_heartbeat_keeps_a_long_run_from_being_delivered_twice(driver: Driver) -> None:
    # celery/kombu#337
    driver.add("a")
    item = driver.take_one(lease=1.0)
    for _ in range(10):
        driver.advance(0.9)
        assert driver.heartbeat([("a", item.fence)], 1.0) == []
        assert driver.reclaim() == (0, 0)
    assert driver.done(item) == "ok"


def test_a_heartbeat_never_brings_a_lease_back(driver: Driver) -> None:
    driver.add("a")
    item = driver.take_one(lease=1.0)
    driver.done(item)
    assert driver.heartbeat([("a", item.fence)], 1.0) == ["a"]
    check(driver)


def test_poison_ends_after_its_deliveries_and_answers_its_caller(driver: Driver) -> None:
    # mperham/sidekiq#4633, Bogdanp/dramatiq#383
    driver.add("a", max_deliveries=3, reply_to="me", session_id="A")
    stale = []
    for n in range(3):
        stale.append(driver.take_one(lease=1.0))
        assert stale[-1].deliveries == n + 1
        driver.advance(1.0)
        assert driver.reclaim() == ((0, 1) if n == 2 else (1, 0))
        check(driver)
    assert driver.finished()["a"].why is Why.POISON
    for item in stale:  # the end that others made is never the zombie's own
        assert driver.done(item) == "lost"
    assert driver.take() == []


def test_a_new_attempt_has_its_deliveries_again(driver: Driver) -> None:
    driver.add("a", max_deliveries=2)
    driver.take_one(lease=1.0)
    driver.advance(1.0)
    driver.reclaim()
    item = driver.take_one(lease=1.0)
    driver.nack("a", item.fence, retry=True)
    item = driver.take_one(lease=1.0)
    assert (item.attempt, item.deliveries) == (2, 1)
    driver.advance(1.0)
    assert driver.reclaim() == (1, 0)


def test_reclaim_never_overwrites_a_finished_execution(driver: Driver) -> None:
    # riverqueue/river#1302
    driver.add("a", reply_to="me", max_deliveries=1)
    item = driver.take_one(lease=1.0)
    driver.advance(2.0)
    assert driver.done(item) == "ok"
    assert driver.reclaim() == (0, 0)
    assert driver.finished()["a"].body == b"result"
    check(driver)


def test_nine_thousand_expired_leases_are_reclaimed(driver: Driver) -> None:
    # taskforcesh/bullmq#422, Bogdanp/dramatiq#258
    pipe = driver.raw.pipeline(transaction=False)
    sha = driver.raw.script_load(driver.protocol._scripts["enqueue"].text)
    for n in range(9_000):
        args = (f"a{n}", "p", f"s{n % 7}", "x", 0, 3, 0, "", 0, "", "", "")
        pipe.evalsha(sha, 1, driver.keys.prefix, *args)
    pipe.execute()
    taken = 0
    while items := driver.take(total=5_000, lease=1.0):
        assert len(items) <= 1_000
        taken += len(items)
    assert taken == 9_000
    driver.advance(1.0)
    back, poisoned = driver.reclaim(9_000)
    assert (back, poisoned) == (9_000, 0)
    assert driver.reclaim(9_000) == (0, 0)
    assert driver.stats()["p"] == (9_000, 0, 0, 0, 0)
    assert driver.raw.zcard(driver.keys.prefix + "leases") == 0


def test_a_job_that_redis_lost_holds_no_lease(driver: Driver) -> None:
    driver.add("a")
    driver.take_one(lease=1.0)
    driver.raw.delete(driver.keys.job("a"))
    driver.advance(1.0)
    assert driver.reclaim() == (0, 0)
    assert driver.raw.zcard(driver.keys.prefix + "leases") == 0


def test_flushed_scripts_are_loaded_again(driver: Driver) -> None:
    # Openpanel-dev/groupmq#16
    driver.add("a")
    driver.raw.script_flush()
    assert driver.take_one().id == "a"


def test_an_abandoned_namespace_goes_by_itself(driver: Driver) -> None:
    driver.presence("rt", ["p"], 10.0)
    driver.add("a", session_id="A", reply_to="rt")
    driver.done(driver.take_one())
    driver.presence("rt", ["p"], 10.0)
    assert driver.forget_session("A")
    assert driver.left() == []


def test_counters_of_waiting_work_do_not_expire_before_it(driver: Driver) -> None:
    key = f"{driver.keys.prefix}q:p"
    driver.presence("rt", ["p"], 10.0)
    driver.add("a")
    driver.presence("rt", ["p"], 10.0)
    assert driver.raw.pttl(key) == -1
    driver.done(driver.take_one())
    driver.presence("rt", ["p"], 10.0)
    assert driver.raw.pttl(key) > 0
    driver.add("b")
    driver.presence("rt", ["p"], 10.0)
    assert driver.raw.pttl(key) == -1


def test_the_inbox_of_a_runtime_that_lives_does_not_expire(driver: Driver) -> None:
    driver.add("a", reply_to="rt")
    driver.done(driver.take_one())
    driver.raw.pexpire(driver.keys.inbox("rt"), 60_000)  # as if it was ten minutes ago, nearly
    driver.presence("rt", ["p"], 10.0)
    assert driver.raw.pttl(driver.keys.inbox("rt")) > 300_000


def test_a_runtime_that_leaves_serves_nothing_and_keeps_no_inbox(driver: Driver) -> None:
    driver.presence("rt", ["p", "q"], 10.0)
    driver.add("a", reply_to="rt")
    driver.cancel("a")
    assert driver.raw.exists(driver.keys.inbox("rt"))
    driver.leave("rt")
    assert not driver.raw.exists(driver.keys.inbox("rt"))
    assert driver.add("b", need_served=True) == "unserved"


def test_a_runtime_that_died_is_forgotten_by_those_that_live(driver: Driver) -> None:
    driver.presence("dead", ["p"], 1.0)
    driver.advance(1.0)
    driver.presence("rt", ["p"], 1.0)
    assert driver.raw.zrange(f"{driver.keys.prefix}served:p", 0, -1) == [b"rt"]


def test_a_lease_of_what_waits_is_none(driver: Driver) -> None:
    driver.add("a")
    driver.raw.zadd(f"{driver.keys.prefix}leases", {"a": 1})
    assert driver.reclaim() == (0, 0)
    check(driver)
