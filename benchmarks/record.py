"""What a run leaves behind for the next one: ``results.json``."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import trio

from am2z import __version__
from benchmarks.driver import ROOT
from benchmarks.figures import Run, Summary, advantages
from benchmarks.growth import Point

__all__ = ["HISTORY", "baseline", "machine", "read", "results", "run_of", "write"]

HISTORY = 20
"""How many runs are remembered, by their ratios."""


def machine(redis: str, load_before: float) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "am2z": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "trio": trio.__version__,
        "redis": redis,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load before and after": [round(load_before, 1), round(os.getloadavg()[0], 1)],
    }


def _commit() -> str:
    words = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def read(path: Path) -> dict[str, Any]:
    """The last results, empty if there are none."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def baseline(found: dict[str, Any]) -> dict[str, float]:
    """The ratios of the last run of the same form before the one that a file tells of."""
    *before, last = found.get("history") or [{}]
    for entry in reversed(before):
        if entry["form"] == last["form"]:
            return dict(entry["ratios"])
    return {}


def results(
    before: dict[str, Any],
    form: str,
    about: dict[str, Any],
    run: Run,
    settings: dict[str, str],
    failures: dict[str, str],
    own: dict[str, float],
    ratios: dict[str, float],
) -> dict[str, Any]:
    """What to keep of a run, beside what others have measured already (growth, history)."""
    date = time.strftime("%Y-%m-%d")
    entry = {"date": date, "form": form, "commit": about["commit"], "ratios": _short(ratios)}
    return {
        **before,
        "date": date,
        "form": form,
        "machine": about,
        "subjects": {
            name: {key: list(_round(summary)) for key, summary in measured.items()}
            for name, measured in run.items()
        },
        "settings": settings,
        "failures": failures,
        "local": _short(own),
        "history": [*before.get("history", []), entry][-HISTORY:],
    }


def _round(summary: Summary) -> Summary:
    return Summary(*_short_list(summary[:3]), summary.rounds)


def _short_list(values: tuple[float, float, float]) -> tuple[float, float, float]:
    first, second, third = (float(f"{value:.4g}") for value in values)
    return first, second, third


def _short(figures: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def run_of(found: dict[str, Any]) -> Run:
    """The run that a file tells of."""
    return {
        name: {key: Summary(*values) for key, values in measured.items()}
        for name, measured in found.get("subjects", {}).items()
    }


def all_ratios(run: Run, own: dict[str, float]) -> dict[str, float]:
    """Every ratio of a run; the greater the better."""
    found = advantages(run)
    if "copy" in own:
        cost = own["copy"] + own["bare"]
        found |= {f"local: {name}": cost / own[name] for name in own if name.startswith("execute")}
    return found


def growth_of(found: dict[str, Any]) -> dict[str, list[Point]]:
    """The points of each axis that a file tells of."""
    return {
        name: [Point(*point) for point in points]
        for name, points in found.get("growth", {}).items()
    }


def write(path: Path, found: dict[str, Any]) -> None:
    """Keep it, readable and in a stable order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
