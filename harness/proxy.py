"""A proxy before a Redis server that understands what passes, and breaks the line where it is told.

It counts commands and matches each reply to its command, so a test can say exactly what was lost: a
command, or only its reply.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

import trio

from am2z import ConfigurationError
from harness.proxyline import Command, Cut, Line, When
from harness.redis import hide_password

__all__ = ["Command", "Cut", "RedisProxy", "When"]

Wanted = str | Callable[[Command], bool] | None

_CONTAINERS = frozenset((
    b"ACL", b"CLIENT", b"CLUSTER", b"COMMAND", b"CONFIG", b"FUNCTION", b"MEMORY", b"OBJECT",
    b"SCRIPT", b"SENTINEL", b"XGROUP", b"XINFO",
))  # fmt: skip
"""Commands that only say what they do with their second word."""


class RedisProxy:
    """Stands between clients and the server at ``upstream`` (``redis://`` or ``unix://``).

    ``scripts`` maps the SHA-1 of scripts to names, which their commands then bear. ``keep``: how
    many of the last commands are remembered. Times are in seconds. ::

        async with RedisProxy(server_url) as proxy:
            async with QueueRuntime(proxy.url) as runtime:
                cut = proxy.cut("BLPOP", when="applied")  # its reply will be lost
                await cut.wait()

    - ``url``: where clients connect, with the user, password and database of ``upstream``
    - ``latency``: how late each reply is passed on; those under way together are late together
    - ``commands``, ``counts``: what was seen, and how often each name

    Raises ``ConfigurationError`` for another kind of URL: what is encrypted it cannot read.
    """

    def __init__(
        self, upstream: str, *, scripts: Mapping[str, str] | None = None, keep: int = 10_000
    ) -> None:
        self.upstream = upstream
        self.url = ""
        self.latency = 0.0
        self.commands: deque[Command] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self._scripts = dict(scripts or {})
        self._parts = urlsplit(upstream)
        if self._parts.scheme not in ("redis", "unix"):
            raise ConfigurationError(
                f"a RedisProxy cannot stand before {hide_password(upstream)!r}: give it a redis:// "
                "or unix:// URL"
            )
        self._lines: set[Line] = set()
        self._cuts: list[Cut] = []
        self._watches: list[Cut] = []
        self._numbers = 0
        self._served = 0
        self._is_refusing = False
        self._paused: dict[str, bool] = {}
        self._running: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = self._serving()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._running is not None
        return await self._running.__aexit__(kind, error, trace)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._lines)

    # --- faults

    def cut(self, what: Wanted = None, *, at: int = 1, when: When = "replied") -> Cut:
        """Cut a connection, once, at the ``at``-th command from now on that is ``what``.

        ``what`` is a name, or a function of a ``Command``, or ``None`` for any; it is counted over
        all connections. What was sent before on the same connection is answered first, what comes
        after is not sent. ``when``:

        - ``"before"``: the command does not reach the server
        - ``"applied"``: the server has done it, and the client does not get the reply
        - ``"replied"``: the client has the reply
        """
        if when not in ("before", "applied", "replied"):
            raise ValueError(f"when is {when!r}; give 'before', 'applied' or 'replied'")
        if at < 1:
            raise ValueError(f"at is {at}; commands are counted from 1")
        cut = Cut(_predicate(what), at, when)
        self._cuts.append(cut)
        return cut

    def drop(self) -> int:
        """Drop every connection, whatever is under way; answers how many there were."""
        lines = list(self._lines)
        for line in lines:
            line.drop()
        return len(lines)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """For the length of the block: new connections are closed at once, the old ones stay."""
        self._is_refusing = True
        try:
            yield
        finally:
            self._is_refusing = False

    def pause(self, *, commands: bool = True, replies: bool = True, new: bool = True) -> None:
        """Pass nothing on and close nothing, as on lines that are only half open.

        With ``commands=False`` they still reach the server, and only the replies stay away; with
        ``replies=False`` it is the other way round. With ``new=False`` the connections that are
        opened from now on work: the old ones are lost, and nobody was told.
        """
        for line in self._lines:
            line.pause(commands=commands, replies=replies)
        if new:
            self._paused = {"commands": commands, "replies": replies}

    def resume(self) -> None:
        """Go on where it was paused. Commands of clients that have left meanwhile arrive late."""
        self._paused = {}
        for line in self._lines:
            line.resume()

    # --- what was seen

    async def saw(self, what: Wanted = None, *, at: int = 1) -> Command:
        """Wait for the ``at``-th command that is ``what``; those that have come already count."""
        matches = _predicate(what)
        for command in self.commands:
            if matches(command):
                at -= 1
                if at == 0:
                    await trio.lowlevel.checkpoint()
                    return command
        watch = Cut(matches, at, "replied")
        self._watches.append(watch)
        return await watch.wait()

    def note(self, words: tuple[bytes, ...], connection: int) -> tuple[Command, Cut | None]:
        """Record a command; for the connections of this proxy."""
        self._numbers += 1
        name = self._name(words)
        self.counts[name] += 1
        command = Command(name, self._numbers, self.counts[name], connection, words)
        self.commands.append(command)
        for watch in [watch for watch in self._watches if watch.meets(command)]:
            self._watches.remove(watch)
            watch.strike(command)
        for cut in self._cuts:
            if cut.meets(command):
                self._cuts.remove(cut)
                return command, cut
        return command, None

    def _name(self, words: tuple[bytes, ...]) -> str:
        first = words[0].upper()
        if first in (b"EVALSHA", b"EVAL") and len(words) > 1:
            sha = words[1].decode("latin-1")
            if first == b"EVAL":
                sha = hashlib.sha1(words[1], usedforsecurity=False).hexdigest()
            if (script := self._scripts.get(sha)) is not None:
                return script
        shown = words[:2] if first in _CONTAINERS else words[:1]
        return b" ".join(shown).upper().decode("latin-1")

    # --- life

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        failure: Exception | None = None
        async with trio.open_nursery() as nursery, self._listener() as listener:
            await nursery.start(trio.serve_listeners, self._serve, [listener])
            try:
                yield
            except Exception as error:  # kept aside: a nursery would wrap it into a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    @asynccontextmanager
    async def _listener(self) -> AsyncIterator[trio.SocketListener]:
        """Where clients connect: a port where the server has one, else a socket in a folder."""
        parts = self._parts
        if parts.scheme == "redis":
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            place = "{}:{}".format(*listener.socket.getsockname())
            user, at, _ = parts.netloc.rpartition("@")
            self.url = _url(parts, netloc=user + at + place)
            yield listener
            return
        folder = tempfile.mkdtemp(prefix="am2z-proxy-")
        try:
            with trio.socket.socket(trio.socket.AF_UNIX) as socket:
                path = str(Path(folder) / "redis.sock")
                await socket.bind(path)
                socket.listen(512)
                self.url = _url(parts, path=path)
                yield trio.SocketListener(socket)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _serve(self, near: trio.SocketStream) -> None:
        try:
            far = None if self._is_refusing else await self._dial()
        except OSError:
            far = None  # the server is away: its clients see a connection that closes at once
        if far is None:
            near.socket.close()
            return
        self._served += 1
        line = Line(self._served, near, far, self)
        line.pause(**self._paused)
        self._lines.add(line)
        try:
            await line.run()
        finally:
            self._lines.discard(line)

    async def _dial(self) -> trio.SocketStream:
        parts = self._parts
        if parts.scheme == "unix":
            return await trio.open_unix_socket(unquote(parts.path))
        return await trio.open_tcp_stream(parts.hostname or "localhost", parts.port or 6379)


def _url(parts: SplitResult, **changed: str) -> str:
    """``urllib`` leaves the slashes of ``unix://`` out where nobody logs in."""
    parts = parts._replace(**changed)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"


def _predicate(what: Wanted) -> Callable[[Command], bool]:
    if what is None:
        return lambda _command: True
    if isinstance(what, str):
        return lambda command: command.name == what
    return what
