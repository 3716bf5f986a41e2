"""The runtimes in ``examples/`` still stand on what ``am2z.authoring`` offers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.command import ENVIRONMENT

ROOT = Path(__file__).parents[2]

SOME_OF_EACH_GROUP = (
    "LIF-004 or REG-002 or EXE-040 or EXE-041 or SES-006 or STA-004 or ERR-027 or EVT-001 "
    "or RES-023 or RES-027 or killed_process"
)
"""``nox -s examples`` asks all, of the wheel and in empty environments."""


@pytest.mark.parametrize("name", ["sqlite", "partial"])
def test_example_keeps_some_rules_of_each_group(name, tmp_path):
    project = tmp_path / name
    shutil.copytree(ROOT / "examples" / f"{name}-runtime", project)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "harness.plugin", "-p", "no:cacheprovider",
         "--am2z-redis=fake", "-k", SOME_OF_EACH_GROUP],
        cwd=project, capture_output=True, text=True, check=False,
        env={
            **ENVIRONMENT,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": f"{ROOT}:{project / 'src'}:{ENVIRONMENT['PYTHONPATH']}",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "INCOMPLETE  10 of" in done.stdout
