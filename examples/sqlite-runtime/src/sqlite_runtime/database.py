"""One SQLite file, used by one thread at a time, one transaction after the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from am2z import RuntimeNotStartedError

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS executions (
    id TEXT PRIMARY KEY, name TEXT, session TEXT, type TEXT, data BLOB, chosen INTEGER,
    begin_at REAL, result BLOB, expires REAL);
CREATE TABLE IF NOT EXISTS states (
    session TEXT PRIMARY KEY, version INTEGER, type TEXT, data BLOB, checksum TEXT, expires REAL);
CREATE TABLE IF NOT EXISTS sessions (session TEXT PRIMARY KEY, stopped_until REAL);
CREATE TABLE IF NOT EXISTS counts (
    session TEXT, name TEXT, completed INTEGER, failed INTEGER, PRIMARY KEY (session, name));
CREATE TABLE IF NOT EXISTS dead (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, name TEXT, session TEXT,
    failed_at REAL, error BLOB, type TEXT, data BLOB);
CREATE TABLE IF NOT EXISTS fences (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER);
INSERT OR IGNORE INTO fences VALUES (1, 0);
"""


class Database:
    """``await run(fn)`` calls ``fn(connection)`` in a thread, as one transaction.

    What a caller is in the middle of when it is cancelled is finished: nobody could tell otherwise
    whether it was written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._turn = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)

    async def open(self) -> None:
        """Open the file, and make what is missing."""

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=10.0
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(SCHEMA)
            return connection

        self._connection = await trio.to_thread.run_sync(connect, limiter=self._limiter)

    async def close(self) -> None:
        """Close the file."""
        if (connection := self._connection) is not None:
            self._connection = None
            with trio.CancelScope(shield=True):
                async with self._turn:
                    await trio.to_thread.run_sync(connection.close, limiter=self._limiter)

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """All of ``fn``'s writes, or none."""
        await trio.lowlevel.checkpoint_if_cancelled()
        scope = trio.CancelScope(shield=True)
        with scope:
            async with self._turn:
                answer = await trio.to_thread.run_sync(self._transact, fn, limiter=self._limiter)
        return answer

    def _transact(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            raise RuntimeNotStartedError(
                "the database is closed; use the runtime inside `async with runtime:`"
            )
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            answer = fn(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return answer
