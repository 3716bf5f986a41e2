"""The page of results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.figures import Run, Summary, advantages, judged, peers_best, slower
from benchmarks.growth import AXES, BEND, Point
from benchmarks.measures import LOCAL, MEASURES, OWN, Measure, measure
from benchmarks.subjects import OURS, SUBJECTS

__all__ = ["page", "verdicts"]

LABELS = {subject.name: subject.label for subject in SUBJECTS}
INTRO = """\
# Benchmarks

`nox -s bench` wrote this page. It ran every subject on one machine in turn, round after round in an
order drawn by lot, with one worker process, the client in another, and a Redis of its own without
persistence. Jobs do nothing and carry 100 bytes. Figures are **medians, with the lowest and the
highest round**. A ratio is of one run; do not compare figures of two.

AM2Z ran with every guarantee on: leases, fences, exactly-once commits, events.
"""

RECOVERY = """\
A job that a worker had when it was killed began again on another worker after **{:.1f} s** (default
settings; the lease is 10 s). The peers' figures are from an earlier measurement and not of this
run: streaq and BullMQ on Node 60 s, BullMQ (Python) 75 s, arq 309 s, dramatiq 111 to over 1,000 s,
taskiq 600 s on a stream; SAQ, Celery, RQ and taskiq on a list lose it with their defaults.
"""


def _number(value: float, found: Measure) -> str:
    return f"{value:,.{found.digits}f}"


def _cell(summary: Summary | None, found: Measure) -> str:
    if summary is None:
        return "-"
    low, high = _number(summary.low, found), _number(summary.high, found)
    return f"{_number(summary.median, found)} <sub>{low}-{high}</sub>"


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _peers(run: Run) -> Iterator[str]:
    names = [subject.name for subject in SUBJECTS if subject.name in run]
    chunks = (MEASURES[:6], MEASURES[6:11], MEASURES[11:])
    for chunk in chunks:
        head = ["", *(f"{found.label}, {found.unit}" for found in chunk)]
        rows = [
            [LABELS[name], *(_cell(run[name].get(found.name), found) for found in chunk)]
            for name in names
        ]
        yield from _rows(head, rows)
        yield ""


def _ratios(run: Run) -> Iterator[str]:
    python, node = advantages(run), advantages(run, "node")
    rows = []
    for found in MEASURES:
        if found.name not in python and found.name not in node:
            continue
        best = peers_best(run, found.name, "python")
        rows.append(
            [
                found.label,
                f"**{python[found.name]:.2f}**" if found.name in python else "-",
                LABELS[best[0]] if best else "-",
                f"{node[found.name]:.2f}" if found.name in node else "-",
            ]
        )
    yield from _rows(
        ["times as good as", "the best Python peer", "which is", "BullMQ on Node"], rows
    )


def verdicts(run: Run) -> Iterator[str]:
    """The goals, one line each."""
    for goal, reached, is_met in judged(run):
        found = measure(goal.measure)
        figure = f"{reached:.2f} times" if goal.versus != "bound" else _number(reached, found)
        yield f"- {'✓' if is_met else '✗'} {found.label}: {goal.text()}; it is {figure}"


def _alone(run: Run) -> Iterator[str]:
    ours = run.get(OURS, {})
    compare = {"full_drain": "drain", "full_worker": "drain_worker", "full_redis": "drain_redis",
               "hot": "callers", "spread": "callers", "heard": "callers",
               "chain_in_place": "chain"}  # fmt: skip
    rows = []
    for found in OWN:
        plain = compare[found.name]
        if found.name in ours and plain in ours:
            share = ours[found.name].median / ours[plain].median
            rows.append([found.label, f"{_cell(ours[found.name], found)} {found.unit}",
                         f"{share:.2f} of “{measure(plain).label}”"])  # fmt: skip
    yield from _rows(["AM2Z alone", "", "beside the plain form"], rows)


def _local(run: Run, own: Mapping[str, float]) -> Iterator[str]:
    rows = [
        [found.label, f"{_number(own[found.name], found)} {found.unit}"]
        for found in LOCAL
        if found.name in own
    ]
    yield from _rows(["`LocalRuntime` and the package, processor time", ""], rows)
    if "execute" in own and "copy" in own:
        cost = own["copy"] + own["bare"]
        yield ""
        yield f"- {own['execute'] / cost:.0f} times the copies and the bare call (goal: at most 12)"
        best = peers_best(run, "p50", "python")
        if best:
            times = best[1] * 1000 / own["execute"]
            yield f"- {times:.0f} times as fast as {LABELS[best[0]]}'s round trip (goal: 50)"


def growth_lines(growth: Mapping[str, list[Point]]) -> Iterator[str]:
    """What a job costs at each point, and how far it bends."""
    for axis in AXES:
        if not (points := growth.get(axis.name)):
            continue
        bend, unit = axis.bend(points), f"at {axis.reference:,}"
        mark = "⚠ **bends upward**" if bend > BEND and axis.name != "payload" else "flat enough"
        yield (
            f"### {axis.label}: 1 to {points[-1].x:,}"
            if points[0].x == 1
            else (f"### {axis.label}: {points[0].x:,} to {points[-1].x:,}")
        )
        yield ""
        if axis.note:
            yield f"{axis.note[0].upper()}{axis.note[1:]}."
            yield ""
        rows = [
            [f"{point.x:,}", f"{point.worker:,.0f}", f"{point.redis:,.0f}", f"{point.total:,.0f}"]
            for point in points
        ]
        yield from _rows([axis.label, "worker CPU, µs/job", "Redis CPU, µs/job", "both"], rows)
        yield ""
        if axis.name == "payload":
            last, before = points[-1], points[-2]
            per_kb = (last.total - before.total) / (last.x - before.x) * 1000
            yield f"A further kilobyte costs {per_kb:.1f} µs."
        else:
            yield f"A job at the end costs **{bend:.2f} times** what it costs {unit}: {mark}."
        yield ""
        yield f"![{axis.label}](growth-{axis.name}.svg)"
        yield ""


def page(
    found: Mapping[str, Any], run: Run, growth: Mapping[str, list[Point]],
    ratios: Mapping[str, float], before: Mapping[str, float],
) -> str:  # fmt: skip
    """All of it, in Markdown."""
    about = found.get("machine", {})
    lines = [INTRO]
    if about:
        facts = ", ".join(f"{name} {value}" for name, value in about.items() if value)
        lines += [f"{found['date']}, {found['form']} form: {facts}.", ""]
    if fallen := slower(ratios, before):
        lines += ["## ⚠ Slower than the last recorded run", ""]
        lines += [f"- ⚠ {name}: {was:.2f} → {now:.2f}" for name, (was, now) in fallen.items()]
        lines += [""]
    elif before:
        lines += ["No ratio is more than 20 % worse than in the last recorded run.", ""]
    if run:
        lines += ["## The goals", "", *verdicts(run), "", "![overview](overview.svg)", ""]
        lines += ["## Beside the peers", "", *_peers(run), "## Ratios", "", *_ratios(run), ""]
        lines += [*_alone(run), ""]
    if own := found.get("local"):
        lines += ["## In one process", "", *_local(run, own), ""]
    if growth:
        lines += ["## Growth", "", *growth_lines(growth)]
    if "recovery" in found:
        lines += ["## After SIGKILL", "", RECOVERY.format(found["recovery"]), ""]
    lines += ["## Settings", ""]
    lines += [f"- {LABELS[name]}: {text}" for name, text in found.get("settings", {}).items()]
    lines += [f"- {LABELS[name]} **failed**: `{text.strip().splitlines()[-1][:200]}`"
              for name, text in found.get("failures", {}).items()]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"
