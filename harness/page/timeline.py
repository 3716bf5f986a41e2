"""The events of a failed rule, drawn: a lane for each execution, time from left to right.

All places are shares of the width, so that the text keeps its size on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.outcome import Moment
from harness.page.markup import Markup, el
from harness.page.words import number, span

__all__ = ["timeline"]

_LANES = 16
_HEIGHT, _TOP = 34, 22
_ENDS = ("completed", "failed")
_FOLDED = 60
_NAME = 24


@dataclass
class _Lane:
    number: int
    title: str
    moments: list[Moment] = field(default_factory=list)


def timeline(moments: Sequence[Moment], left_out: int) -> list[Markup]:
    """The drawing and, for whoever does not see it or wants to read, the list."""
    if not moments:
        return [el("p", "No event was recorded.", class_="muted")]
    lanes = _lanes(moments)
    home = {id(moment): lane for lane in lanes for moment in lane.moments}
    rows = [_row(m, home[id(m)].number, is_first=m is home[id(m)].moments[0]) for m in moments]
    listed = el("ol", rows, class_="events")
    found = [el("p", f"{number(left_out, 'earlier event')} left out.") if left_out else Markup("")]
    found.append(_chart(lanes[:_LANES], moments))
    if len(lanes) > _LANES:
        found.append(el("p", f"{len(lanes) - _LANES} more are in the list only.", class_="muted"))
    if len(moments) > _FOLDED:
        title = el("summary", f"All {len(moments)} events")
        return [*found, el("details", title, listed, class_="more")]
    return [*found, listed]


def _lanes(moments: Sequence[Moment]) -> list[_Lane]:
    lanes: dict[tuple[str, str], _Lane] = {}
    for moment in moments:
        key = (moment.runtime, moment.execution)
        if key not in lanes:
            name = _short(moment.processor) if moment.execution else "the runtime"
            words = (f"{len(lanes) + 1}", name, moment.runtime and f"({moment.runtime})")
            lanes[key] = _Lane(len(lanes) + 1, " ".join(word for word in words if word))
        lanes[key].moments.append(moment)
    return list(lanes.values())


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _chart(lanes: Sequence[_Lane], moments: Sequence[Moment]) -> Markup:
    first = min(moment.at for moment in moments)
    whole = max(moment.at for moment in moments) - first

    def place(at: float) -> str:
        return f"{100 * (at - first) / whole:.2f}%" if whole else "50%"

    height = _TOP + _HEIGHT * len(lanes)
    drawn = [_lane(lane, _TOP + _HEIGHT * row, place) for row, lane in enumerate(lanes)]
    words = f"Timeline of {number(len(moments), 'event')} within {span(whole)}; the list follows"
    picture = el(
        "svg",
        _scale(whole, height),
        drawn,
        role="img",
        aria_label=words,
        width="100%",
        height=height,
    )
    return el("div", picture, class_="timeline")


def _scale(whole: float, height: int) -> list[Markup]:
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0) if whole else (0.5,)
    found = []
    for tick in ticks:
        x = f"{100 * tick:g}%"
        anchor = {0.0: "start", 1.0: "end"}.get(tick, "middle")
        found.append(el("line", x1=x, x2=x, y1=_TOP - 6, y2=height, class_="tick"))
        text = "0" if not tick or not whole else span(tick * whole)
        narrow = "scale minor" if tick in (0.25, 0.75) else "scale"
        found.append(el("text", text, x=x, y=11, text_anchor=anchor, class_=narrow))
    return found


def _lane(lane: _Lane, top: int, place: Callable[[float], str]) -> Markup:
    middle = top + 24
    ends = [place(m.at) for m in (lane.moments[0], lane.moments[-1])]
    line = el("line", x1=ends[0], x2=ends[1], y1=middle, y2=middle, class_="lane")
    title = el("text", lane.title, x="0", y=top + 11, class_="title")
    last = sorted(lane.moments, key=lambda m: _kind(m) in _ENDS)  # nothing covers an end
    return el("g", line, [_sign(m, place(m.at), middle) for m in last], title)


def _sign(moment: Moment, x: str, y: int) -> Markup:
    told = el("title", f"{moment.at:.4f} s {moment.type} {moment.data}")
    kind = _kind(moment)
    if kind == "failed":  # an x, of two strokes around a place that is a share of the width
        paths = el("path", d="M-5 -5L5 5M5 -5L-5 5")
        return el("svg", told, paths, x=x, y=y, class_="sign failed", overflow="visible")
    if kind == "custom":
        path = el("path", d="M0 -4L4 0L0 4L-4 0Z")
        return el("svg", told, path, x=x, y=y, class_="sign custom", overflow="visible")
    radius = {"begin": 4, "completed": 5}.get(kind, 2.5)
    return el("circle", told, cx=x, cy=y, r=radius, class_=f"sign {kind}")


def _kind(moment: Moment) -> str:
    head, _, tail = moment.type.rpartition(":")
    if head == "processor" and tail in _ENDS:
        return tail
    if head == "queue" and tail in _ENDS:
        return "queue"
    if moment.type in ("processor:active", "session:created"):
        return "begin"
    return "custom" if head not in ("processor", "session") else "step"


def _row(moment: Moment, lane: int, *, is_first: bool) -> Markup:
    """An event in the list. The execution is named once: the number of its lane stands for it."""
    names = {
        "": moment.processor,
        "session ": moment.session,
        "execution ": moment.execution if is_first else "",
    }
    told = [
        [el("span", title, class_="muted") if title else None, value, "  "]
        for title, value in names.items()
        if value
    ]
    data = moment.data.removeprefix("{").removesuffix("}")
    return el(
        "li",
        el("span", f"{moment.at:.4f} s", class_="at"),
        el("span", el("span", "lane ", class_="hidden"), lane, class_="number"),
        el("span", el("b", moment.type), "  ", told, el("code", data) if data else None,
           class_=f"what {_kind(moment)}"),
    )  # fmt: skip
