"""The plots: SVG, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Run
from benchmarks.growth import Axis, Point
from benchmarks.measures import measure
from benchmarks.subjects import OURS, SUBJECTS

__all__ = ["growth", "overview"]

TEXT = "#7d8590"
"""A grey that stands out on white and on black alike."""
OUR_COLOUR, THEIR_COLOUR, OTHER_COLOUR = "#2f81f7", "#9aa4b0", "#e3b341"
CROWDED = 12
SHOWN = ("drain", "callers", "p50", "enqueue_bulk", "drain_worker", "drain_redis")


def _pyplot() -> Any:
    import matplotlib as mpl  # noqa: PLC0415 - only whoever plots needs it

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.fonttype": "none", "svg.hashsalt": "am2z", "font.family": "sans-serif",
            "font.size": 9, "text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT,
            "ytick.color": TEXT, "axes.edgecolor": TEXT, "axes.titlecolor": TEXT,
            "axes.spines.top": False, "axes.spines.right": False, "savefig.transparent": True,
            "axes.facecolor": "none", "figure.facecolor": "none", "legend.frameon": False,
            "grid.color": TEXT, "grid.alpha": 0.25,
        }
    )  # fmt: skip
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the same

    return plt


def _save(plt: Any, figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def overview(run: Run, path: Path) -> None:
    """Six measures of every subject, as bars with their spread."""
    plt = _pyplot()
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
    for name, place in zip(SHOWN, axes.flat, strict=True):
        wanted = measure(name)
        shown = [s for s in reversed(SUBJECTS) if name in run.get(s.name, {})]
        values = [run[s.name][name] for s in shown]
        medians = [value.median for value in values]
        spread = [[v.median - v.low for v in values], [v.high - v.median for v in values]]
        colours = [OUR_COLOUR if s.name == OURS else THEIR_COLOUR for s in shown]
        labels = [s.label.strip("*") for s in shown]
        style = {"elinewidth": 1, "ecolor": TEXT, "alpha": 0.7}
        place.barh(labels, medians, color=colours, xerr=spread, error_kw=style)
        # One that is far off must not press the others together: its bar goes over the edge.
        edge = min(max(medians), CROWDED * median(medians)) * 1.3
        place.set_xlim(0, edge)
        for row, value in enumerate(values):
            text = f" {value.median:,.{wanted.digits}f}"
            place.text(min(value.high, edge * 0.8), row, text, va="center", fontsize=8, color=TEXT)
        arrow = "→ better" if wanted.better == "more" else "← better"
        place.set_title(f"{wanted.label}\n{wanted.unit}, {arrow}", fontsize=9)
        place.xaxis.set_major_locator(plt.MaxNLocator(4))
        place.grid(axis="x", which="major")
        place.set_axisbelow(True)
    _save(plt, figure, path)


def growth(axis: Axis, points: list[Point], path: Path) -> None:
    """What one job costs along an axis."""
    plt = _pyplot()
    figure, place = plt.subplots(figsize=(6, 3), layout="constrained")
    x = [point.x for point in points]
    lines: Mapping[str, tuple[list[float], str]] = {
        "worker": ([point.worker for point in points], OUR_COLOUR),
        "Redis": ([point.redis for point in points], OTHER_COLOUR),
        "both": ([point.total for point in points], TEXT),
    }
    for label, (y, colour) in lines.items():
        place.plot(x, y, "o-", label=label, color=colour)
    place.set_xscale("log")
    if axis.name == "payload":
        place.set_yscale("log")
    else:
        place.set_ylim(bottom=0)
    place.set_xlabel(axis.label)
    place.set_ylabel("CPU, µs a job")
    place.grid(visible=True)
    place.legend()
    _save(plt, figure, path)
