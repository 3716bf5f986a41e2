"""What the page calls things, and the sign of each: no meaning is carried by a colour alone."""

from __future__ import annotations

from harness.outcome import Status
from harness.page.markup import Markup, el
from harness.verdict import Verdict

__all__ = [
    "BAD",
    "ORDER",
    "TONE",
    "VERDICT_TONE",
    "WORD",
    "icon",
    "mark",
    "number",
    "span",
    "symbols",
]

WORD = {
    Status.FAIL: "broken",
    Status.FIXED: "holds, declared as failing",
    Status.UNDECIDED: "undecided",
    Status.OVERRIDDEN: "replaced",
    Status.NOT_RUN: "not run",
    Status.KNOWN: "known to fail",
    Status.PASS: "holds",
    Status.SKIP: "not asked",
}
ORDER = tuple(WORD)
"""The worst first."""

BAD = (Status.FAIL, Status.FIXED, Status.UNDECIDED, Status.OVERRIDDEN)
"""What a reader has to know about."""

TONE = {
    Status.FAIL: "bad",
    Status.FIXED: "bad",
    Status.UNDECIDED: "open",
    Status.OVERRIDDEN: "open",
    Status.NOT_RUN: "open",
    Status.KNOWN: "warn",
    Status.PASS: "good",
    Status.SKIP: "quiet",
}

VERDICT_TONE = {
    Verdict.CONFORMANT: "good",
    Verdict.PARTIAL: "warn",
    Verdict.NON_CONFORMANT: "bad",
    Verdict.INCOMPLETE: "open",
}

# Each fits a box of 16 by 16; drawn with a line of 2, so that they are told apart by form.
_DRAWN = {
    "pass": '<path d="M3 8.5l3.2 3.2L13 4.8"/>',
    "fail": '<path d="M4 4l8 8M12 4l-8 8"/>',
    "unexpected-pass": '<path d="M8 2.5v7M8 12.6v.6"/>',
    "undecided": '<path d="M5 5.6C5 3.8 6.3 3 8 3s3 .9 3 2.6C11 7.7 8 7.6 8 9.7M8 12.6v.6"/>',
    "overridden": '<path d="M3 5.5h9l-2.5-2.5M13 10.5H4l2.5 2.5"/>',
    "not-run": '<circle cx="8" cy="8" r="4.6"/>',
    "known-failure": '<path d="M3 13.2V3h8.5l-2 2.8 2 2.8H3"/>',
    "skip": '<path d="M4 8h8"/>',
}


def symbols() -> Markup:
    """The signs, once for the page; ``icon`` refers to them."""
    drawn = "".join(
        f'<symbol id="i-{name}" viewBox="0 0 16 16">{path}</symbol>'
        for name, path in _DRAWN.items()
    )
    return Markup(f'<svg class="symbols" aria-hidden="true" focusable="false">{drawn}</svg>')


def icon(status: Status | Verdict) -> Markup:
    """The sign of a status; it says nothing aloud, a word stands beside it."""
    name = {
        Verdict.CONFORMANT: "pass",
        Verdict.PARTIAL: "known-failure",
        Verdict.NON_CONFORMANT: "fail",
        Verdict.INCOMPLETE: "undecided",
    }.get(status, status) if isinstance(status, Verdict) else status  # fmt: skip
    return el("svg", el("use", href=f"#i-{name}"), class_="icon", aria_hidden="true")


def mark(status: Status, *words: str, class_: str = "") -> Markup:
    """A status: sign and word."""
    tone = f"mark {TONE[status]} {class_}".rstrip()
    return el("span", icon(status), el("span", *(words or (WORD[status],))), class_=tone)


def number(count: int, one: str, many: str = "") -> str:
    """``1 rule``, ``2 rules``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 0.0005:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
