"""Single checks of the scripts that no other test would miss."""

from __future__ import annotations

import pytest
import redis

from am2z.queue.protocol import Parent, StateWrite
from am2z.queue.wire import Status, Why

from .protocol_driver import Driver, check

STATE = StateWrite(b"data", "sum", "m:T")


def test_an_ack_of_what_nobody_knows_is_lost(driver: Driver) -> None:
    assert driver.ack("nothing", 1, success=True, body=b"") == ("lost", 0)
    assert driver.nack("nothing", 1, retry=True).value == "lost"
    assert driver.look(["nothing"])[0].status is Status.UNKNOWN


def test_an_ack_of_what_was_given_back_is_lost(driver: Driver) -> None:
    driver.add("a", session_id="A")
    item = driver.take_one()
    driver.nack("a", item.fence, retry=False)
    assert driver.done(item, state=STATE) == "lost"
    assert driver.emit("a", item.fence, "custom", name="x") is False
    assert driver.heartbeat([("a", item.fence)], 9.0) == ["a"]
    assert driver.add("a.1", parent=Parent("a", item.fence, "h")) == "orphan"
    check(driver)


def test_a_server_without_memory_loses_no_counter(driver: Driver) -> None:
    driver.state_set("A", STATE)
    driver.state_set("A", STATE)
    driver.raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.ResponseError, match="maxmemory"):
            driver.state_set("A", STATE)
    finally:
        driver.raw.config_set("maxmemory", 0)
    assert driver.state_set("A", STATE) == (True, 3)


def test_a_counter_that_is_no_number_begins_anew_and_the_others_stay(driver: Driver) -> None:
    driver.add("a")
    driver.done(driver.take_one())
    for junk in ("junk", "9223372036854775807"):
        driver.raw.hset(f"{driver.keys.prefix}q:p", "waiting", junk)
        driver.add(f"b{junk}")
        assert driver.stats()["p"] == (1, 0, 0, 1, 0)
        driver.raw.hset(f"{driver.keys.prefix}q:p", "waiting", 0)


def test_a_key_of_another_kind_is_put_aside(driver: Driver) -> None:
    driver.raw.set(driver.keys.state("A"), "no hash")
    assert driver.state_set("A", STATE) == (True, 1)


def test_stopping_a_session_skips_what_its_lists_hold_no_longer(driver: Driver) -> None:
    for n in range(900):
        driver.add(f"a{n}", session_id="A")
    driver.cancel("a450")  # too far from both ends of its list to be taken out
    assert driver.stop_session("A", 1000) == (899, False)
    assert driver.types("a450") == ["dropped"]


def test_dead_letters_are_bounded_by_number(driver: Driver) -> None:
    for n in range(1_003):
        driver.add(f"a{n}")
        driver.fail(driver.take_one())
        driver.advance(0.001)
    assert driver.raw.zcard(f"{driver.keys.prefix}dead") == 1_000
    assert not driver.raw.exists(f"{driver.keys.prefix}x:a2")
    assert [letter.id for letter in driver.dead()][-1] == "a3"


def test_a_dead_letter_whose_time_has_passed_is_taken_off_the_list(driver: Driver) -> None:
    driver.add("a")
    driver.fail(driver.take_one())
    driver.raw.delete(f"{driver.keys.prefix}x:a")
    assert driver.dead() == []
    assert not driver.raw.exists(f"{driver.keys.prefix}dead")
    assert driver.dead("a") == []
    assert driver.dead_drop("a") is False


def test_one_dead_letter_is_shown_without_the_others(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        driver.add(name)
        driver.fail(driver.take_one())
    assert [letter.id for letter in driver.dead("a")] == ["a"]
    driver.raw.delete(f"{driver.keys.prefix}dead")  # as if Redis had lost it
    assert driver.dead("a") == []
    assert caplog.messages == [], "an answer could not be read"


def test_a_lost_counter_of_fences_does_not_repeat_one(driver: Driver) -> None:
    for n in range(9):
        driver.add(f"a{n}")
    first = [item.fence for item in driver.take(total=3)]
    second = [item.fence for item in driver.take(total=3)]  # in the same microsecond
    driver.raw.set(f"{driver.keys.prefix}fence", "9" * 30)
    third = [item.fence for item in driver.take(total=3)]
    assert len({*first, *second}) == 6
    assert min(second) > max(first)
    assert len(third) == 3
    assert all(0 < fence < 2**53 for fence in third)


def test_a_broken_result_is_as_good_as_none(driver: Driver) -> None:
    for junk in (b"junk", b"- - p - a X - 0 1-1 =x", b"- - p - a D - x 1-1 =x"):
        driver.raw.set(f"{driver.keys.prefix}r:a", junk)
        assert driver.look(["a"])[0].status is Status.UNKNOWN
        assert driver.ack("a", 1, success=True, body=b"") == ("lost", 0)
        assert driver.nack("a", 1, retry=True).value == "lost"
        assert driver.cancel("a").value == "absent"
    assert driver.add("a") == "ok"


@pytest.mark.parametrize("field", ["f", "k", "n"])
def test_a_running_execution_without_its_owner_is_set_aside(driver: Driver, field: str) -> None:
    driver.add("a", reply_to="me")
    item = driver.take_one(lease=1.0)
    driver.raw.hdel(driver.keys.job("a"), field)
    assert driver.done(item) == "lost"
    driver.advance(1.0)
    assert driver.reclaim() == (0, 1)
    assert driver.finished()["a"].why is Why.CORRUPT
    assert driver.types("a") == ["active", "failed"]


@pytest.mark.parametrize(
    ("field", "junk"), [("x", "y"), ("x", "9" * 20), ("n", "-1"), ("a", "1.5")]
)
def test_a_count_that_is_none_is_found_wherever_it_is_read(
    driver: Driver, field: str, junk: str
) -> None:
    driver.add("a", reply_to="me")
    driver.take_one(lease=1.0)
    driver.raw.hset(driver.keys.job("a"), field, junk)
    driver.advance(1.0)
    assert driver.reclaim() == (0, 1)
    assert driver.finished()["a"].why is Why.CORRUPT


@pytest.mark.parametrize(
    ("field", "junk"),
    [("t", "q"), ("t", None), ("n", "-1"), ("a", "x"), ("p", None), ("p", "q"), ("s", "S")],
)
def test_a_waiting_execution_that_cannot_be_read_is_set_aside(
    driver: Driver, field: str, junk: str | None
) -> None:
    driver.add("a", reply_to="me")
    if junk is None:
        driver.raw.hdel(driver.keys.job("a"), field)
    else:
        driver.raw.hset(driver.keys.job("a"), field, junk)
    assert driver.take() == []
    assert driver.finished()["a"].why is Why.CORRUPT
    assert not driver.raw.exists(driver.keys.job("a"))


def test_a_waiting_execution_whose_record_is_gone_is_skipped(driver: Driver) -> None:
    driver.add("a")
    driver.raw.delete(driver.keys.job("a"))
    driver.add("b")
    assert [item.id for item in driver.take(total=2)] == ["b"]
    assert driver.types("a") == []
    assert driver.dead() == []


def test_a_child_is_no_dead_letter(driver: Driver) -> None:
    driver.add("a")
    item = driver.take_one()
    driver.add("a.1", "child", parent=Parent("a", item.fence, "h"))
    driver.fail(driver.take_one("child"))
    driver.cancel("a")
    assert driver.dead() == []


def test_two_locks_expire_for_each_other(driver: Driver) -> None:
    """Who waits is dropped from the line when its time is over, and not before."""
    assert driver.lock_acquire("l", "one", 60.0)[0]
    driver.lock_acquire("l", "two", 60.0, runtime_id="r2", wait=5.0)
    driver.lock_acquire("l", "three", 60.0, runtime_id="r3", wait=50.0)
    driver.advance(5.0)
    assert driver.lock_release("l", "one")
    assert driver.inbox("r2") == []
    assert [free.owner for free in driver.inbox("r3")] == ["three"]
    assert not driver.lock_acquire("l", "two", 60.0)[0]
    assert driver.lock_acquire("l", "three", 60.0)[0]


def test_a_waiter_that_gives_up_leaves_the_line(driver: Driver) -> None:
    driver.lock_acquire("l", "one", 60.0)
    driver.lock_acquire("l", "two", 60.0, runtime_id="r2", wait=50.0)
    driver.lock_acquire("l", "three", 60.0, runtime_id="r3", wait=50.0)
    assert not driver.lock_release("l", "two")
    assert driver.inbox("r3") == []  # the lock is not free
    assert driver.lock_release("l", "one")
    assert driver.inbox("r2") == []
    assert [free.owner for free in driver.inbox("r3")] == ["three"]


def test_a_list_longer_than_what_is_searched_keeps_its_ring(driver: Driver) -> None:
    for n in range(257):
        driver.add(f"a{n}", session_id=f"s{n}")
    driver.cancel("a3")
    assert driver.raw.lrange(f"{driver.keys.prefix}w:p:s3", 0, -1) == [b""]
    check(driver)
    assert len(driver.take(total=999)) == 256
    driver.add("b", session_id="B")
    driver.cancel("b")
    assert not driver.raw.exists(f"{driver.keys.prefix}w:p:B", f"{driver.keys.prefix}wake:p")


def test_of_a_record_that_names_no_processor_nothing_stays(driver: Driver) -> None:
    driver.add("a", delay=1.0)
    driver.raw.hdel(driver.keys.job("a"), "p")
    driver.advance(1.0)
    driver.promote()
    assert not driver.raw.exists(driver.keys.job("a"), f"{driver.keys.prefix}d:a")


def test_a_script_looks_at_the_clock_once(driver: Driver) -> None:
    real = Driver(driver.raw, virtual=False)
    real.add("a", session_id="A")
    driver.raw.config_resetstat()
    real.take_one()
    real.cancel("a")
    calls = driver.raw.info("commandstats")
    assert calls["cmdstat_time"]["calls"] == 2


def test_a_cancel_takes_the_tokens_only_with_the_last_work(driver: Driver) -> None:
    driver.add("a", session_id="A")
    driver.add("b", session_id="B")
    driver.cancel("a")
    assert driver.raw.exists(f"{driver.keys.prefix}wake:p"), "a worker must be woken for b"
    driver.cancel("b")
    assert not driver.raw.exists(f"{driver.keys.prefix}wake:p")


def test_a_finished_id_answers_only_the_call_that_it_was(driver: Driver) -> None:
    driver.add("top", session_id="A")
    top = driver.take_one()
    same = {"session_id": "A", "parent": Parent("top", top.fence, "h")}
    driver.add("a", "q", **same)
    driver.done(driver.take_one("q"))
    assert driver.add("a", "q", **same) == "finished"
    assert driver.add("a", "p", **same) == "mismatch"
    assert driver.add("a", "q", **(same | {"session_id": "B"})) == "mismatch"
    assert driver.add("a", "q", **(same | {"session_id": None})) == "mismatch"
    other = Parent("top", top.fence, "i")
    assert driver.add("a", "q", session_id="A", parent=other) == "mismatch"


def test_an_orphan_of_a_stopped_session_is_told_that_it_was_stopped(driver: Driver) -> None:
    driver.add("a", session_id="A")
    item = driver.take_one(worker="wk")
    parent = Parent("a", item.fence, "h")
    driver.add("a.1", "q", session_id="A", parent=parent, reply_to="wk")
    driver.raw.delete(driver.keys.job("a"))  # as if Redis had lost it
    assert driver.stop_session("A", 1) == (0, True)
    assert driver.take("q") == []
    assert driver.finished("wk")["a.1"].why is Why.STOPPED


def test_a_nack_of_what_was_cancelled_is_lost(driver: Driver) -> None:
    driver.add("a")
    item = driver.take_one()
    driver.cancel("a")
    assert driver.nack("a", item.fence, retry=True).value == "lost"


def test_what_is_returned_keeps_the_deliveries_before(driver: Driver) -> None:
    driver.add("a")
    driver.take_one(lease=1.0)
    driver.advance(1.0)
    driver.reclaim()
    item = driver.take_one()
    assert item.deliveries == 2
    driver.nack("a", item.fence, retry=False)
    assert driver.take_one().deliveries == 2


def test_a_count_that_somebody_set_to_zero_is_returned_as_zero(driver: Driver) -> None:
    driver.add("a")
    item = driver.take_one()
    driver.raw.hset(driver.keys.job("a"), "n", 0)
    driver.nack("a", item.fence, retry=False)
    assert driver.take_one().deliveries == 1
