"""Committed states and dead letters in the database."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable

from am2z import DeadLetter, DeadLetters
from am2z.authoring import (
    MAX_DEAD,
    BaseStateManager,
    StateRecord,
    check_name,
    conflict,
    decode_error,
    encode_error,
    retry_id,
)
from sqlite_runtime.database import Database


def read_state(db: sqlite3.Connection, session_id: str) -> tuple[StateRecord, float | None] | None:
    """The record of a session and when it expires; ``None`` where there is none any more."""
    row = db.execute(
        "SELECT version, type, data, checksum, expires FROM states WHERE session = ? "
        "AND (expires IS NULL OR expires > ?)",
        (session_id, time.time()),
    ).fetchone()
    return None if row is None else (StateRecord(*row[:4]), row[4])


def write_state(
    db: sqlite3.Connection, session_id: str, record: StateRecord, expires: float | None
) -> None:
    """Put a record in the place of the one that is there."""
    db.execute(
        "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)",
        (session_id, record.version, record.type_name, record.data, record.checksum, expires),
    )


def expiry(ttl: float | None) -> float | None:
    """The moment at which something with that time to live ends."""
    return None if ttl is None else time.time() + ttl


class SqliteStateManager(BaseStateManager):
    """See ``am2z.StateManager``."""

    def __init__(self, database: Database, *, max_bytes: int, ttl: float | None) -> None:
        super().__init__(max_bytes=max_bytes, ttl=ttl)
        self._database = database

    async def read(self, session_id: str) -> StateRecord | None:
        found = await self._database.run(lambda db: read_state(db, session_id))
        return None if found is None else found[0]

    async def write(
        self,
        session_id: str,
        data: bytes,
        name: str,
        digest: str,
        *,
        ttl: float | None,
        expected: int | None,
        seen: str | None = None,
        keeps_ttl: bool = False,
    ) -> int:
        def write(db: sqlite3.Connection) -> int:
            found = read_state(db, session_id)
            version = found[0].version if found is not None else 0
            if expected is not None and expected != version:
                raise conflict(session_id, expected, version)
            if seen is not None and (found is None or seen != found[0].checksum):
                raise conflict(session_id, expected, version)
            expires = found[1] if keeps_ttl and found is not None else expiry(ttl)
            write_state(db, session_id, StateRecord(version + 1, name, data, digest), expires)
            return version + 1

        return await self._database.run(write)

    async def delete(self, session_id: str) -> None:
        check_name(session_id, "session")
        await self._database.run(
            lambda db: db.execute("DELETE FROM states WHERE session = ?", (session_id,))
        )


def bury(db: sqlite3.Connection, letter: DeadLetter) -> None:
    """Keep one more dead letter; beyond the limit the oldest goes."""
    db.execute(
        "INSERT OR REPLACE INTO dead (id, name, session, failed_at, error, type, data) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            letter.execution_id,
            letter.processor_name,
            letter.session_id,
            letter.failed_at,
            encode_error(letter.error),
            letter.state_type,
            letter.data,
        ),
    )
    db.execute("DELETE FROM dead WHERE number <= (SELECT MAX(number) FROM dead) - ?", (MAX_DEAD,))


class SqliteDeadLetters(DeadLetters):
    """See ``am2z.DeadLetters``. ``resubmit(letter, new id)`` hands one to the runtime again."""

    def __init__(
        self, database: Database, resubmit: Callable[[DeadLetter, str], Awaitable[None]]
    ) -> None:
        self._database = database
        self._resubmit = resubmit

    async def get(self, execution_id: str) -> DeadLetter | None:
        found = await self._select("WHERE id = ?", (execution_id,))
        return found[0] if found else None

    async def retry(self, execution_id: str) -> str | None:
        letter = await self.get(execution_id)
        if letter is None:
            return None
        new_id = retry_id(execution_id, letter.failed_at)
        await self._resubmit(letter, new_id)
        await self.drop(execution_id)
        return new_id

    async def drop(self, execution_id: str) -> bool:
        def drop(db: sqlite3.Connection) -> bool:
            return db.execute("DELETE FROM dead WHERE id = ?", (execution_id,)).rowcount > 0

        return await self._database.run(drop)

    async def _newest(self) -> list[DeadLetter]:
        return await self._select("ORDER BY number DESC", ())

    async def _select(self, rest: str, values: tuple[str, ...]) -> list[DeadLetter]:
        columns = "id, name, session, failed_at, error, type, data"
        rows = await self._database.run(
            lambda db: db.execute(f"SELECT {columns} FROM dead {rest}", values).fetchall()
        )
        return [
            DeadLetter(
                execution_id=row[0],
                processor_name=row[1],
                session_id=row[2],
                failed_at=row[3],
                error=decode_error(row[4]),
                state_type=row[5],
                data=row[6],
            )
            for row in rows
        ]
