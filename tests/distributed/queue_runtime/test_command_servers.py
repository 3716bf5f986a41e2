"""``am2z worker`` and ``am2z dead`` on several servers; their passwords are shown nowhere."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import trio

from am2z import Context, QueueRuntime, processor
from am2z.cli import main
from am2z.cli.servers import Servers, add_server_options, servers_of
from am2z.queue.keys import shard_of
from tests.distributed.redis_client.conftest import RedisServer

from .apps import Work
from .conftest import ROOT
from .test_worker_command import SERVED, Command

HERE, THERE = (
    next(f"tenant:{n}" for n in range(99) if shard_of(f"tenant:{n}", 2) == shard)
    for shard in range(2)
)
"""A session of each shard."""


@processor
async def refuse(state: Work, ctx: Context) -> Work:
    raise ValueError("no")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The URLs of two servers whose user has a password, and whose paths have a blank."""
    started = [RedisServer(tmp_path_factory.mktemp(f"no {n}")).start() for n in range(2)]
    for one in started:
        with one.admin() as admin:
            admin.acl_setuser(
                "clerk",
                enabled=True,
                passwords=["+hunter2"],
                keys=["*"],
                channels=["*"],
                categories=["+@all"],
            )
    yield [one.url.replace("unix://", "unix://clerk:hunter2@") for one in started]
    for one in started:
        one.kill()


def given(*words: str) -> Servers:
    parser = argparse.ArgumentParser()
    add_server_options(parser)
    return servers_of(parser.parse_args(words))


@pytest.fixture
def worker(url: str, tmp_path: Path, namespace: str) -> Iterator[Callable[..., Command]]:
    running: list[Command] = []

    def start(*options: str, redis: str = "unix:///nowhere.sock") -> Command:
        env = {"REDIS_URL": redis, "BOARD_URL": url, "BOARD_NAME": namespace}
        log = tmp_path / f"{len(running)}.log"
        running.append(Command(log, ROOT, env, SERVED, "--namespace", namespace, *options))
        return running[-1]

    yield start
    for one in running:
        one.kill()


@pytest.mark.trio
async def test_worker_processes_serve_every_server_and_show_no_password(worker, pair, namespace):
    one, two = pair
    parent = worker("--processes", "2", "--redis", one, "--redis", two)
    await parent.see("serves, pid", 2)
    for url in pair:
        assert url.replace("hunter2", "***").replace(" ", "%20") in parent.printed
    assert "hunter2" not in parent.printed
    for pid in parent.serving:
        line = " ".join(psutil.Process(pid).cmdline())
        assert "hunter2" not in line
        assert "--redis" not in line
    async with QueueRuntime(pair, namespace=namespace, role="client") as client:
        for session in (HERE, THERE):
            assert (await client.execute("add", Work(), session)).success
    parent.process.send_signal(signal.SIGTERM)
    assert await parent.status() == 0


@pytest.mark.trio
async def test_environment_may_name_several_servers_and_a_number_is_passed_on(
    worker, pair, namespace
):
    urls = [url.replace(" ", "%20") for url in pair]
    parent = worker("--processes", "2", "--shards", "4", redis=" ".join(urls))
    await parent.see("serves, pid", 2)
    assert "(4 shards)" in parent.printed
    async with QueueRuntime(pair, namespace=namespace, role="client", shards=4) as client:
        for session in (HERE, THERE):
            assert (await client.execute("add", Work(), session)).success


@pytest.mark.trio
async def test_dead_letters_of_every_server_are_listed_and_retried(
    pair, namespace, capsys, monkeypatch
):
    async def dead(*words):
        command = ["dead", *words, "--namespace", namespace]
        status = await trio.to_thread.run_sync(main, command)
        return status, capsys.readouterr()

    monkeypatch.setenv("REDIS_URL", "unix:///nowhere.sock")
    both = ["--redis", pair[0], "--redis", pair[1]]
    async with QueueRuntime(pair, namespace=namespace).register(refuse) as runtime:
        for session in (HERE, THERE):
            await runtime.execute(refuse, Work(), session)
        status, told = await dead("list", "--json", *both)
        assert status == 0
        assert {letter["session_id"] for letter in json.loads(told.out)} == {HERE, THERE}

        status, told = await dead("list", *both, "--shards", "3")
        assert status == 2
        assert "has 2 shard(s), and this runtime was given 3" in told.err
        assert "hunter2" not in told.err

        monkeypatch.setenv("REDIS_URL", " ".join(url.replace(" ", "%20") for url in pair))
        status, told = await dead("drop", "--all")
        assert (status, told.out.count(": dropped")) == (0, 2)
        assert await runtime.dead.list() == []


def test_servers_come_from_the_command_line_or_else_from_the_environment(monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert given() == (("redis://localhost:6379/0",), None)
    monkeypatch.setenv("REDIS_URL", "  ")
    assert given().urls == ("redis://localhost:6379/0",)
    monkeypatch.setenv("REDIS_URL", "redis://a\n  redis://b ")
    assert given("--shards", "4") == (("redis://a", "redis://b"), 4)
    assert given("--redis", "redis://d", "--redis", "redis://c").urls == ("redis://d", "redis://c")


@pytest.mark.parametrize(
    "urls",
    [
        ("redis://u:a%20b@h/0", "redis://h2"),
        ("unix:///my sockets/a.sock", "unix:///b.sock?db=1&password=one two"),
        ("redis://u:no\u00a0break@h/0",),
    ],
)
def test_environment_of_a_child_names_the_same_servers(monkeypatch, urls):
    parent = given(*(word for url in urls for word in ("--redis", url)))
    for name, value in parent.environment.items():
        monkeypatch.setenv(name, value)
    assert given() == parent
    assert len(given().urls) == len(urls)


@pytest.mark.parametrize("command", [["worker", SERVED], ["dead", "list"]])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--shards", "0"], "from 1 to 256"),
        (["--redis", "fake://a", "--redis", "fake://b", "--shards", "1"], "2 servers for 1 shard"),
        (["--redis", "fake://a", "--redis", "ftp://x:hunter2@y"], "no Redis URL"),
    ],
)
def test_servers_that_make_no_sense_are_usage_errors(capsys, command, options, told):
    assert main([*command, *options]) == 2
    printed = capsys.readouterr().err
    assert told in printed
    assert "hunter2" not in printed
