"""A Redis server of the tests' own, on a socket in a temporary directory."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
import redis

from .protocol_driver import Driver


def start_server(directory: Path) -> tuple[subprocess.Popen[bytes], redis.Redis]:
    """A server without a port and without persistence, once it answers."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    socket = directory / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory)]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    client = redis.Redis(unix_socket_path=str(socket))
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
            return server, client
        except redis.exceptions.ConnectionError:
            assert server.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.005)


@pytest.fixture(scope="session")
def server() -> Iterator[redis.Redis]:
    # not tmp_path: the path of a socket may be 107 bytes long and no longer
    with tempfile.TemporaryDirectory(prefix="am2z-") as directory:
        process, client = start_server(Path(directory))
        yield client
        client.close()
        process.terminate()
        process.wait(10)


@pytest.fixture
def driver(server: redis.Redis) -> Driver:
    server.flushall()
    return Driver(server)


@pytest.fixture(params=["redis", "fakeredis"])
def either(request: pytest.FixtureRequest) -> Driver:
    """The protocol on a real server, and on fakeredis."""
    if request.param == "redis":
        return request.getfixturevalue("driver")
    return Driver(fakeredis.FakeRedis(server=fakeredis.FakeServer()))
