"""Measures the subjects in turn, several rounds long: what disturbs one disturbs the others too."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.driver import Mark, Program, ProgramError, started
from benchmarks.server import Server
from benchmarks.subjects import NODE, OURS, Subject

__all__ = ["FULL", "QUICK", "Plan", "measured", "rounds"]

SIZE = 100
"""Bytes of a job's payload."""
CALLERS = 100
FOR_TWO, STEP = 60_000, 1_000
"""Jobs for two workers: many enough that both have begun long before they are done. They tell of
each thousand."""
DRAIN = 600.0
"""Seconds after which a drain has failed."""


class Plan(NamedTuple):
    """How much is done in one round; the pace of a subject scales it."""

    rounds: int
    each: int
    bulk: int
    trips: int
    calls: int
    chains: int
    idle: float

    def of(self, subject: Subject) -> Plan:
        """This plan at the pace of a subject."""
        pace = subject.pace
        return self._replace(
            each=int(self.each * pace),
            bulk=int(self.bulk * pace),
            trips=int(self.trips * pace),
            calls=max(CALLERS, int(self.calls * pace) // CALLERS * CALLERS),
            chains=max(3, int(self.chains * pace)),
        )


FULL = Plan(rounds=5, each=3_000, bulk=20_000, trips=600, calls=6_000, chains=60, idle=5.0)
QUICK = Plan(rounds=3, each=400, bulk=3_000, trips=100, calls=1_000, chains=12, idle=2.0)


class _Drained(NamedTuple):
    """A drain between two marks, for each job."""

    rate: float
    worker: float
    redis: float


def _between(server: Server, worker: Program, count: int) -> _Drained:
    """Wait for two marks, ``count`` jobs apart."""
    first: Mark = worker.mark()
    redis = server.cpu()
    last = worker.mark()
    redis = server.cpu() - redis
    micros = 1e6 / count
    return _Drained(count / (last.at - first.at), (last.cpu - first.cpu) * micros, redis * micros)


def _drained_by_two(subject: Subject, server: Server, options: dict[str, Any] | None) -> float:
    """Jobs for each second that two workers drain, while both of them work."""
    server.flush()
    with started(subject.words("client", server.url, options)) as client:
        client.ask("enqueue_bulk", n=FOR_TWO, size=SIZE)
    words = subject.words(
        "worker", server.url, {**(options or {}), "marks": [*range(STEP, FOR_TWO, STEP)]}
    )
    with started(words) as one, started(words) as other:
        passed: tuple[list[Mark], list[Mark]] = ([], [])
        give_up = time.monotonic() + DRAIN
        while sum(map(len, passed)) < 0.9 * FOR_TWO / STEP:
            if time.monotonic() > give_up:
                raise ProgramError(f"{FOR_TWO} jobs were not drained within {DRAIN:g} s")
            for worker, marks in zip((one, other), passed, strict=True):
                marks.extend(worker.marks())
            time.sleep(0.01)  # two programs tell of marks, and either may be next
    if not all(passed):
        raise ProgramError("one of two workers got no work")
    both = max(marks[0].at for marks in passed)
    times = sorted(mark.at for marks in passed for mark in marks if mark.at >= both)
    return (len(times) - 1) * STEP / (times[-1] - times[0])


def _percentile(taken: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return sorted(taken)[int(len(taken) * share)] * 1000


def measured(
    subject: Subject, server: Server, plan: Plan, options: dict[str, Any] | None = None
) -> tuple[dict[str, float], str]:
    """Every measure of one subject, once, and the settings that its program tells."""
    plan = plan.of(subject)
    found: dict[str, float] = {}
    client_words = subject.words("client", server.url, options)
    server.flush()
    with started(client_words) as client:
        client.ask("enqueue_each", n=plan.each // 10, size=SIZE)
        told = client.ask("enqueue_each", n=plan.each, size=SIZE)
        found["enqueue_each"] = plan.each / told["seconds"]
    server.flush()
    with started(client_words) as client:
        client.ask("enqueue_bulk", n=plan.bulk // 5, size=SIZE)
        memory = server.data()
        told = client.ask("enqueue_bulk", n=plan.bulk, size=SIZE)
        found["enqueue_bulk"] = plan.bulk / told["seconds"]
        found["memory"] = (server.data() - memory) / plan.bulk - SIZE
        marks = [1, plan.bulk // 5, plan.bulk]
        words = subject.words("worker", server.url, {**(options or {}), "marks": marks})
        with started(words) as worker:
            found["start_up"] = worker.mark().at - worker.began
            drained = _between(server, worker, marks[2] - marks[1])
            found["drain"], found["drain_worker"], found["drain_redis"] = drained
            _ask_one_by_one(client, subject, plan, found)
            told = client.ask("callers", n=plan.calls, size=SIZE, callers=CALLERS)
            found["callers"] = plan.calls / told["seconds"]
            time.sleep(0.5)
            used = worker.cpu()
            time.sleep(plan.idle)
            found["idle"] = (worker.cpu() - used) / plan.idle * 100
            settings = worker.settings
    if subject.name in (OURS, NODE):  # with others it is no question who is ahead
        found["drain_two"] = _drained_by_two(subject, server, options)
    if subject.is_ours:
        found |= _own(subject, server, plan, options)
    return found, settings


def _ask_one_by_one(client: Program, subject: Subject, plan: Plan, found: dict[str, float]) -> None:
    def taken(n: int, kind: str) -> list[float]:
        client.ask("executions", n=max(n // 10, 2), size=SIZE, kind=kind)
        answer: list[float] = client.ask("executions", n=n, size=SIZE, kind=kind)["taken"]
        return answer

    trips = taken(plan.trips, "execute")
    found["p50"], found["p99"] = _percentile(trips, 0.5), _percentile(trips, 0.99)
    found["chain"] = _percentile(taken(plan.chains, "execute_chain"), 0.5)
    if subject.can_nest:
        found["nested"] = _percentile(taken(plan.chains, "execute_parent"), 0.5)
    if subject.is_ours:
        found["chain_in_place"] = _percentile(taken(plan.chains, "execute_chain_in_place"), 0.5)


def _own(
    subject: Subject, server: Server, plan: Plan, options: dict[str, Any] | None
) -> dict[str, float]:
    """What only ours has: sessions that commit, and events that somebody hears."""
    found: dict[str, float] = {}
    server.flush()
    words = subject.words("client", server.url, options)
    marks = [plan.bulk // 5, plan.bulk]
    with started(words) as client, started(words) as listener:
        listener.ask("listen")
        client.ask("enqueue_bulk", n=plan.bulk * 6 // 5, size=SIZE, sessions=1000)
        words = subject.words("worker", server.url, {**(options or {}), "marks": marks})
        with started(words) as worker:
            drained = _between(server, worker, marks[1] - marks[0])
            found["full_drain"], found["full_worker"], found["full_redis"] = drained
            calls = {"n": plan.calls, "size": SIZE, "callers": CALLERS}
            found["heard"] = plan.calls / client.ask("callers", **calls)["seconds"]
            listener.close()
            for name, sessions in (("hot", 1), ("spread", 1000)):
                told = client.ask("callers", **calls, sessions=sessions)
                found[name] = plan.calls / told["seconds"]
    return found


class Measured(NamedTuple):
    """What a whole run found."""

    rounds: dict[str, list[dict[str, float]]]
    settings: dict[str, str]
    failures: dict[str, str]


def rounds(
    subjects: Sequence[Subject], server: Server, plan: Plan, tell: Callable[[str], None]
) -> Measured:
    """Every subject in every round, each round in an order of its own."""
    run = Measured({subject.name: [] for subject in subjects}, {}, {})
    for number in range(plan.rounds):
        for subject in random.sample(subjects, len(subjects)):
            began = time.monotonic()
            try:
                found, settings = measured(subject, server, plan)
            except ProgramError as error:
                run.failures[subject.name] = str(error)
                tell(f"  {subject.name} failed: {str(error).strip().splitlines()[-1]}")
                continue
            run.rounds[subject.name].append(found)
            run.settings[subject.name] = settings
            tell(
                f"  round {number + 1} of {plan.rounds}: {subject.name:12} "
                f"drain {found['drain']:7,.0f}/s, p50 {found['p50']:6.2f} ms, "
                f"{time.monotonic() - began:4.0f} s"
            )
    return run
