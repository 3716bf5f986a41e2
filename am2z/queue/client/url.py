"""Redis URLs: where the server is, as whom to talk to it, and the URL without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.connection import parse_url as _redis_parse_url

from am2z.errors import ConfigurationError

__all__ = ["Target", "hide_password", "parse_url"]

_SCHEMES = ("redis", "rediss", "unix", "fake")
_TLS_OPTIONS = frozenset(
    ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
)
_OPTIONS = frozenset(("db", "username", "password")) | _TLS_OPTIONS


@dataclass(frozen=True, slots=True)
class Target:
    """One Redis server and one database of it, as an URL names them."""

    scheme: str
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

    @property
    def is_fake(self) -> bool:
        """Whether the server is fakeredis inside this process."""
        return self.scheme == "fake"


def parse_url(url: str) -> Target:
    """What ``url`` says. Raises ``ConfigurationError``, without the password, if it is malformed.

    Understood are ``redis://``, ``rediss://`` (TLS), ``unix://`` and ``fake://[name]``, with a user
    and a password (percent-encoded), a database number as the path or as ``?db=``, and for TLS
    ``ssl_cert_reqs`` (``none``, ``optional``, ``required``), ``ssl_ca_certs``, ``ssl_certfile``,
    ``ssl_keyfile`` and ``ssl_check_hostname``.

    Example::

        parse_url("redis://worker:secret@db.example:6379/2").safe_url
        # 'redis://worker:***@db.example:6379/2'
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"redis_url must be a string, not {type(url).__name__}")
    safe = hide_password(url)
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        known = ", ".join(f"{s}://" for s in _SCHEMES)
        raise ConfigurationError(f"{safe!r} is no Redis URL: it has to start with one of {known}")
    try:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        # An option that is not known would be ignored in silence: nobody would learn of the slip.
        if unknown := sorted(query.keys() - _OPTIONS):
            raise ConfigurationError(
                f"unknown option {unknown[0]!r} in {safe!r}; "
                f"known are {', '.join(sorted(_OPTIONS))}"
            )
        if scheme == "fake":
            db = _database(query.get("db", parts.path.strip("/")), safe)
            return Target(scheme, safe, url, path=unquote(parts.netloc), db=db)
        return _from_options(scheme, safe, url, query)
    except ValueError as error:
        raise ConfigurationError(f"{safe!r} is no Redis URL: {_safe_text(error, url)}") from None


def _from_options(scheme: str, safe: str, url: str, query: dict[str, str]) -> Target:
    options: dict[str, Any] = _redis_parse_url(url)  # type: ignore[no-untyped-call]
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
    raise ConfigurationError(f"{text!r} in {safe!r} is no database: give a number, such as /0")


_QUERY_PASSWORD = re.compile(r"([?&]password=)[^&]*")


def hide_password(url: str) -> str:
    """``url`` with its password replaced by ``***``; a text that is no URL is returned as it is.

    Rather too much is hidden than too little: a password with an unescaped slash or question mark,
    which no parser would find, is hidden as well.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    head, question, query = rest.partition("?")
    if "@" not in head and "@" in query and "password=" not in query:
        head, question, query = rest, "", ""
    if not head.startswith("/"):  # a path of unix:// may hold any character
        user_info, at, place = head.rpartition("@")
        user, colon, _ = user_info.partition(":")
        if colon:
            head = f"{user}:***{at}{place}"
    options = _QUERY_PASSWORD.sub(r"\g<1>***", question + query)
    return f"{scheme}://{head}{options}"


def _safe_text(error: ValueError, url: str) -> str:
    """The error's text, unless it quotes a part of the URL that could hold the password."""
    text = str(error)
    quoted = re.findall(r"'([^']*)'", text)
    return "it cannot be parsed" if any(part and part in url for part in quoted) else text
