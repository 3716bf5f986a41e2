"""What one local execution costs, beside what it cannot do without."""

import json
import os
import subprocess
import sys
from pathlib import Path

MOST = 24
"""Twice what it takes: only a mistake is that dear, whatever else the machine does."""


def test_a_local_execution_costs_few_times_its_copies_and_the_bare_call() -> None:
    # In a process of its own, where nothing that measures coverage stretches our lines and not C's.
    env = {name: value for name, value in os.environ.items() if "COV" not in name}
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.local", "measure", "300"],
        cwd=Path(__file__).parents[2], env=env, check=True, capture_output=True, text=True,
    )  # fmt: skip
    took = json.loads(run.stdout)
    assert took["execute"] < MOST * (took["copy"] + took["bare"]), took
