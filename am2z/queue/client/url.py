"""Redis URLs: where the server is, as whom to talk to it, and the URL without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from redis.connection import parse_url as _redis_parse_url

from am2z.errors import ConfigurationError

from .credentials import CredentialProvider

__all__ = ["Address", "Target", "hide_password", "parse_url"]

Address = tuple[str, int]
"""A host and a port."""

_PLAIN = ("redis", "rediss", "unix", "fake")
_SEEDED = ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_DEFAULT_PORT = {"sentinel": 26379, "cluster": 6379}
_TLS_OPTIONS = frozenset(
    ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
)
_OPTIONS = frozenset(("db", "username", "password")) | _TLS_OPTIONS
_SENTINEL_OPTIONS = frozenset(("sentinel_username", "sentinel_password"))


@dataclass(frozen=True, slots=True)
class Target:
    """One database of a Redis as an URL names it: a server, or whom to ask for the server."""

    scheme: str
    """How a server is reached: ``redis``, ``rediss``, ``unix`` or ``fake``."""
    safe_url: str
    """The URL with the password replaced by ``***``: the only form that may be shown or logged."""
    url: str = field(repr=False)
    host: str = "localhost"
    port: int = 6379
    path: str = ""
    """The socket's path of ``unix://``, the server's name of ``fake://``."""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: dict[str, str] = field(default_factory=dict, repr=False)
    provider: CredentialProvider | None = field(default=None, repr=False)
    """Who gives user and password, instead of the URL."""
    found_by: Literal["", "sentinel", "cluster"] = ""
    """Who knows the server; empty where the URL names it."""
    seeds: tuple[Address, ...] = ()
    """The sentinels, or the first known nodes of the cluster."""
    service: str = ""
    """What the sentinels call the master."""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def is_fake(self) -> bool:
        """Whether the server is fakeredis inside this process."""
        return self.scheme == "fake"

    @property
    def place(self) -> str:
        """The server alone, for messages."""
        return self.path or f"{self.host}:{self.port}"

    def identified_by(self, provider: CredentialProvider | None) -> Self:
        """The same as this, with user and password from ``provider`` where one is given.

        Raises ``ConfigurationError`` for what is no provider, and where the URL has a password too.
        """
        if provider is None:
            return self
        if not callable(getattr(provider, "get_credentials", None)):
            raise ConfigurationError(
                f"a {type(provider).__name__} is no credential provider: it has to have "
                "get_credentials(), which gives (user, password)"
            )
        if self.username is not None or self.password is not None:
            raise ConfigurationError(
                f"there is a credential provider and a user in {self.safe_url!r}: give one of them"
            )
        return replace(self, provider=provider)

    def at(self, address: Address) -> Self:
        """The same as this, on the server at ``address``."""
        return replace(self, host=address[0], port=address[1], found_by="")

    def sentinel_at(self, address: Address) -> Self:
        """The sentinel at ``address``, which has users of its own and no databases."""
        user, password = self.sentinel_username, self.sentinel_password
        return replace(self.at(address), username=user, password=password, provider=None, db=0)


def parse_url(url: str) -> Target:
    """What ``url`` says. Raises ``ConfigurationError``, without the password, if it is malformed.

    Understood are ``redis://``, ``rediss://`` (TLS), ``unix://`` and ``fake://[name]``, with a user
    and a password (percent-encoded), a database number as the path or as ``?db=``, and for TLS
    ``ssl_cert_reqs`` (``none``, ``optional``, ``required``), ``ssl_ca_certs``, ``ssl_certfile``,
    ``ssl_keyfile`` and ``ssl_check_hostname``. Further ::

        redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db]
        redis+cluster://[user:password@]host[:port][,host[:port]...]

    and both with ``rediss+`` for TLS. User and password are those of the Redis servers; sentinels
    that ask for some get ``?sentinel_username=`` and ``?sentinel_password=``.

    Example::

        parse_url("redis://worker:secret@db.example:6379/2").safe_url
        # 'redis://worker:***@db.example:6379/2'
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"redis_url must be a string, not {type(url).__name__}")
    safe = hide_password(url)
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in (*_PLAIN, *_SEEDED):
        known = ", ".join(f"{s}://" for s in (*_PLAIN, *_SEEDED))
        raise ConfigurationError(f"{safe!r} is no Redis URL: it has to start with one of {known}")
    try:
        servers, splittable = _take_servers_out(url) if scheme in _SEEDED else ("", url)
        parts = urlsplit(splittable)
        if (scheme != "unix" or parts.netloc) and "@" in parts.path + parts.fragment:
            # This would be taken for a path, and shown; it may be the other half of the password.
            raise ConfigurationError(
                f"{safe!r} has a / or # before its @: percent-encode them in user and password"
            )
        query = {
            name: values[0]
            for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        options = _OPTIONS | (_SENTINEL_OPTIONS if scheme.endswith("+sentinel") else frozenset())
        # An option that is not known would be ignored in silence: nobody would learn of the slip.
        if unknown := sorted(query.keys() - options):
            name = repr(unknown[0]) if unknown[0] in safe else "(hidden)"
            raise ConfigurationError(
                f"unknown option {name} in {safe!r}; known are {', '.join(sorted(options))}"
            )
        if scheme == "fake":
            db = _database(query.get("db", parts.path.strip("/")), safe)
            return Target(scheme, safe, url, path=unquote(parts.netloc), db=db)
        if scheme in _SEEDED:
            return _seeded(scheme, safe, url, servers, parts.path, query)
        return _from_options(scheme, safe, url, query)
    except ValueError as error:
        raise ConfigurationError(f"{safe!r} is no Redis URL: {_safe_text(error, safe)}") from None


def _take_servers_out(url: str) -> tuple[str, str]:
    """What names users and servers in ``url``, and ``url`` without it.

    Several servers are more than ``urlsplit`` knows: some versions of it refuse the brackets of an
    IPv6 address that is not alone.
    """
    scheme, _, rest = url.partition("://")
    end = next((i for i, character in enumerate(rest) if character in "/?#"), len(rest))
    return rest[:end], f"{scheme}://{rest[end:]}"


def _seeded(
    scheme: str, safe: str, url: str, servers: str, path: str, query: dict[str, str]
) -> Target:
    """A target whose server others know: ``scheme+sentinel://`` and ``scheme+cluster://``."""
    scheme, _, kind = scheme.partition("+")
    user_info, _, places = servers.rpartition("@")
    user, _, password = user_info.partition(":")
    seeds = []
    for place in places.split(","):
        one = urlsplit(f"//{place}")  # it knows the brackets of IPv6
        if not one.hostname or one.path or one.query:
            raise ConfigurationError(f"{safe!r} names no server: write host:port[,host:port...]")
        seeds.append((one.hostname, one.port or _DEFAULT_PORT[kind]))
    names = unquote(path).strip("/").split("/")
    service = names.pop(0) if kind == "sentinel" else ""
    db = _database(query.get("db", "/".join(names)), safe)
    if kind == "sentinel" and not service:
        raise ConfigurationError(f"{safe!r} names no service: write .../name-of-the-master[/db]")
    if kind == "cluster" and db:
        raise ConfigurationError(f"a Redis Cluster has the database 0 only: drop it from {safe!r}")
    return Target(
        scheme,
        safe,
        url,
        host=seeds[0][0],
        port=seeds[0][1],
        db=db,
        username=query.get("username") or unquote(user) or None,
        password=query.get("password") or unquote(password) or None,
        tls={name: value for name, value in query.items() if name in _TLS_OPTIONS},
        found_by="sentinel" if kind == "sentinel" else "cluster",
        seeds=tuple(seeds),
        service=service,
        sentinel_username=query.get("sentinel_username") or None,
        sentinel_password=query.get("sentinel_password") or None,
    )


def _from_options(scheme: str, safe: str, url: str, query: dict[str, str]) -> Target:
    options: dict[str, Any] = _redis_parse_url(url)
    if scheme == "unix":
        if not options.get("path"):
            raise ConfigurationError(f"{safe!r} names no socket: write unix:///path/to/redis.sock")
        db_text = query.get("db", "")
    else:
        db_text = query.get("db", unquote(urlsplit(url).path).strip("/"))
    return Target(
        scheme,
        safe,
        url,
        host=options.get("host") or "localhost",
        port=options.get("port") or 6379,
        path=options.get("path") or "",
        db=_database(db_text, safe),
        username=options.get("username") or None,
        password=options.get("password") or None,
        tls={name: value for name, value in query.items() if name in _TLS_OPTIONS},
    )


def _database(text: str, safe: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdigit():
        return int(text)
    what = f"{text!r} in {safe!r}" if text in safe else f"what follows the server in {safe!r}"
    raise ConfigurationError(f"{what} is no database: give a number, such as /0")


_QUERY_PASSWORD = re.compile(r"([?&](?:sentinel_)?password=)[^&]*")


def hide_password(url: str) -> str:
    """``url`` with its password replaced by ``***``; a text that is no URL is returned as it is.

    Rather too much is hidden than too little: a password with an unescaped slash or question mark,
    which no parser would find, is hidden as well.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    known = _QUERY_PASSWORD.search(rest)
    end = known.start() if known else len(rest)
    if not rest.startswith("/"):  # a path of unix:// may hold any character
        # Up to the last @: whatever a parser makes of it, the password ends there or before.
        user_info, at, place = rest[:end].rpartition("@")
        user, colon, _ = user_info.partition(":")
        if colon:
            rest = f"{user}:***{at}{place}{rest[end:]}"
    rest = _QUERY_PASSWORD.sub(r"\g<1>***", rest)
    return f"{scheme}://{rest}"


def _safe_text(error: ValueError, safe: str) -> str:
    """The error's text, unless it quotes what the safe form of the URL does not show."""
    text = str(error)
    quoted = re.findall(r"'([^']*)'", text)
    return text if all(part in safe for part in quoted) else "it cannot be parsed"
