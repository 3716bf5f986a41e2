"""Drives the protocol without a trio client: its methods are async, yet never suspend here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import redis

from am2z.queue.client.script import Script
from am2z.queue.keys import Keys, decode
from am2z.queue.library import ScriptLibrary
from am2z.queue.protocol import Protocol
from am2z.queue.wire import Claimed, Finished, StreamEvent, parse_event, parse_inbox

T = TypeVar("T")

VIRTUAL_TIME = """
local function now_ms() return tonumber(redis.call('GET', 'clock') or '1000000') end
local function now_us() return now_ms() * 1000 end
"""
VIRTUAL = ScriptLibrary({"time": VIRTUAL_TIME})


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("the coroutine suspended")


class SyncClient:
    """A redis-py client with the one method that the protocol needs."""

    def __init__(self, raw: redis.Redis) -> None:
        self.raw = raw

    async def run_script(
        self, script: Script, keys: Sequence[str], args: Sequence[Any], *, idempotent: bool = False
    ) -> Any:
        try:
            return self.raw.evalsha(script.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return self.raw.eval(script.text, len(keys), *keys, *args)


class Driver:
    """A protocol on the virtual clock with short names, and eyes for what it keeps in Redis."""

    def __init__(self, raw: redis.Redis, namespace: str = "t", *, virtual: bool = True) -> None:
        self.raw = raw
        self.keys = Keys(namespace)
        self.protocol = Protocol(
            SyncClient(raw), self.keys, result_ttl=60.0, scripts=VIRTUAL if virtual else None
        )

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.protocol, name)
        return lambda *args, **kwargs: now(method(*args, **kwargs))

    # -- acting

    def advance(self, seconds: float) -> None:
        self.raw.incrby("clock", 0 if self.raw.exists("clock") else 1_000_000)
        self.raw.incrby("clock", round(seconds * 1000))

    def add(self, execution_id: str, processor: str = "p", **options: Any) -> str:
        payload = options.pop("payload", b"input")
        return self.enqueue(execution_id, processor, payload, **options).answer.value

    def take(self, *processors: str, total: int = 1, lease: float = 10.0, worker: str = "w"):
        wants = [(name, total) for name in processors or ("p",)]
        return self.claim(worker, wants, total=total, lease=lease).items

    def take_one(self, *processors: str, lease: float = 10.0, worker: str = "w") -> Claimed:
        items = self.take(*processors, lease=lease, worker=worker)
        assert len(items) == 1, items
        return items[0]

    def done(self, item: Claimed, body: bytes = b"result", **options: Any) -> str:
        return self.ack(item.id, item.fence, success=True, body=body, **options).answer.value

    def fail(self, item: Claimed, body: bytes = b"error") -> str:
        return self.ack(item.id, item.fence, success=False, body=body).answer.value

    # -- seeing

    def inbox(self, runtime: str = "me") -> list[Any]:
        """What a runtime would read; it is gone then."""
        key = self.keys.inbox(runtime)
        found = [parse_inbox(data) for data in self.raw.lrange(key, 0, -1)]
        self.raw.delete(key)
        return found

    def finished(self, runtime: str = "me") -> dict[str, Finished]:
        return {entry.id: entry for entry in self.inbox(runtime) if isinstance(entry, Finished)}

    def events(self) -> list[StreamEvent]:
        return [parse_event(i, fields) for i, fields in self.raw.xrange(self.keys.events)]

    def types(self, execution_id: str) -> list[str]:
        return [event.type for event in self.events() if event.execution_id == execution_id]

    def left(self) -> list[str]:
        """The keys of the namespace that have no time to live, without the prefix."""
        start = len(self.keys.prefix)
        found = [key.decode() for key in self.raw.scan_iter(f"{self.keys.prefix}*", count=1000)]
        return sorted(key[start:] for key in found if self.raw.pttl(key) == -1)

    def jobs(self) -> dict[str, dict[str, str]]:
        """Every execution that is known: the fields of its hash, or the same of its result."""
        start = len(self.keys.prefix) + 2
        found = {}
        for key in self.raw.scan_iter(f"{self.keys.prefix}j:*", count=1000):
            fields = self.raw.hgetall(key).items()
            found[key.decode()[start:]] = {f.decode(): v.decode() for f, v in fields}
        for key in self.raw.scan_iter(f"{self.keys.prefix}r:*", count=1000):
            head = (part.decode() for part in self.raw.get(key).split(b" ", 7)[:7])
            fence, _, processor, group, _, status, why = head
            job = {"p": processor, "t": status, "y": why, "fence": fence}
            if group != "-":
                job["s"] = group
            assert key.decode()[start:] not in found, f"{key!r} is live and finished"
            found[key.decode()[start:]] = job
        return found


# `retrying` may stand before an end without an `active`: the execution was ended by others (its
# session stopped, it was cancelled) while it waited for its next attempt.
GRAMMAR = re.compile(
    r"(active (progress |custom )*(retrying active (progress |custom )*)*(completed "
    r"|(retrying )?failed )|dropped )"
)
OPEN = re.compile(
    r"(active (progress |custom )*(retrying active (progress |custom )*)*(retrying )?)?"
)


def check(driver: Driver) -> None:
    """Everything that must be true between any two scripts."""
    raw, prefix = driver.raw, driver.keys.prefix
    jobs = driver.jobs()
    check_places(raw, prefix, jobs)
    check_counters(driver, jobs)
    check_grammar(driver, jobs)


def check_places(raw: redis.Redis, prefix: str, jobs: dict[str, dict[str, str]]) -> None:
    """Every live execution is in exactly one place, the one that its status says."""
    places = lists(raw, prefix)
    for name, letter in (("leases", "a"), ("delayed", "y")):
        for execution_id in raw.zrange(f"{prefix}{name}", 0, -1):
            assert jobs[execution_id.decode()]["t"] == letter, (name, execution_id)
            places[execution_id.decode()].append(letter)
    kept: dict[str, set[str]] = defaultdict(set)
    for execution_id, job in jobs.items():
        place = places[execution_id]
        if job["t"] in "DF":
            assert set(place) <= {"w"}, (execution_id, job, place)  # a list may still hold its id
            assert raw.pttl(f"{prefix}r:{execution_id}") > 0
            assert not raw.exists(f"{prefix}d:{execution_id}")
        else:
            assert place == [job["t"]], (execution_id, job, place)
            assert raw.exists(f"{prefix}d:{execution_id}"), execution_id
            if "s" in job and job["t"] in "ay":
                kept[{"a": "sj:", "y": "sy:"}[job["t"]] + job["s"]].add(execution_id)
    for key in [*raw.scan_iter(f"{prefix}sj:*"), *raw.scan_iter(f"{prefix}sy:*")]:
        name = key.decode()[len(prefix) :]
        assert {i.decode() for i in raw.smembers(key)} == kept.pop(name, set()), name
    assert not kept, kept


def lists(raw: redis.Redis, prefix: str) -> dict[str, list[str]]:
    """Which waiting lists hold an id; the rings hold each group with a list exactly once."""
    places: dict[str, list[str]] = defaultdict(list)
    ringed = []
    for key in raw.scan_iter(f"{prefix}ready:*", count=1000):
        proc = key.decode()[len(prefix) + 6 :]
        ringed += [f"{proc}:{group.decode()}" for group in raw.lrange(key, 0, -1)]
    listed = []
    for key in raw.scan_iter(f"{prefix}w:*", count=1000):
        listed.append(key.decode()[len(prefix) + 2 :])
        for execution_id in raw.lrange(key, 0, -1):
            places[execution_id.decode()].append("w")
    assert sorted(ringed) == sorted(listed)
    return places


def check_counters(driver: Driver, jobs: dict[str, dict[str, str]]) -> None:
    """The counters equal a recount (as long as no finished execution has expired)."""
    recount: dict[Any, list[int]] = defaultdict(lambda: [0] * 5)
    for job in jobs.values():
        column = "wayDF".index(job["t"])
        recount[None, decode(job["p"])][column] += 1
        if "s" in job:
            recount[decode(job["s"]), decode(job["p"])][column] += 1
    groups: set[str | None] = {group for group, _ in recount} | {None}
    for group in groups:
        if group is not None and not driver.raw.exists(driver.keys.session(group)):
            continue  # forgotten
        counted = {name: list(counts) for name, counts in driver.stats(group).items()}
        for name in {proc for owner, proc in recount if owner == group} | counted.keys():
            if group is None or name in counted:
                assert counted.get(name, [0] * 5) == recount[group, name], (group, name, counted)


def check_grammar(driver: Driver, jobs: dict[str, dict[str, str]]) -> None:
    """The events of each execution are a sentence, a whole one once it has finished."""
    said: dict[str, str] = defaultdict(str)
    for event in driver.events():
        if event.execution_id is not None:
            said[event.execution_id] += event.type + " "
    for execution_id, job in jobs.items():
        form = GRAMMAR if job["t"] in "DF" else OPEN
        assert form.fullmatch(said[decode(execution_id)]), (execution_id, job, said)
