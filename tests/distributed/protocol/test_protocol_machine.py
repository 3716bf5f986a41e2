"""Any interleaving of the scripts keeps every promise: a state machine on the virtual clock.

Its model is thin on purpose: it knows what has been asked and answered, not how it is stored. What
is stored is checked by recounting Redis after every step (``check``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from am2z.queue.protocol import Parent, StateWrite
from am2z.queue.wire import Claimed

from .protocol_driver import Driver, check

SESSIONS = st.sampled_from(["A", "B", None])
PROCESSORS = st.sampled_from(["p", "q"])
LEASES = st.sampled_from([1.0, 1.0, 100.0])
LONG = bool(os.environ.get("AM2Z_CHAOS"))


class Machine(RuleBasedStateMachine):
    """Clients, workers that die, hang and come back, and people who cancel and stop."""

    server: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.server.flushall()
        self.d = Driver(self.server)
        self.d.advance(0.0)
        self.accepted: dict[str, str | None] = {}
        self.held: dict[str, Claimed] = {}
        self.stale: list[Claimed] = []
        self.stopped: set[str] = set()
        self.answers: dict[str, list[str]] = {}
        self.acked: set[str] = set()
        self.commits = dict.fromkeys(["A", "B"], 0)
        self.newest = 0

    # -- clients

    @rule(
        session=SESSIONS,
        processor=PROCESSORS,
        delay=st.sampled_from([0.0, 0.0, 2.0]),
        data=st.data(),
    )
    def enqueue(self, session: str | None, processor: str, delay: float, data: Any) -> None:
        again = data.draw(st.booleans()) if self.accepted else False
        if again:  # a client that asks again, because it had no answer or wants none of it
            name = data.draw(st.sampled_from(sorted(self.accepted)))
            known = self.d.jobs()[name]
            session = self.accepted[name]
            processor = known["p"]
            if "." in name:
                return
        else:
            name = f"j{len(self.accepted)}"
        answer = self.d.add(
            name, processor, session_id=session, delay=delay, max_deliveries=2, reply_to="me"
        )
        if again:
            assert answer == ("finished" if known["t"] in "DF" else "exists")
        elif session in self.stopped:
            assert answer == "stopped"
        else:
            assert answer == "ok"
            self.accepted[name] = session

    @rule(data=st.data())
    def call(self, data: Any) -> None:
        held = [*self.held.values(), *self.stale]
        if not held:
            return
        parent = data.draw(st.sampled_from(held))
        name = f"{parent.id}.{len(self.accepted)}"
        running = self.d.jobs()[parent.id]
        answer = self.d.add(
            name,
            "p",
            session_id=parent.session_id,
            parent=Parent(parent.id, parent.fence, "h"),
            reply_to="me",
        )
        if running["t"] != "a" or running["f"] != str(parent.fence):
            assert answer == "orphan"
        elif parent.session_id in self.stopped:
            assert answer == "stopped"
        else:
            assert answer == "ok"
            self.accepted[name] = parent.session_id

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        self.d.cancel(data.draw(st.sampled_from(sorted(self.accepted))))

    @rule(session=st.sampled_from(["A", "B"]), limit=st.integers(1, 5), whole=st.booleans())
    def stop(self, session: str, limit: int, whole: bool) -> None:
        self.stopped.add(session)
        more = True
        while more:
            _, more = self.d.stop_session(session, limit)
            if not whole:
                return

    @precondition(lambda self: self.stopped)
    @rule(data=st.data())
    def forget(self, data: Any) -> None:
        session = data.draw(st.sampled_from(sorted(self.stopped)))
        # counters begin anew with the session, so nothing may be left that was counted before
        if any(owner == session for owner in self.accepted.values()):
            return
        assert self.d.forget_session(session)
        self.stopped.discard(session)
        self.commits[session] = 0

    # -- workers

    @rule(first=PROCESSORS, total=st.integers(1, 4), lease=LEASES)
    def claim(self, first: str, total: int, lease: float) -> None:
        wants = [(first, total), ("pq".replace(first, ""), 2)]
        for item in self.d.claim("wk", wants, total=total, lease=lease).items:
            assert item.id in self.accepted
            assert item.session_id == self.accepted[item.id]
            assert item.session_id not in self.stopped
            assert item.id not in self.answers
            assert item.fence > self.newest
            self.newest = item.fence
            if item.id in self.held:
                self.stale.append(self.held[item.id])
            self.held[item.id] = item

    def draw_held(self, data: Any) -> Claimed:
        return self.held.pop(data.draw(st.sampled_from(sorted(self.held))))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), success=st.booleans(), twice=st.booleans())
    def ack(self, data: Any, success: bool, twice: bool) -> None:
        item = self.draw_held(data)
        state = StateWrite(b"s", "sum", "t") if success else None
        body = item.id.encode()
        answer, version = self.d.ack(item.id, item.fence, success=success, body=body, state=state)
        if answer == "ok":
            assert item.id not in self.acked
            assert item.session_id not in self.stopped
            self.acked.add(item.id)
            if success and item.session_id is not None:
                self.commits[item.session_id] += 1
                assert version == self.commits[item.session_id]
            if twice:
                again = self.d.ack(item.id, item.fence, success=success, body=body, state=state)
                assert again == ("already", version)
        self.stale.append(item)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), retry=st.booleans(), delay=st.sampled_from([0.0, 2.0]))
    def nack(self, data: Any, retry: bool, delay: float) -> None:
        item = self.draw_held(data)
        self.d.nack(item.id, item.fence, retry=retry, delay=delay)
        self.stale.append(item)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), what=st.sampled_from(["ack", "nack", "emit", "heartbeat"]))
    def zombie(self, data: Any, what: str) -> None:
        item = data.draw(st.sampled_from(self.stale))
        before = self.d.jobs().get(item.id)
        if what == "ack":
            assert self.d.done(item, state=StateWrite(b"", "", "")) != "ok"
        elif what == "nack":
            self.d.nack(item.id, item.fence, retry=True)
        elif what == "emit":
            assert not self.d.emit(item.id, item.fence, "custom", name="x")
        else:
            assert self.d.heartbeat([(item.id, item.fence)], 100.0) == [item.id]
        assert self.d.jobs().get(item.id) == before

    @precondition(lambda self: self.held)
    @rule(data=st.data(), kind=st.sampled_from(["progress", "custom"]))
    def emit(self, data: Any, kind: str) -> None:
        item = self.held[data.draw(st.sampled_from(sorted(self.held)))]
        self.d.emit(item.id, item.fence, kind, name="x" if kind == "custom" else "")

    @rule(lease=LEASES)
    def heartbeat(self, lease: float) -> None:
        lost = self.d.heartbeat([(item.id, item.fence) for item in self.held.values()], lease)
        for name in lost:
            self.stale.append(self.held.pop(name))

    @rule(limit=st.integers(1, 9), seconds=st.sampled_from([0.5, 3.0]))
    def time_passes(self, limit: int, seconds: float) -> None:
        self.d.advance(seconds)
        self.d.reclaim(limit)

    # -- promises

    @invariant()
    def everything_is_in_its_place(self) -> None:
        for name, end in self.d.finished().items():
            self.answers.setdefault(name, []).append(end.status)
        check(self.d)
        for name in self.accepted:
            ended = self.d.jobs()[name]["t"] in "DF"
            assert len(self.answers.get(name, [])) == ended, (
                f"the caller of {name} was not told once"
            )
        for session, commits in self.commits.items():
            assert int(self.server.hget(self.d.keys.state(session), "v") or 0) == commits

    def teardown(self) -> None:
        """Whatever happened, all work comes to its end, and leaves nothing behind."""
        d = self.d
        for _ in range(20):
            d.advance(200.0)
            while d.reclaim(1000) != (0, 0):
                pass
            while items := d.take("p", "q", total=50):
                for item in items:
                    d.done(item)
        for session in ("A", "B"):
            while d.stop_session(session)[1]:
                pass
        self.everything_is_in_its_place()
        assert len(self.answers) == len(self.accepted)
        for session in ("A", "B"):
            assert d.forget_session(session)
        bare = [key.partition(":")[0] for key in d.left()]
        assert set(bare) <= {"q", "procs", "events", "fence"}, d.left()


@pytest.fixture
def machine(server: redis.Redis) -> Iterator[type[Machine]]:
    Machine.server = server
    yield Machine
    server.flushall()


@pytest.mark.timeout(7_200 if LONG else 60)
def test_every_interleaving_keeps_every_promise(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=300 if LONG else 25,
            stateful_step_count=60 if LONG else 30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
