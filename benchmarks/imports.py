"""What an import costs: pairs of fresh processes, in turn."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from benchmarks.driver import ROOT

__all__ = ["import_costs"]

_PROGRAM = "import trio; import time; t = time.process_time(); {}; print(time.process_time() - t)"
WAYS = {"import": "import am2z", "import all": "import am2z; am2z.QueueRuntime"}


def import_costs(times: int) -> dict[str, float]:
    """Milliseconds of the processor beyond ``import trio``; medians."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(times):
        for name, what in WAYS.items():
            words = [sys.executable, "-c", _PROGRAM.format(what)]
            run = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
            found[name].append(float(run.stdout) * 1000)
    return {name: median(taken) for name, taken in found.items()}
