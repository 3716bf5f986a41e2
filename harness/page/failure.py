"""A failure as a lesson: the program, the two answers, what was seen, the events, the replay."""

from __future__ import annotations

import re
from difflib import SequenceMatcher, ndiff

from harness.document import Details
from harness.outcome import Story
from harness.page.markup import Child, Markup, el
from harness.page.timeline import timeline

__all__ = ["command", "lesson"]

_TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)
_ALIKE = 0.4
"""Two answers with less in common than this differ as a whole; matching letters would be chance."""


def lesson(detail: Details) -> list[Markup]:
    """Everything that is known about how a rule was broken."""
    story = detail.story
    if story is None:
        return [el("pre", detail.lesson, tabindex="0")] if detail.lesson else []
    parts = [
        _part("The shortest program that breaks it", el("pre", story.program, tabindex="0"))
        if story.program
        else None,
        _part("Expected and actual", _difference(story))
        if story.expected or story.actual
        else None,
        _part("What was seen", el("pre", _coloured("\n".join(story.seen)), tabindex="0"))
        if story.seen
        else None,
        _part("What the runtime told", *timeline(story.events, story.events_left_out)),
        _part("Run it again", command(story.replay)) if story.replay else None,
    ]
    return [part for part in parts if part is not None]


def command(line: str) -> Markup:
    """A line to copy; the button comes with the script."""
    return el("div", el("code", line), class_="command")


def _part(title: str, *content: Child) -> Markup:
    return el("div", el("h5", title), *content, class_="part")


def _difference(story: Story) -> Markup:
    """Both sides, with what differs marked by an underline as well as by a colour."""
    expected, actual = story.expected, story.actual
    if "\n" in expected or "\n" in actual:
        lines = ndiff(expected.splitlines(), actual.splitlines())
        shown = "\n".join(line for line in lines if not line.startswith("?"))
        legend = el("p", "Lines with - were expected, lines with + came.", class_="muted")
        return el("div", legend, el("pre", _coloured(shown), tabindex="0"), class_="diff")
    left: list[Child] = []
    right: list[Child] = []
    want, got = (_TOKEN.findall(side) for side in (expected, actual))
    matcher = SequenceMatcher(None, want, got, autojunk=False)
    codes = matcher.get_opcodes()
    if matcher.ratio() < _ALIKE:
        codes = [("replace", 0, len(want), 0, len(got))]
    for what, a, b, c, d in codes:
        for side, tokens, class_ in ((left, want[a:b], "want"), (right, got[c:d], "got")):
            text = "".join(tokens)
            side.append(text if what == "equal" or not text else el("mark", text, class_=class_))
    return el(
        "dl",
        el("div", el("dt", "Expected"), el("dd", el("code", left))),
        el("div", el("dt", "Actual"), el("dd", el("code", right))),
        class_="sides",
    )


def _coloured(text: str) -> list[Child]:
    """Lines of a diff, in colours beside the signs that they begin with."""
    found: list[Child] = []
    for line in text.split("\n"):
        bare = line.strip()
        tone = {"- ": "want", "+ ": "got", "> ": "here"}.get(bare[:2])
        found += [el("span", line, class_=f"line {tone}") if tone else line, "\n"]
    return found[:-1]
