"""The upper part of the page: the verdict, what broke, and the groups at a glance."""

from __future__ import annotations

import re
from collections import Counter

from harness.document import Document, Examined
from harness.outcome import Status
from harness.page.failure import command
from harness.page.markup import Child, Markup, el, slug
from harness.page.words import BAD, ORDER, TONE, VERDICT_TONE, WORD, icon, mark, number, span
from harness.verdict import Verdict

__all__ = ["broken", "groups", "headline", "run", "verdicts", "worst"]

_WORST_FIRST = (Verdict.NON_CONFORMANT, Verdict.INCOMPLETE, Verdict.PARTIAL, Verdict.CONFORMANT)
_SHOWN = 24


def worst(document: Document) -> Verdict:
    """One verdict for all; INCOMPLETE where nothing ran."""
    given = [tested.verdict for tested in document.runtimes.values()]
    return next((v for v in _WORST_FIRST if v in given), Verdict.INCOMPLETE)


def headline(document: Document) -> str:
    """The verdict in a sentence."""
    count = Counter(tested.verdict for tested in document.runtimes.values())
    names = list(document.runtimes)
    if not names:
        return "No runtime was tested"
    if len(names) == 1:
        return f"{names[0]} is {_said(document.runtimes[names[0]].verdict)}"
    if len(count) == 1:
        whole = "Both" if len(names) == 2 else f"All {len(names)}"
        return f"{whole} runtimes are {_said(next(iter(count)))}"
    verdict = worst(document)
    are = "is" if count[verdict] == 1 else "are"
    return f"{count[verdict]} of {len(names)} runtimes {are} {_said(verdict)}"


def _said(verdict: Verdict) -> str:
    return verdict.lower()


def verdicts(document: Document) -> Markup:
    """A card for each runtime."""
    cards = [_card(name, tested) for name, tested in document.runtimes.items()]
    return el("section", el("h2", "The verdict", id="verdict-title"),
              el("div", cards, class_="cards"),
              id="verdict", aria_labelledby="verdict-title")  # fmt: skip


def _card(name: str, tested: Examined) -> Markup:
    count = Counter(tested.rules.values())
    said = [f"{count[Status.PASS]} of {number(len(tested.rules), 'rule')} hold"]
    said += [f"{count[s]} {WORD[s]}" for s in ORDER if count[s] and s is not Status.PASS]
    seconds = sum(detail.seconds for detail in tested.details.values())
    return el(
        "article",
        el("h3", name),
        el("p", icon(tested.verdict), el("span", str(tested.verdict)), class_="stamp"),
        _bar(count),
        el("p", ", ".join(said), el("span", f" in {span(seconds)}", class_="time")),
        [el("p", _linked(reason), class_="why") for reason in tested.reasons],
        _declared(tested),
        class_=f"card {VERDICT_TONE[tested.verdict]}",
    )


def _bar(count: Counter[Status]) -> Markup:
    """The shares of the ends, what holds first; the words stand below it."""
    whole, x = max(count.total(), 1), 0.0
    drawn = []
    for status in (Status.PASS, *(s for s in ORDER if s is not Status.PASS)):
        if share := 100 * count[status] / whole:
            place = {"x": f"{x:.3f}%", "width": f"{share:.3f}%"}
            drawn.append(el("rect", y=0, height="100%", class_=TONE[status], **place))
            x += share
    return el("svg", drawn, class_="bar", width="100%", height="8", aria_hidden="true")


def _linked(reason: str) -> list[Child]:
    """A reason in which each rule is a link; of very many only the first are shown."""
    head, *ids = re.split(r"(?<=[:,]) (?=[A-Z]{3}-\d{3}\b)", reason)
    found: list[Child] = [head]
    for rule_id in ids[:_SHOWN]:
        bare = rule_id.rstrip(",")
        found += [" ", el("a", bare, href=f"#{slug(bare)}", class_="id"), rule_id[len(bare) :]]
    if len(ids) > _SHOWN:
        found.append(f" and {len(ids) - _SHOWN} more")
    return found


def _declared(tested: Examined) -> Markup | None:
    parts: list[Child] = []
    if tested.supports:
        parts.append([el("dt", "Supports"), el("dd", ", ".join(tested.supports))])
    parts += [[el("dt", "Lacks ", what), el("dd", why)] for what, why in tested.lacks.items()]
    parts += [
        [
            el("dt", "Known to fail: ", el("a", rule_id, href=f"#{slug(rule_id)}", class_="id")),
            el("dd", why),
        ]
        for rule_id, why in tested.known_failures.items()
    ]
    if not parts:
        return None
    return el("details", el("summary", "What it declares"), el("dl", parts), class_="declared")


def broken(document: Document) -> Markup | None:
    """What does not hold, with links to where it is explained."""
    rows = [
        el("li",
           mark(status),
           el("a", rule_id, href=f"#{slug(rule_id)}", class_="id"),
           el("span", entry.text, class_="text"),
           el("span", f"{name}: ", detail.reason, class_="reason"))
        for status in (*BAD, Status.KNOWN)
        for name, tested in document.runtimes.items()
        for rule_id, entry in document.entries.items()
        if tested.rules.get(rule_id) is status
        for detail in (tested.detail(rule_id),)
    ]  # fmt: skip
    if not rows:
        return None
    return el("section", el("h2", "What does not hold", id="broken-title"),
              el("ul", rows, class_="broken"),
              id="broken", aria_labelledby="broken-title")  # fmt: skip


def groups(document: Document) -> Markup:
    """A table: how many rules of a group hold, of those that were asked."""
    head = el("tr", el("th", "Group", scope="col"),
              [el("th", name, scope="col") for name in document.runtimes])  # fmt: skip
    body = []
    for letters, title in document.titles.items():
        ids = [k for k, entry in document.entries.items() if entry.group == letters]
        link = el(
            "a", el("span", letters, class_="id"), f" {title}", href=f"#group-{slug(letters)}"
        )
        cells = [_cell(tested, ids) for tested in document.runtimes.values()]
        body.append(el("tr", el("th", link, scope="row"), cells))
    caption = el("caption", "Rules that hold, of those that were asked", class_="muted")
    table = el("table", caption, el("thead", head), el("tbody", body), class_="groups")
    return el("section", el("h2", "Groups", id="groups-title"),
              el("div", table, class_="scroll", tabindex="0", role="region",
                 aria_labelledby="groups-title"),
              id="groups", aria_labelledby="groups-title")  # fmt: skip


def _cell(tested: Examined, ids: list[str]) -> Markup:
    count = Counter(tested.rules.get(rule_id, Status.NOT_RUN) for rule_id in ids)
    asked = len(ids) - count[Status.SKIP]
    sign = next(s for s in (*ORDER[:-2], Status.PASS, Status.SKIP) if count[s])
    word = el("span", f", {WORD[sign]}" if sign is not Status.PASS else "", class_="hidden")
    return el("td", el("span", icon(sign), el("span", f"{count[Status.PASS]}/{asked}", word),
                       class_=f"mark {TONE[sign]}"))  # fmt: skip


def run(document: Document) -> Markup:
    """How it was run, and how to run it again."""
    facts = {
        "Date": document.date,
        "Took": span(document.seconds),
        "Seed": str(document.seed),
        "Specification": document.spec,
        "Kit": document.kit_hash,
        "Server": document.redis.removeprefix("Redis: "),
        "Python": document.python,
        "Platform": document.platform,
        "Versions": ", ".join(f"{name} {version}" for name, version in document.versions.items()),
    }
    rows = [el("div", el("dt", k), el("dd", v)) for k, v in facts.items() if v]
    return el("section", el("h2", "The run", id="run-title"),
              command(document.replay) if document.replay else None,
              el("dl", rows, class_="about"),
              id="run", aria_labelledby="run-title")  # fmt: skip
