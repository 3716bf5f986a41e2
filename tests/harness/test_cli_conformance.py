"""``am2z conformance``."""

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import pytest

from am2z import cli
from harness.catalogue import load_catalogue
from tests.harness.command import ENVIRONMENT, am2z

OWN = """
    from contextlib import asynccontextmanager
    from pathlib import Path
    import trio
    from am2z import Capability, LocalRuntime
    from harness import RuntimeUnderTest

    class Rude(LocalRuntime):
        def list_processors(self):
            return ["constant"]

    @asynccontextmanager
    async def make(env):
        async with LocalRuntime(config=env.config, limits=env.limits) as runtime:
            yield runtime

    @asynccontextmanager
    async def make_rude(env):
        async with Rude(config=env.config, limits=env.limits) as runtime:
            yield runtime

    @asynccontextmanager
    async def make_slow(env):
        Path("begun").touch()
        await trio.sleep(20)
        yield

    SAYS = dict(supports={Capability.PRIORITY, Capability.VIRTUAL_TIME},
                lacks={Capability.DURABLE: "no", Capability.MULTI_WORKER: "no",
                       Capability.NAMESPACES: "no"})
    mine = RuntimeUnderTest("mine", make, **SAYS)
    rude = RuntimeUnderTest("rude", make_rude, **SAYS)
    slow = RuntimeUnderTest("slow", make_slow, **SAYS)
"""


@pytest.fixture
def project(tmp_path):
    """A folder with a package, and settings that must not touch the suite."""
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "testing.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --wrong-option\n")
    (tmp_path / "conftest.py").write_text("raise SystemExit('not ours')\n")
    return tmp_path


def test_a_conformant_runtime_of_ones_own_ends_with_0(project):
    done = am2z(
        *("conformance", "mypkg.testing:mine", "--redis", "fake", "--seed", "7"),
        *("--report", "out/report"),
        cwd=project,
        PYTEST_ADDOPTS="-k nothing",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "mine: CONFORMANT" in done.stdout
    assert "again: am2z conformance mypkg.testing:mine --redis fake --seed 7" in done.stdout
    report = json.loads((project / "out" / "report" / "report.json").read_text())
    assert report["spec"] == "1.0"
    assert report["seed"] == 7
    assert report["runtimes"]["mine"]["verdict"] == "CONFORMANT"
    assert set(report["runtimes"]["mine"]["rules"]) == set(load_catalogue())
    assert sorted(p.name for p in project.iterdir() if p.name != "__pycache__") == [
        "conftest.py", "mypkg", "out", "pytest.ini",
    ]  # fmt: skip


def test_a_broken_runtime_ends_with_1_and_its_lesson(project):
    arguments = ("conformance", "mypkg.testing:rude", "--redis=fake", "-k", "REG-001", "--seed=7")
    done = am2z(*arguments, cwd=project)
    assert done.returncode == 1
    assert "rude: NON-CONFORMANT" in done.stdout
    assert "What was seen:" in done.stdout
    assert "am2z conformance mypkg.testing:rude -k REG-001" in done.stdout
    assert "rude: done (" in done.stdout


def test_a_part_of_the_suite_is_incomplete_and_ends_with_1(run):
    status, out, _ = run("conformance", "local", "--redis=fake", "-k", "LIF-001")
    assert status == 1
    assert "local: INCOMPLETE" in out


def test_the_default_is_every_runtime_that_can_be_run_here(run):
    _, out, _ = run("conformance", "--redis=fake", "-k", "LIF-001")
    assert out.startswith("local, queue[fake]; Redis: in-process fakeredis")
    _, out, _ = run("conformance", "--redis=server", "-k", "LIF-001")
    assert out.startswith("local, queue[fake], queue[server]; Redis: redis-server")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("queue",), "there is local, queue[fake], queue[server]"),
        (("lokal",), "did you mean local?"),
        (("no.such:thing",), "cannot load the runtime"),
        (("local", "local"), "named twice"),
        (("tests.harness.conftest:unknown_failure",), "there is no rule 'EXE-999'"),
        (("queue[server]", "--redis=fake"), "queue[server] needs a Redis server"),
        (("--redis=postgres",), "choose one of auto"),
        (("local", "--timeout-scale=-1"), "give a number above 0"),
        (("local", "-k", "((("), "-k"),
    ],
)
def test_what_cannot_be_run_ends_with_2_and_says_why_in_a_line(run, arguments, words):
    status, out, err = run("conformance", *arguments)
    assert status == 2
    assert words in err
    assert (err[:6], err.count("\n")) == ("am2z: ", 1)
    assert "Traceback" not in err + out


@pytest.fixture
def interruptible():
    """Where the tests run in the background SIGINT is ignored, and children would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_with_130_and_leaves_nothing(project):
    running = subprocess.Popen(
        [sys.executable, "-m", "am2z", "conformance", "mypkg.testing:slow", "--redis=server"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=project,
        env={**ENVIRONMENT, "TMPDIR": str(project)},
    )  # fmt: skip
    while not (project / "begun").exists():
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=100)
    assert running.returncode == 130, out + err
    assert "Traceback" not in err
    assert "slow: INCOMPLETE" in out
    assert not list(project.glob("am2z-*"))


def test_an_interrupted_suite_reports_what_it_has(run):
    arguments = ("tests.harness.conftest:make_interrupted", "--redis=fake", "--timeout-scale=2")
    status, out, _ = run("conformance", *arguments)
    assert status == 130
    assert "make_interrupted: INCOMPLETE" in out


def test_ctrl_c_in_any_command_ends_with_130(run, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.rules, "run", interrupted)
    status, _, err = run("rules")
    assert (status, err) == (130, "am2z: interrupted\n")


def test_a_suite_that_cannot_be_collected_shows_what_pytest_said(run, monkeypatch):
    import harness.runner

    real = harness.runner._empty_folder

    @contextmanager
    def broken():
        with real() as folder:
            (folder / "test_am2z_conformance.py").write_text("import no_such_module")
            yield folder

    monkeypatch.setattr(harness.runner, "_empty_folder", broken)
    status, out, err = run("conformance", "local", "--redis=fake")
    assert status == 1
    assert "no_such_module" in err
    assert "CONFORMANT" not in out


def test_what_is_found_unclosed_after_the_last_rule_is_told_and_is_no_success(run, monkeypatch):
    import harness.runner

    real = harness.runner.pytest.main

    def main(arguments, plugins):
        real(arguments, plugins)
        raise ExceptionGroup(
            "two", [pytest.PytestUnraisableExceptionWarning(f"socket {n}\nmore") for n in (1, 2)]
        )

    monkeypatch.setattr(harness.runner.pytest, "main", main)
    status, out, _ = run("conformance", "local", "--redis=fake", "-k", "LIF-001")
    assert status == 1
    assert "left behind by one of the runtimes: socket 2\n" in out


def test_a_crash_of_pytest_itself_is_not_hidden(run, monkeypatch):
    import harness.runner

    def main(arguments, plugins):
        raise OSError("disk full")

    monkeypatch.setattr(harness.runner.pytest, "main", main)
    with pytest.raises(OSError, match="disk full"):
        run("conformance", "local", "--redis=fake")


def test_a_terminal_gets_bars_and_colour(project):
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "am2z", "conformance", "local", "--redis=fake", "-k", "LIF"],
        stdout=slave, stderr=slave, env={**ENVIRONMENT, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(slave)
    seen = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    running.wait()
    os.close(master)
    text = seen.decode()
    assert "━" in text
    assert "\x1b[" in text
    assert "INCOMPLETE" in text
