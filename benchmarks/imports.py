"""What an import costs: pairs of fresh processes, in turn."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median

from benchmarks.driver import ROOT

__all__ = ["import_costs"]

_PROGRAM = "import trio; import time; t = time.process_time(); {}; print(time.process_time() - t)"
WAYS = {"import": "import am2z", "import all": "import am2z; am2z.QueueRuntime"}


def import_costs(times: int) -> dict[str, float]:
    """Milliseconds of the processor beyond ``import trio``; medians.

    Of compiled modules, as whoever installed the package has them: a first round compiles them.
    """
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as compiled:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(1 + times):
            for name, what in WAYS.items():
                words = [sys.executable, "-c", _PROGRAM.format(what)]
                run = subprocess.run(
                    words, cwd=ROOT, env=env, check=True, capture_output=True, text=True
                )
                found[name].append(float(run.stdout) * 1000)
    return {name: median(taken[1:]) for name, taken in found.items()}
