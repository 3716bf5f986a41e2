"""The client's own errors: each is a ``redis.exceptions.ConnectionError``."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = ["ClientClosedError", "ConnectionLostError", "CredentialsError", "copied"]


class ConnectionLostError(RedisConnectionError):
    """The connection went away before the reply came.

    ``maybe_sent`` tells whether the server may have run the command: if it is false, the command
    certainly did not run, and the client has tried it again by itself for as long as it may.
    """

    def __init__(self, message: str, *, maybe_sent: bool) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent


class ClientClosedError(RedisConnectionError):
    """The client was used after the ``async with open_client(...)`` that owned it had ended."""


class CredentialsError(RedisConnectionError):
    """The credential provider failed, or gave what is no user and password."""


def copied(error: Exception) -> Exception:
    """The same error as a fresh object: one that many tasks raise would gather their tracebacks."""
    again = error.__class__.__new__(error.__class__, *error.args)
    again.__dict__.update(error.__dict__)
    again.__cause__ = error
    return again
