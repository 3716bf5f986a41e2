"""Mutants of ``QueueRuntime``: one Lua script, or one step of a worker or a caller, is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from am2z.codec import checksum
from am2z.executor import Outcome
from am2z.queue.dispatch import Dispatch
from am2z.queue.leases import Leases
from am2z.queue.outbox import Outbox
from am2z.queue.protocol import StateWrite
from am2z.queue.run import Run
from am2z.typenames import type_name
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


# --- who is answered, when, and with what


@mutant("first-attempt-answers", rule="ERR-004", base="queue")
@contextmanager
def first_attempt_answers() -> Iterator[None]:
    """The first failed attempt is told to its callers as the end."""
    right = "local status = delay > 0 and 'y' or 'w'"
    tell = "post(runtime, id .. ' F cancelled 0 - =')"
    every_caller = f"for runtime in string.gmatch(job.o or '', '%S+') do {tell} end"
    with script("nack", right, f"if mode == 'retry' then {every_caller} end\n{right}"):
        yield


@mutant("stop-forgets-callers", rule="LIF-008", base="queue")
@contextmanager
def stop_forgets_callers() -> Iterator[None]:
    """A runtime that stops leaves its callers waiting."""

    async def answer_callers(_self: Dispatch) -> None:
        await trio.lowlevel.checkpoint()

    with patch(Dispatch, "answer_callers", answer_callers):
        yield


@mutant("commit-after-the-answer", rule="STA-001", base="queue")
@contextmanager
def commit_after_the_answer() -> Iterator[None]:
    """A worker tells the end of an execution, and commits its state a second later."""
    right = Run._end

    async def commit_later(self: Run, outcome: Outcome[Any], data: bytes) -> None:
        await trio.sleep(1)
        write = StateWrite(data, checksum(data), type_name(type(outcome.state)), 0)
        await self._node.protocol.state_set(self.claimed.session_id or "", write)

    async def end(
        self: Run, outcome: Outcome[Any], data: bytes | None, metadata: Any, *, commits: bool
    ) -> None:
        await right(self, outcome, data, metadata, commits=False)
        if commits and data is not None:
            self._nursery.start_soon(commit_later, self, outcome, data)

    with patch(Run, "_end", end):
        yield


# --- what is run, and how often


@mutant("finished-id-runs-again", rule="EXE-040", base="queue")
@contextmanager
def finished_id_runs_again() -> Iterator[None]:
    """An execution id is known for as long as its execution lives, and no longer."""
    right = "if call('EXISTS', P .. 'r:' .. id) == 1 then"
    with script("enqueue", right, "if false then"):
        yield


@mutant("finished-call-made-again", rule="ERR-029", base="queue")
@contextmanager
def finished_call_made_again() -> Iterator[None]:
    """A redelivered execution calls again what had answered it before."""
    right = "if call('EXISTS', P .. 'r:' .. id) == 1 then"
    with script("enqueue", right, f"{right[:-5]} and parent == '' then"):
        yield


@mutant("lease-never-renewed", rule="RES-028", base="queue")
@contextmanager
def lease_never_renewed() -> Iterator[None]:
    """The lease of an execution ends while its worker is at work."""
    with patch(Leases, "_renew", lambda *_: None):
        yield


@mutant("heartbeat-renews-nothing", rule="RES-028", base="queue")
@contextmanager
def heartbeat_renews_nothing() -> Iterator[None]:
    """A heartbeat says that a lease is held, and leaves its end where it was."""
    right = "call('ZADD', P .. 'leases', expiry, ARGV[i])"
    with script("heartbeat", right, "call('ZADD', P .. 'leases', 'NX', expiry, ARGV[i])"):
        yield


@mutant("delayed-work-promoted-early", rule="EXE-042", base="queue")
@contextmanager
def delayed_work_promoted_early() -> Iterator[None]:
    """Work with a delay is due at once."""
    with script("enqueue", "int(now + later)", "int(now)"):
        yield


@mutant("backoff-promoted-early", rule="ERR-006", base="queue")
@contextmanager
def backoff_promoted_early() -> Iterator[None]:
    """An execution that waits for its next attempt is due at once."""
    with script("nack", "int(now_ms() + delay)", "int(now_ms())"):
        yield


@mutant("stopped-session-keeps-delayed-work", rule="SES-018", base="queue")
@contextmanager
def stopped_session_keeps_delayed_work() -> Iterator[None]:
    """Stopping a session ends what runs and what waits in it, not what is delayed."""
    with script("stop_session", "'sj:' .. group, P .. 'sy:' .. group}", "'sj:' .. group}"):
        yield


@mutant("cancelled-work-leaves-its-calls", rule="ERR-030", base="queue")
@contextmanager
def cancelled_work_leaves_its_calls() -> Iterator[None]:
    """An execution that is cancelled leaves running what it has called."""
    with script("_finish", "if job.c then cancel_children", "if false then cancel_children"):
        yield


@mutant("call-becomes-dead-letter", rule="ERR-027", base="queue")
@contextmanager
def call_becomes_dead_letter() -> Iterator[None]:
    """A nested call that failed is a dead letter, though its caller has its error."""
    with script("_finish", " and not job.u then bury", " then bury"):
        yield


# --- states and sessions in Redis


@mutant("redis-writes-without-comparing", rule="STA-017", base="queue")
@contextmanager
def redis_writes_without_comparing() -> Iterator[None]:
    """A state is written whatever version its writer expects."""
    with script("state_set", "if ARGV[6] ~= '' and ARGV[6] ~= current then", "if false then"):
        yield


@mutant("redis-compares-only-versions", rule="STA-029", base="queue")
@contextmanager
def redis_compares_only_versions() -> Iterator[None]:
    """Redis writes over any state of the expected version, also over another one."""
    with script("state_set", "if ARGV[7] ~= '' and ARGV[7] ~= now[2] then", "if false then"):
        yield


@mutant("redis-version-stands-still", rule="STA-013", base="queue")
@contextmanager
def redis_version_stands_still() -> Iterator[None]:
    """Every commit is version 1."""
    right = "local version = int((is_count(now[1] or '') and tonumber(now[1]) or 0) + 1)"
    with script("_state", right, "local version = '1'"):
        yield


@mutant("redis-loses-the-ttl", rule="STA-025", base="queue")
@contextmanager
def redis_loses_the_ttl() -> Iterator[None]:
    """A write that is to keep a state's time to live removes it."""
    with script("_state", "elseif ttl == 0 and now[2] then", "else"):
        yield


@mutant("session-created-by-every-enqueue", rule="EVT-017", base="queue")
@contextmanager
def session_created_by_every_enqueue() -> Iterator[None]:
    """Whatever is enqueued for a session tells that it has come to be."""
    with script("enqueue", "if session and not session[2] then", "if session then"):
        yield


# --- events on their way


@mutant("outbox-last-in-first-out", rule="EVT-002", base="queue")
@contextmanager
def outbox_last_in_first_out() -> Iterator[None]:
    """Of the events that wait to be sent the last goes first."""
    with edit(Outbox, "_send_all", "self._waiting.popleft()", "self._waiting.pop()"):
        yield


@mutant("end-overtakes-progress", rule="EVT-002", base="queue")
@contextmanager
def end_overtakes_progress() -> Iterator[None]:
    """The end of an execution is told before the progress that waits to be sent."""
    with edit(Run, "_end", "await self._outbox.flush()", "await trio.lowlevel.checkpoint()"):
        yield
