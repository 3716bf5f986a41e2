"""A durable runtime on one SQLite file."""

from sqlite_runtime.runtime import SqliteRuntime

__all__ = ["SqliteRuntime"]
