"""What must be true when a storm is over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from redis import Redis

from am2z import SessionStoppedError
from am2z.queue.keys import decode, encode
from tests.distributed.protocol.protocol_driver import GRAMMAR, Driver, check_counters, check_places

from .storm import DOOMED, SESSIONS, Storm

LIVE = ("j:", "d:", "w:", "ready:", "kd:", "sj:", "sy:", "leases", "delayed")
"""Keys of work that is not finished."""
KEPT = ("st:", "s:", "sessions")
"""Keys without a time to live."""


class Record(NamedTuple):
    """What Redis remembers of a finished execution."""

    fence: str
    session: str | None
    status: str
    why: str


def aftermath(storm: Storm, redis: Redis) -> Iterator[str]:
    """Everything that is wrong."""
    driver = Driver(redis, storm.namespace, virtual=False)
    jobs = driver.jobs()
    records = {
        decode(name): Record(
            job["fence"], decode(job["s"]) if "s" in job else None, job["t"], job["y"].strip("-")
        )
        for name, job in jobs.items()
    }
    yield from storm.problems
    yield from left_behind(driver)
    yield from answers(storm, records)
    yield from ends(storm, records)
    yield from commits(storm, driver, records)
    yield from fences(storm, redis, records)
    for check in (lambda: check_places(redis, driver.keys.prefix, jobs),
                  lambda: check_counters(driver, jobs)):  # fmt: skip
        try:
            check()
        except (AssertionError, KeyError) as error:
            yield f"{error!r}"
    for name, counts in driver.stats().items():
        if counts.waiting or counts.active or counts.delayed:
            yield f"nothing is live, but {name} counts {counts}"


def left_behind(driver: Driver) -> Iterator[str]:
    """Keys that should not be there, or would never go."""
    prefix = driver.keys.prefix
    names = [
        key.decode().removeprefix(prefix) for key in driver.raw.scan_iter(f"{prefix}*", count=1000)
    ]
    for name in names:
        if name.startswith(LIVE):
            yield f"left in Redis: {name} {driver.raw.type(prefix + name)}"
    for name in driver.left():
        if not name.startswith(KEPT):
            yield f"nothing will ever remove {name}"


def answers(storm: Storm, records: dict[str, Record]) -> Iterator[str]:
    """Every caller has what it asked for, or the error that belongs to it."""
    if len(storm.answers) != storm.asked:
        yield f"{storm.asked} callers asked, {len(storm.answers)} were answered"
    for kind, session, result in storm.answers:
        if result is None:
            continue
        name = result.metadata.execution_id
        record = records.get(name)
        told = f"{name} ({kind.name} in {session}): {result.error or result.state!r}, {record}"
        if isinstance(result.error, SessionStoppedError):
            # Refused: no record. Stopped: that is what the record says. Or a call was stopped, and
            # its parent just had the time to fail by it.
            if session != DOOMED or (record is not None and record.status != "F"):
                yield f"stopped by nobody: {told}"
        elif record is None:
            yield f"answered and not remembered: {told}"
        elif result.success != (record.status == "D"):
            yield f"told otherwise than remembered: {told}"
        elif result.success != (kind.ends_with is not None):
            yield f"ended otherwise than it must: {told}"
        elif result.success and result.state.count != kind.ends_with:  # type: ignore[attr-defined]
            yield f"counted wrongly: {told}"


def ends(storm: Storm, records: dict[str, Record]) -> Iterator[str]:
    """Each execution ended once, in a way that somebody wanted, and its events say the same."""
    said: dict[str, str] = defaultdict(str)
    for event in storm.events:
        if event.execution_id is not None:
            said[event.execution_id] += event.type + " "
    for name in said.keys() ^ records.keys():
        yield f"{name}: events {said.get(name)!r}, record {records.get(name)}"
    for name in said.keys() & records.keys():
        record, sentence = records[name], said[name]
        if not GRAMMAR.fullmatch(sentence) or (record.status == "D") != ("completed" in sentence):
            yield f"{name}: {record}, and its events are {sentence!r}"
    gave_up = sum(answer.result is None for answer in storm.answers)
    whys = Counter(
        record.why if record.session != DOOMED or record.why != "stopped" else ""
        for name, record in records.items()
        if "/" not in name
    )
    if whys.pop("cancelled", 0) > gave_up:
        yield f"more were cancelled than the {gave_up} that somebody gave up"
    del whys[""]
    if whys:
        yield f"ended by nobody's wish: {dict(whys)}"


def commits(storm: Storm, driver: Driver, records: dict[str, Record]) -> Iterator[str]:
    """As many commits as executions of the session that succeeded; calls commit nothing."""
    done = Counter(r.session for name, r in records.items() if r.status == "D" and "/" not in name)
    for session in SESSIONS:
        if session is None:
            continue
        version = int(driver.raw.hget(f"{driver.keys.prefix}st:{encode(session)}", "v") or 0)
        if version != done[session]:
            yield f"session {session}: {done[session]} succeeded, {version} commits"
        if not version:
            yield f"session {session} did nothing at all"


def fences(storm: Storm, redis: Redis, records: dict[str, Record]) -> Iterator[str]:
    """What a worker finished it finished under the newest fence that any run of it was given."""
    newest: dict[str, int] = defaultdict(int)
    for line in redis.lrange(f"runs:{storm.namespace}", 0, -1):
        name, fence, _ = line.decode().split()
        newest[name] = max(newest[name], int(fence))
    for name, record in records.items():
        if record.fence != "-" and int(record.fence) != newest[name]:
            yield f"{name}: finished under {record.fence}, the newest fence was {newest[name]}"
        if record.status == "D" and record.fence == "-":
            yield f"{name}: finished under no fence"
