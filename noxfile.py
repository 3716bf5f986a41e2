"""Every check of the project, each in an environment of its own: ``nox -l`` lists them."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lint", "types", "wheel"]

ROOT = Path(__file__).parent
DEV = nox.project.load_toml("pyproject.toml")["dependency-groups"]["dev"]
SOURCES = ("am2z", "harness", "examples", "benchmarks", "tests", "conftest.py", "noxfile.py")
COVERAGE = 95


def install(session: nox.Session) -> None:
    """The distribution with its test side, and what the tests need beyond."""
    session.install("-e", ".[harness,speed]", *DEV)


@nox.session
def examples(session: nox.Session) -> None:
    """The runtimes in ``examples/``, each beside the built wheel in an empty environment."""
    session.install("build>=1.2")
    work = Path(session.create_tmp()).resolve()  # the tests below start in other folders
    shutil.rmtree(work / "dist", ignore_errors=True)
    dist = str(work / "dist")
    session.run("python", "-m", "build", "--wheel", "--outdir", dist, str(ROOT), silent=True)
    [built] = (work / "dist").glob("*.whl")
    for name in session.posargs or ("sqlite", "partial", "streaq"):  # the last needs Redis 7
        venv = work / name
        session.run("python", "-m", "venv", "--clear", str(venv), silent=True)
        python = str(venv / "bin" / "python")
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder) / name
            shutil.copytree(ROOT / "examples" / f"{name}-runtime", project)
            session.run(
                python, "-m", "pip", "install", "--quiet", f"{built}[harness]",
                str(project), external=True,
            )  # fmt: skip
            session.chdir(project)
            session.run(
                python, "-m", "pytest", "-p", "no:cacheprovider", "--am2z-report", "report",
                external=True,
            )  # fmt: skip
            session.chdir(ROOT)


@nox.session
def conformance(session: nox.Session) -> None:
    """The main job: the conformance suite on every runtime, with its report."""
    session.install(".[harness,speed]")
    session.run("am2z", "conformance", *(session.posargs or ["--report", "report"]))


@nox.session
def zoo(session: nox.Session) -> None:
    """Whether the suite finds what is wrong: it is run on runtimes that are wrong on purpose."""
    session.install(".[harness,speed]")
    session.run("am2z", "zoo", *session.posargs)


TIMED = ("tests/distributed/faults", "tests/distributed/chaos")
"""Storms and cut lines are about time, which everything beside them stretches."""


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, on as many processes as keep two cores busy; many of them wait for servers."""
    install(session)
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", "-n", "3", *(f"--ignore={folder}" for folder in TIMED))
    session.run("pytest", "-n", "2", *TIMED)


@nox.session
def coverage(session: nox.Session) -> None:
    """The branch coverage that the tests must reach, processes that they start included."""
    install(session)
    session.run("coverage", "erase")
    session.run(
        "coverage", "run", "-m", "pytest", "-n", "2", *(f"--ignore={folder}" for folder in TIMED)
    )
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", f"--fail-under={COVERAGE}")


@nox.session
def local(session: nox.Session) -> None:
    """The conformance rules on ``LocalRuntime``, and the unit tests."""
    install(session)
    session.run("pytest", "tests/local", "tests/unit", *session.posargs)


@nox.session
def distributed(session: nox.Session) -> None:
    """The conformance rules on ``QueueRuntime``, and the tests of its parts."""
    install(session)
    session.run("pytest", "tests/distributed", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """The long forms: a storm, a connection cut at every command, the protocol's state machine."""
    install(session)
    folder = "tests/distributed"
    session.run(
        "pytest", "-s", *(session.posargs or
        [f"{folder}/chaos", f"{folder}/faults", f"{folder}/protocol/test_protocol_machine.py"]),
        env={"AM2Z_CHAOS": "1"},
    )  # fmt: skip


@nox.session
def bench(session: nox.Session) -> None:
    """Our runtimes beside their peers, into ``docs/benchmarks`` (``-- all --quick``: in small)."""
    session.install("-e", ".[speed]", "matplotlib>=3.9")
    session.run("python", "-m", "benchmarks", *(session.posargs or ["all"]))


@nox.session
def soak(session: nox.Session) -> None:
    """Half an hour of mixed load with killed workers; it fails if anything is left behind."""
    session.install("-e", ".[speed]")
    session.run("python", "-m", "benchmarks", "soak", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and likely mistakes."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", *SOURCES)
    session.run("ruff", "format", "--check", *SOURCES)


@nox.session
def types(session: nox.Session) -> None:
    """The strict type checker over both packages, the examples and the benchmarks."""
    install(session)
    session.run("mypy")


@nox.session
def wheel(session: nox.Session) -> None:
    """The built wheel, installed in an empty folder, as a project that is not this one sees it."""
    session.install("build>=1.2")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(dist), str(ROOT), silent=True)
    [built] = dist.glob("*.whl")
    session.install("--force-reinstall", "--no-deps", str(built))
    session.install(f"{built}[harness]")
    alone = [f"no:{plugin}" for plugin in ("asyncio", "randomly", "xdist")]
    with tempfile.TemporaryDirectory() as folder:
        as_guest(session, "wheel", Path(folder), *(f"-p{plugin}" for plugin in alone))
        session.install("pytest-asyncio>=1.0", "pytest-randomly>=3.16", "pytest-xdist>=3.6")
        as_guest(session, "guest", Path(folder), "-n2")
        session.run("am2z", "rules", silent=True)
        session.run("python", "-m", "am2z", "explain", "LIF-001")
        session.chdir(ROOT)


def as_guest(session: nox.Session, name: str, folder: Path, *options: str) -> None:
    """A project of ``tests/`` runs the suite as strictly as can be, and gets its report."""
    project = folder / name
    shutil.copytree(ROOT / "tests" / name, project)
    session.chdir(project)
    session.run(
        "python", "-m", "pytest", "--strict-markers", "--strict-config", "-W", "error",
        "-p", "no:cacheprovider", "--am2z-report", "report", *options,
    )  # fmt: skip
    report = json.loads((project / "report" / "report.json").read_text())
    verdicts = {name: found["verdict"] for name, found in report["runtimes"].items()}
    if verdicts != {name: "CONFORMANT"}:
        session.error(f"the wheel's own kit says {verdicts}")
    written = {path.name for path in (project / "report").iterdir()}
    if missing := {"report.html", "junit.xml", "badge.svg", f"badge-{name}.svg"} - written:
        session.error(f"the wheel's own kit did not write {missing}")
