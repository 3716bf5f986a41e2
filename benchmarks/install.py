"""Installs each peer, pinned, into an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.subjects import HERE, Subject

__all__ = ["install"]

REQUIREMENTS = HERE / "peers" / "requirements"


def install(subject: Subject, tell: Callable[[str], None]) -> str | None:
    """Install a subject unless it is; the reason if that cannot be done."""
    if subject.is_ours:
        return None
    wanted = _wanted(subject)
    stamp = subject.environment / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    tell(f"installing {subject.name}")
    try:
        (_install_node if subject.script else _install_python)(subject)
    except FileNotFoundError as error:
        return f"{error.filename} is not on PATH"
    except subprocess.CalledProcessError as error:
        return (error.stderr or error.stdout or str(error))[-400:]
    stamp.write_text(wanted)
    return None


def _wanted(subject: Subject) -> str:
    if subject.script:
        program = HERE / "peers" / subject.script
        return (REQUIREMENTS / "node" / "package.json").read_text() + program.read_text()
    return (REQUIREMENTS / f"{subject.name}.txt").read_text()


def _run(*words: str | Path, cwd: Path | None = None) -> None:
    subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True)


def _install_python(subject: Subject) -> None:
    folder = subject.environment
    _run(sys.executable, "-m", "venv", "--clear", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    _run(*pip, "install", "--quiet", "-r", REQUIREMENTS / f"{subject.name}.txt")


def _install_node(subject: Subject) -> None:
    folder = subject.environment
    folder.mkdir(parents=True, exist_ok=True)
    for source in (REQUIREMENTS / "node").iterdir():
        shutil.copy(source, folder)
    shutil.copy(HERE / "peers" / subject.script, folder)
    _run("npm", "install", "--no-audit", "--no-fund", cwd=folder)
