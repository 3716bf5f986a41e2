"""Putting a locator's questions to the servers: from trio, and from a thread."""

from __future__ import annotations

from typing import Any

import redis
import trio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from .credentials import Guarded
from .discovery import Locator, Question
from .explain import explain
from .handshake import ask_once
from .tls import tls_options
from .transport import WIRE_ERRORS
from .url import Target

__all__ = ["locate", "locate_blocking", "plain_client"]


async def locate(locator: Locator, *, timeout: float) -> Target:
    """The server to dial now. Who is asked has ``timeout`` seconds to answer.

    Raises ``redis.exceptions.ConnectionError`` if nobody knows.
    """
    search = locator.search()
    answer: Any = None
    while True:
        try:
            question = search.send(answer)
        except StopIteration as found:
            server: Target = found.value
            return server
        answer = TimeoutError(f"no answer within {timeout:g} s")
        try:
            with trio.move_on_after(timeout):
                answer = await ask_once(*question)
        except (*WIRE_ERRORS, RedisError) as error:
            answer = ConnectionError(explain(error))


def locate_blocking(locator: Locator, *, timeout: float) -> Target:
    """The same for a thread."""
    search = locator.search()
    answer: Any = None
    while True:
        try:
            question = search.send(answer)
        except StopIteration as found:
            server: Target = found.value
            return server
        answer = _ask_blocking(question, timeout)


def _ask_blocking(question: Question, timeout: float) -> Any:
    client = plain_client(question.target, socket_connect_timeout=timeout, socket_timeout=timeout)
    client.response_callbacks.clear()  # the raw reply is wanted
    try:
        with client:
            return client.execute_command(*question.command)
    except (OSError, RedisError) as error:
        return error


def plain_client(server: Target, **options: Any) -> redis.Redis:
    """redis-py's own client of one server; ``options`` are its own and go before the URL's."""
    given: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": 2.0,
        "socket_timeout": 2.0,
        "db": server.db,
    }
    if server.provider is not None:
        given["credential_provider"] = Guarded(server.provider)
    else:
        given |= {"username": server.username, "password": server.password}
    if server.scheme == "unix":
        given["unix_socket_path"] = server.path
    else:
        given |= {"host": server.host, "port": server.port}
    if server.scheme == "rediss":
        given |= {"ssl": True, **tls_options(server)}
    client: redis.Redis = redis.Redis(**(given | options))
    return client
