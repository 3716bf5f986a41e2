"""What is remembered of executions and sessions: in memory to be asked, in the file to last."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, defaultdict
from typing import Any

from am2z import DeadLetter, ProcessorResult, QueueStats
from am2z.authoring import (
    Request,
    StateRecord,
    When,
    checksum,
    decode_named_state,
    decode_result,
    encode_result,
    type_name,
)
from sqlite_runtime.database import Database
from sqlite_runtime.state import bury, expiry, read_state, write_state
from sqlite_runtime.work import Work

Change = tuple[str, str, bool]
"""Session, processor and whether it failed."""

EVERYWHERE = ""
"""In the place of a session: the statistics of the runtime."""

COLUMNS = "id, name, session, type, data, chosen, begin_at"


class Session:
    """A named session that was used and not stopped."""

    def __init__(self) -> None:
        self.live: set[Work] = set()
        self.last_used = time.monotonic()


class Ledger:
    """The sessions and the counts, and every transaction about executions."""

    def __init__(self, database: Database, *, state_ttl: float | None, result_ttl: float) -> None:
        self.sessions: dict[str, Session] = {}
        self.counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self._stopped: dict[str, float] = {}
        self._unwritten: Counter[Change] = Counter()
        self._database = database
        self._state_ttl = state_ttl
        self._result_ttl = result_ttl

    # --- sessions

    def is_stopped(self, session_id: str) -> bool:
        """Whether work for a session is refused."""
        return self._stopped.get(session_id, 0.0) > time.time()

    def open(self, session_id: str) -> bool:
        """A session is used; answers whether it has just come to be."""
        is_new = session_id not in self.sessions
        if is_new:
            self._forget_counts(session_id)  # of one that was stopped until a moment ago
        self.sessions.setdefault(session_id, Session()).last_used = time.monotonic()
        return is_new

    async def stop(self, session_id: str, ttl: float) -> tuple[list[Work], bool]:
        """Refuse a session from now on. Answers what is live in it, and whether it was active."""
        until = self._stopped[session_id] = time.time() + ttl
        session = self.sessions.pop(session_id, None)

        def stop(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?)", (session_id, until))
            db.execute("DELETE FROM executions WHERE session = ? AND result IS NULL", (session_id,))
            db.execute(
                "UPDATE states SET expires = MIN(COALESCE(expires, ?), ?) WHERE session = ?",
                (until, until, session_id),
            )

        await self._database.run(stop)
        return (list(session.live) if session is not None else []), session is not None

    async def forget(self, session_id: str) -> None:
        """Nothing of a session is left; it may begin anew."""

        def forget(db: sqlite3.Connection) -> None:
            for table in ("sessions", "states", "counts"):
                db.execute(f"DELETE FROM {table} WHERE session = ?", (session_id,))

        await self._database.run(forget)
        self._stopped.pop(session_id, None)
        self._forget_counts(session_id)

    def _forget_counts(self, session_id: str) -> None:
        for key in [key for key in self.counts if key[0] == session_id]:
            del self.counts[key]

    def idle(self, ttl: float) -> list[str]:
        """The sessions without work that nobody used for so long."""
        now = time.time()
        for name in [name for name, end in self._stopped.items() if end <= now]:
            del self._stopped[name]
            if name not in self.sessions:
                self._forget_counts(name)
        oldest = time.monotonic() - ttl
        return [n for n, s in self.sessions.items() if s.last_used <= oldest and not s.live]

    # --- counts

    def count(self, work: Work, *, failed: bool) -> None:
        """One more that ended, whose transaction has counted it already."""
        for session, name, _ in self._changes(work, failed=failed):
            self.counts[session, name][failed] += 1

    def count_child(self, work: Work, *, failed: bool) -> None:
        """One more that ended; the next transaction writes it down."""
        self.count(work, failed=failed)
        self._unwritten.update(self._changes(work, failed=failed))

    def _changes(self, work: Work, *, failed: bool) -> list[Change]:
        sessions = {EVERYWHERE, work.counts_in} & {EVERYWHERE, *self.sessions, *self._stopped}
        return [(session, work.request.name, failed) for session in sessions]

    def _is_counted(self, db: sqlite3.Connection, session: str) -> bool:
        """Whether it is active or stopped: one may have been cleaned since its work ended."""
        if session == EVERYWHERE or session in self.sessions:
            return True
        found = db.execute("SELECT 1 FROM sessions WHERE session = ?", (session,)).fetchone()
        return found is not None

    def _take_unwritten(self) -> Counter[Change]:
        taken, self._unwritten = self._unwritten, Counter()
        return taken

    def stats(self, session_id: str, live: list[Work]) -> dict[str, QueueStats]:
        """A picture for each processor of a session, or of the runtime."""
        phases: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for work in live:
            found = phases[work.request.name]
            found[work.phase] = found.get(work.phase, 0) + 1
        names = {name for session, name in self.counts if session == session_id} | phases.keys()
        pictures = {}
        for name in sorted(names):
            completed, failed = self.counts.get((session_id, name), (0, 0))
            pictures[name] = QueueStats(**phases[name], completed=completed, failed=failed)
        return pictures

    def _write_counts(self, db: sqlite3.Connection, changes: Counter[Change]) -> None:
        for (session, name, failed), number in changes.items():
            if not self._is_counted(db, session):
                continue
            column = "failed" if failed else "completed"
            db.execute("INSERT OR IGNORE INTO counts VALUES (?, ?, 0, 0)", (session, name))
            db.execute(
                f"UPDATE counts SET {column} = {column} + ? WHERE session = ? AND name = ?",
                (number, session, name),
            )

    # --- executions

    async def accept(self, work: Work) -> None:
        """From now on it survives."""
        request = work.request
        begin_at = None if request.when is None else time.time() + request.when.seconds()
        row = (
            request.execution_id,
            request.name,
            request.session_id if request.is_named else None,
            type_name(type(request.state)),
            request.data,
            request.is_chosen,
            begin_at,
        )

        def accept(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM executions WHERE expires <= ?", (time.time(),))
            values = ", ".join("?" * len(row))
            db.execute(f"INSERT OR REPLACE INTO executions ({COLUMNS}) VALUES ({values})", row)
            if request.is_named and not self.is_stopped(request.session_id):
                was_stopped = (
                    "SELECT 1 FROM sessions WHERE session = ? AND stopped_until IS NOT NULL"
                )
                if db.execute(was_stopped, (request.session_id,)).fetchone():
                    db.execute("DELETE FROM counts WHERE session = ?", (request.session_id,))
                db.execute(
                    "INSERT OR REPLACE INTO sessions VALUES (?, NULL)", (request.session_id,)
                )

        await self._database.run(accept)

    async def complete(self, work: Work, result: ProcessorResult[Any], data: bytes) -> bool:
        """Commit, count and keep the answer: all or nothing. False: the session was stopped."""
        request = work.request
        changes = self._take_unwritten() + Counter(self._changes(work, failed=False))

        def complete(db: sqlite3.Connection) -> bool:
            if request.is_named:
                if self.is_stopped(request.session_id):
                    return False
                found = read_state(db, request.session_id)
                version = found[0].version + 1 if found is not None else 1
                record = StateRecord(version, type_name(type(result.state)), data, checksum(data))
                write_state(db, request.session_id, record, expiry(self._state_ttl))
            self._end(db, work, result)
            self._write_counts(db, changes)
            return True

        done = await self._database.run(complete)
        if done:
            self.count(work, failed=False)
        return done

    async def fail(
        self, work: Work, result: ProcessorResult[Any], letter: DeadLetter | None
    ) -> None:
        """Count and keep the answer; the committed state stays as it was."""
        changes = self._take_unwritten() + Counter(self._changes(work, failed=True))
        self.count(work, failed=True)

        def fail(db: sqlite3.Connection) -> None:
            if letter is not None:
                bury(db, letter)
            self._end(db, work, result)
            self._write_counts(db, changes)

        await self._database.run(fail)

    def _end(self, db: sqlite3.Connection, work: Work, result: ProcessorResult[Any]) -> None:
        request = work.request
        if not request.is_chosen:
            db.execute("DELETE FROM executions WHERE id = ?", (request.execution_id,))
            return
        db.execute(
            "UPDATE executions SET result = ?, expires = ? WHERE id = ?",
            (encode_result(result), expiry(self._result_ttl), request.execution_id),
        )

    async def flush(self) -> None:
        """Write down the counts of nested calls."""
        changes = self._take_unwritten()
        await self._database.run(lambda db: self._write_counts(db, changes))

    async def find(self, execution_id: str) -> tuple[Request[Any], ProcessorResult[Any]] | None:
        """An execution that has ended and whose answer is still there."""
        row = await self._database.run(
            lambda db: db.execute(
                f"SELECT {COLUMNS}, result FROM executions "
                "WHERE id = ? AND result IS NOT NULL AND expires > ?",
                (execution_id, time.time()),
            ).fetchone()
        )
        return None if row is None else (_request(row[:7]), decode_result(row[7]))

    async def load(self) -> tuple[list[Request[Any]], int]:
        """Read what was there at the end of the last life: work to go on with, and the fence."""

        def load(db: sqlite3.Connection) -> tuple[list[Any], list[Any], list[Any], int]:
            db.execute("UPDATE fences SET last = last + 1000000")
            return (
                db.execute("SELECT session, stopped_until FROM sessions").fetchall(),
                db.execute("SELECT session, name, completed, failed FROM counts").fetchall(),
                db.execute(
                    f"SELECT {COLUMNS} FROM executions WHERE result IS NULL ORDER BY rowid"
                ).fetchall(),
                db.execute("SELECT last FROM fences").fetchone()[0],
            )

        sessions, counts, rows, fence = await self._database.run(load)
        for name, until in sessions:
            if until is None:
                self.sessions.setdefault(name, Session())
            else:
                self._stopped[name] = until
        self.counts.update({(row[0], row[1]): list(row[2:]) for row in counts})
        return [_request(row) for row in rows], fence


def _request(row: Any) -> Request[Any]:
    execution_id, name, session, kind, data, chosen, begin_at = row
    state = decode_named_state(kind, data)
    when = None if begin_at is None else When(at=begin_at)
    return Request(
        name=name,
        state=state,
        data=data,
        execution_id=execution_id,
        session_id=execution_id if session is None else session,
        is_named=session is not None,
        is_chosen=bool(chosen),
        when=when,
    )
