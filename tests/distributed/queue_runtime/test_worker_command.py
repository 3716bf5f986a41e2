"""``am2z worker``: real processes that serve, stop, give back, crash and are replaced."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import trio

from am2z import ProcessorNotFoundError
from am2z.cli import main

from .apps import Board, Work
from .conftest import ROOT, wait_until

SERVED = f"{__package__}.served"
START = 40.0
"""Seconds that processes may take to start or end, on a machine that has much else to do."""
AFTER_A_MOMENT = 0.25
"""A signal that comes again sooner counts once."""


class Command:
    """A running ``am2z worker`` and what it has printed."""

    def __init__(self, log: Path, cwd: Path, env: dict[str, str], *arguments: str) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "am2z", "worker", *arguments],
                cwd=cwd,
                env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": str(ROOT), **env},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self.process.pid

    @property
    def printed(self) -> str:
        return self.log.read_text()

    @property
    def serving(self) -> list[int]:
        """The processes that said that they serve."""
        return [int(pid) for pid in re.findall(r"serves, pid (\d+)", self.printed)]

    async def see(self, text: str, times: int = 1) -> None:
        try:
            await wait_until(lambda: self.printed.count(text) >= times, START)
        except trio.TooSlowError:
            raise AssertionError(f"{text!r} is not in:\n{self.printed}") from None

    async def status(self) -> int:
        try:
            await wait_until(lambda: self.process.poll() is not None, START)
        except trio.TooSlowError:
            raise AssertionError(f"it does not end:\n{self.printed}") from None
        return self.process.returncode

    def kill(self) -> None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                child.kill()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def command(
    url: str, namespace: str, board: Board, tmp_path: Path
) -> Iterator[Callable[..., Command]]:
    """Start ``am2z worker``, of ``served`` and on the test's server unless told otherwise."""
    running: list[Command] = []

    def start(target: str = SERVED, *options: str, redis: str = url, cwd: Path = ROOT) -> Command:
        log = tmp_path / f"worker-{len(running)}.log"
        env = {"REDIS_URL": redis, "BOARD_URL": url, "BOARD_NAME": namespace}
        options = ("--namespace", namespace, "--lease", "1", *options)
        running.append(Command(log, cwd, env, target, *options))
        return running[-1]

    yield start
    for one in running:
        one.kill()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- one process


@pytest.mark.trio
async def test_it_says_what_it_serves_and_sigterm_lets_work_end(make, command, board, namespace):
    async with make(role="client") as client:
        worker = command(f"{SERVED}:some", "--concurrency", "3")
        await worker.see("serves, pid")
        banner = worker.printed
        for text in ("am2z 0.1.0 worker", namespace, "add, gate", "3 executions", str(worker.pid)):
            assert text in banner
        assert (await client.execute("add", Work(count=1))).state.note == str(worker.pid)
        assert isinstance(
            (await client.execute("crash_once", Work())).error, ProcessorNotFoundError
        ), "a worker that only knows some processors serves only those"

        handle = await client.submit("gate", Work(note="g"))
        await board.see("begun")
        worker.process.send_signal(signal.SIGTERM)
        await worker.see("stopping: what runs has 10 s to end")
        board.open("g")
        assert (await handle.result()).success
        assert await worker.status() == 0
        assert worker.printed.endswith("stopped\n")


@pytest.mark.trio
@pytest.mark.parametrize("how", ["grace", "second SIGTERM", "SIGINT"])
async def test_what_does_not_end_is_given_back_uncounted(make, command, board, eyes, how):
    """aegra#474: SIGTERM loses what SIGKILL keeps."""
    async with make(role="client") as client:
        worker = command(SERVED, "--grace", "0.1" if how == "grace" else "30")
        await worker.see("serves, pid")
        handle = await client.submit("gate", Work(note="g"), "s")
        await board.see("begun")
        if how == "SIGINT":
            worker.process.send_signal(signal.SIGINT)
        else:
            worker.process.send_signal(signal.SIGTERM)
            await worker.see("stopping")
        if how == "second SIGTERM":
            with trio.move_on_after(AFTER_A_MOMENT):
                await trio.sleep_forever()
            worker.process.send_signal(signal.SIGTERM)
            await worker.see("giving back")
        assert await worker.status() == (130 if how == "SIGINT" else 0)
        job = eyes.redis.hgetall(eyes.key(f"j:{handle.execution_id}"))
        assert (job[b"t"], job[b"n"]) == (b"w", b"0")
        board.open("g")
        command()
        with trio.fail_after(START):
            assert (await handle.result()).success
        assert eyes.commits("s") == 1
        assert "Traceback" not in worker.printed


@pytest.mark.trio
async def test_sigkill_loses_nothing_and_a_new_start_has_a_new_id(make, command, board, eyes):
    """oban-bg/oban#862: a reused node name hides orphans."""
    async with make(role="client") as client:
        first = command()
        await first.see("serves, pid")
        handle = await client.submit("gate", Work(note="g"), "s")
        await board.see("begun")
        second = command()
        await second.see("serves, pid")
        first.process.kill()
        board.open("g")
        with trio.fail_after(10):
            assert (await handle.result()).success
        assert eyes.commits("s") == 1
        ids = {re.search(r"worker (\w+) serves", one.printed)[1] for one in (first, second)}
        assert len(ids) == 2


@pytest.mark.trio
async def test_the_example_greets_in_two_processes(command, url):
    folder = ROOT / "examples" / "greeting"
    worker = command("greet", "--namespace", "am2z", cwd=folder)
    await worker.see("serves, pid")
    called = await trio.run_process(
        [sys.executable, "caller.py", url, "Ada"],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": str(ROOT)},
        capture_stdout=True,
    )
    assert called.stdout == b"Hello Ada!\n"


# --- several processes


@pytest.mark.trio
async def test_two_processes_share_the_work_and_stop_together(make, command, board):
    async with make(role="client") as client:
        parent = command(SERVED, "--processes", "2", "--concurrency", "1")
        await parent.see("serves, pid", 2)
        handles = [await client.submit("gate", Work(note="g")) for _ in range(2)]
        await board.see("begun", 2)
        assert len(set(board.lines("begun"))) == 2
        children = parent.serving
        assert parent.pid not in children
        parent.process.send_signal(signal.SIGTERM)
        await parent.see("stopping", 2)
        board.open("g")
        for handle in handles:
            assert (await handle.result()).success
        assert await parent.status() == 0
        assert not any(map(is_alive, children))
        assert "another one" not in parent.printed


@pytest.mark.trio
async def test_password_of_a_parent_is_on_no_command_line_of_a_child(make, command, url, board):
    """Everybody on a machine may read the command lines of its processes."""
    secret = url.replace("unix://", "unix://clerk:hunter2@")
    board.redis.acl_setuser(
        "clerk",
        enabled=True,
        passwords=["+hunter2"],
        keys=["*"],
        channels=["*"],
        categories=["+@all"],
    )
    parent = command(SERVED, "--processes", "2", "--redis", secret, redis="unix:///nowhere.sock")
    await parent.see("serves, pid", 2)
    lines = [" ".join(psutil.Process(pid).cmdline()) for pid in parent.serving]
    assert all("--supervised" in line for line in lines)
    assert not [line for line in lines if "hunter2" in line or "--redis" in line]
    async with make(role="client") as client:
        assert (await client.execute("add", Work())).success
    assert "hunter2" not in parent.printed


@pytest.mark.trio
async def test_ctrl_c_at_the_parent_gives_back_what_its_children_run(make, command, board, eyes):
    async with make(role="client") as client:
        parent = command(SERVED, "--processes", "2", "--grace", "30")
        await parent.see("serves, pid", 2)
        handle = await client.submit("gate", Work(note="g"))
        await board.see("begun")
        parent.process.send_signal(signal.SIGINT)
        assert await parent.status() == 130
        job = eyes.redis.hgetall(eyes.key(f"j:{handle.execution_id}"))
        assert (job[b"t"], job[b"n"]) == (b"w", b"0")
        await handle.cancel()


@pytest.mark.trio
async def test_a_child_that_crashes_is_replaced_and_its_work_done(make, command, board):
    async with make(role="client") as client:
        parent = command(SERVED, "--processes", "2", "--lease", "0.5")
        await parent.see("serves, pid", 2)
        with trio.fail_after(10):
            assert (await client.execute("crash_once", Work())).success
        [crashed] = {int(line.split()[1]) for line in board.lines("crash")[:1]}
        await parent.see(f"worker process {crashed} has ended (SIGKILL); another one starts in")
        await parent.see("serves, pid", 3)
        parent.process.send_signal(signal.SIGTERM)
        assert await parent.status() == 0


@pytest.mark.trio
async def test_children_of_a_killed_parent_finish_their_work_and_end(make, command, board):
    async with make(role="client") as client:
        parent = command(SERVED, "--processes", "2")
        await parent.see("serves, pid", 2)
        handle = await client.submit("gate", Work(note="g"))
        await board.see("begun")
        children = parent.serving
        parent.process.kill()
        await parent.see("the parent process is gone", 2)
        board.open("g")
        with trio.fail_after(10):
            assert (await handle.result()).success
        await wait_until(lambda: not any(map(is_alive, children)))


# --- what cannot be served


@pytest.mark.trio
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_no_redis_is_one_clear_line(command, tmp_path, processes):
    worker = command(
        SERVED, "--processes", processes, redis=f"unix://{tmp_path}/no.sock?password=hunter2"
    )
    assert await worker.status() == 1
    assert worker.printed.count("am2z: cannot reach Redis") == 1
    assert "Traceback" not in worker.printed
    assert "hunter2" not in worker.printed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


_names = (f"am2z_test_module_{number}" for number in itertools.count())


def write(folder: Path, text: str) -> str:
    name = next(_names)
    (folder / f"{name}.py").write_text(text)
    return name


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("am2z_no_such", "there is no module 'am2z_no_such'; start in the folder"),
        ("am2z.no_such:x", "there is no module 'am2z.no_such'"),
        ("app.py", "there is no module 'app'"),
        ("a/b", "write it as in an import, such as mypkg.app:processors"),
        ("", "names no module"),
        (f"{SERVED}:nope", "has no attribute 'nope'; its processors are add, crash_once, gate"),
        (f"{SERVED}:", "has no attribute ''"),
        (f"{SERVED}:number", "holds no processors; name a function with @processor"),
        (f"{SERVED}:board", "holds no processors"),
        ("trio", "module 'trio' holds no processors"),
    ],
)
def test_a_target_that_makes_no_sense_is_a_usage_error(folder, capsys, target, told):
    assert main(["worker", target]) == 2
    assert told in capsys.readouterr().err


def test_a_module_that_cannot_be_imported_is_shown_with_its_traceback(folder, capsys):
    for text, told in (
        ("import am2z_no_such_dependency", "No module named 'am2z_no_such_dependency'"),
        ("1 / 0", "ZeroDivisionError"),
    ):
        name = write(folder, text)
        assert main(["worker", f"{name}:app"]) == 1
        printed = capsys.readouterr().err
        assert told in printed
        assert printed.endswith(f"am2z: {name} cannot be imported; see above\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--namespace", "a b"], "cannot be a namespace"),
        (["--redis", "ftp://x"], "redis"),
        (["--lease", "0"], "lease is 0.0"),
        (["--grace", "-1"], "shutdown_grace is -1.0"),
        (["--concurrency", "0"], "concurrency is 0"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(capsys, options, told):
    assert main(["worker", SERVED, *options]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_the_number_of_processes_is_checked(capsys, number):
    with pytest.raises(SystemExit) as ended:
        main(["worker", SERVED, f"--processes={number}"])
    assert ended.value.code == 2
    assert "--processes" in capsys.readouterr().err


def test_help_teaches_with_examples_signals_and_statuses(capsys):
    with pytest.raises(SystemExit):
        main(["worker", "--help"])
    printed = capsys.readouterr().out
    for text in ("am2z worker shop.orders:processors", "SIGTERM", "130 interrupted", "REDIS_URL"):
        assert text in printed
    assert "supervised" not in printed
