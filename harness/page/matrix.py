"""The kill matrix: which runtimes with one fault each were found out, and by which rules."""

from __future__ import annotations

from collections import Counter

from harness.document import Document, Mutant, Zoo
from harness.outcome import Status
from harness.page.markup import Markup, el, slug
from harness.page.words import TONE, icon, number

__all__ = ["matrix"]

_SHOWN = 8


def matrix(document: Document, zoo: Zoo) -> Markup:
    """A row for each mutant, a column for each group of rules."""
    dead = sum(mutant.killed for mutant in zoo.mutants)
    letters = list(document.titles)
    said = f"{dead} of {number(len(zoo.mutants), 'faulty runtime')} were found out"
    spare = el("p", "MUST rules that find none: ",
               [[_rule(rule_id), " "] for rule_id in zoo.rules_without_mutant])  # fmt: skip
    head = el("tr", el("th", "Fault", scope="col"), el("th", "By the rule", scope="col"),
              [el("th", el("abbr", x, title=document.titles[x]), scope="col", class_="count")
               for x in letters],
              el("th", "And by", scope="col"))  # fmt: skip
    rows = [_row(mutant, letters) for mutant in zoo.mutants]
    caption = el("caption", "How many rules of each group each fault breaks", class_="muted")
    table = el("table", caption, el("thead", head), el("tbody", rows), class_="matrix")
    return el(
        "section", el("h2", "The kill matrix", id="matrix-title"),
        el("p", f"{said}. Each of them is a runtime that is wrong in one way; a rule that finds "
           "none proves nothing."),
        spare if zoo.rules_without_mutant else None,
        el("div", table, class_="scroll", tabindex="0", role="region",
           aria_labelledby="matrix-title"),
        id="matrix", aria_labelledby="matrix-title",
    )  # fmt: skip


def _row(mutant: Mutant, letters: list[str]) -> Markup:
    count = Counter(rule_id[:3] for rule_id in mutant.by)
    as_told = mutant.expected in mutant.by
    home = mutant.expected[:3]
    cells = [
        el("td", count[x] or el("span", "·", aria_hidden="true"),
           class_=f"count{' hit' if count[x] else ''}{' home' if x == home else ''}")
        for x in letters
    ]  # fmt: skip
    status = Status.PASS if mutant.killed else Status.FAIL
    word = el("span", ": found" if mutant.killed else ": alive", class_="hidden")
    if not mutant.killed:
        word = el("span", " (alive)")
    found = el("span", icon(status), el("span", el("code", mutant.name), word),
               class_=f"mark {TONE[status]}")  # fmt: skip
    others = [rule_id for rule_id in mutant.by if rule_id != mutant.expected]
    more = f"and {len(others) - _SHOWN} more" if len(others) > _SHOWN else None
    return el(
        "tr",
        el("th", found, scope="row"),
        el("td", _rule(mutant.expected) if mutant.expected else None,
           " (did not)" if mutant.expected and not as_told else None),
        cells,
        el("td", [[_rule(rule_id), " "] for rule_id in others[:_SHOWN]], more, class_="others"),
    )  # fmt: skip


def _rule(rule_id: str) -> Markup:
    return el("a", rule_id, href=f"#{slug(rule_id)}", class_="id")
