"""The command line as a process of its own."""

import os
import subprocess
import sys

ENVIRONMENT = {**os.environ, "PYTHONPATH": ":".join(p for p in sys.path if p), "COLUMNS": "100"}
for name in ("PYTEST_CURRENT_TEST", "AM2Z_REDIS", "NO_COLOR", "FORCE_COLOR"):
    ENVIRONMENT.pop(name, None)


def am2z(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "am2z", *arguments],
        capture_output=True, text=True, cwd=cwd, env={**ENVIRONMENT, **environment}, check=False,
    )  # fmt: skip
