"""``--redis`` and ``--shards``: which servers a command talks to."""

from __future__ import annotations

import argparse
import os
from typing import NamedTuple
from urllib.parse import quote

__all__ = ["ENVIRONMENT", "Servers", "add_server_options", "servers_of"]

DEFAULT_URL = "redis://localhost:6379/0"
ENVIRONMENT = "REDIS_URL"


class Servers(NamedTuple):
    """The servers of a namespace in their order, and into how many shards they divide it."""

    urls: tuple[str, ...]
    shards: int | None

    @property
    def shown(self) -> str:
        """All of them, without their passwords."""
        from am2z.queue.client import parse_url  # noqa: PLC0415 - brings redis, which others spare

        places = ", ".join(parse_url(url).safe_url for url in self.urls)
        return places if self.shards is None else f"{places} ({self.shards} shards)"

    @property
    def environment(self) -> dict[str, str]:
        """What tells a child of them: command lines, unlike environments, everybody may read."""
        return {ENVIRONMENT: " ".join(self.urls)}


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--redis`` and ``--shards``."""
    parser.add_argument(
        "--redis",
        metavar="URL",
        action="append",
        help="the server; once for each where there are several, in the same order everywhere "
        f"(default: {ENVIRONMENT}, with blanks between several, else {DEFAULT_URL}); a password "
        f"is safer in {ENVIRONMENT}, for command lines everybody may read",
    )
    parser.add_argument(
        "--shards",
        metavar="N",
        type=int,
        help="into how many shards the namespace is divided (default: one for each server)",
    )


def servers_of(arguments: argparse.Namespace) -> Servers:
    """What the command line says, or else the environment."""
    urls = arguments.redis or os.environ.get(ENVIRONMENT, "").split() or [DEFAULT_URL]
    return Servers(tuple(map(_without_blanks, urls)), arguments.shards)


def _without_blanks(url: str) -> str:
    """The path of a socket may hold blanks, and they separate the servers for our children."""
    return "".join(quote(char) if char.isspace() else char for char in url)
