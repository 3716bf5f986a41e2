"""Every rule: text, reason, result and time, and the lesson of what broke it."""

from __future__ import annotations

from collections import Counter

from harness.document import Document, Entry, Examined, Zoo
from harness.outcome import Status
from harness.page.failure import lesson
from harness.page.markup import Child, Markup, el, slug
from harness.page.words import BAD, ORDER, TONE, WORD, icon, mark, span

__all__ = ["rules"]

_SAFETY = "a safety rule: a breach loses or mixes up data, and no declaration excuses from it"


def rules(document: Document, zoo: Zoo | None) -> Markup:
    """The whole list, with the filter above it."""
    killed = {m.name: m.killed for m in zoo.mutants} if zoo else {}
    groups = [
        _group(document, letters, title, killed) for letters, title in document.titles.items()
    ]
    nothing = el("p", "No rule matches. ", id="nothing", class_="nothing", hidden=True)
    return el(
        "section", el("h2", "The rules", id="rules-title"), _filter(document), groups, nothing,
        id="rules", aria_labelledby="rules-title",
    )  # fmt: skip


def _filter(document: Document) -> Markup:
    """Works by the keyboard: a text field and radio buttons; hidden where there is no script."""
    entries = document.entries
    found = Counter(s for rule_id in entries for s in set(_statuses(document, rule_id)))
    choices = [("", "all", len(entries))]
    choices += [(str(s), WORD[s], found[s]) for s in ORDER if found[s]]
    radios = [
        el("label",
           el("input", type="radio", name="status", value=value, checked=not value),
           el("span", icon(Status(value)) if value else None, f"{word} ",
              el("b", count)), class_=f"choice {TONE[Status(value)] if value else ''}".rstrip())
        for value, word, count in choices
    ]  # fmt: skip
    return el(
        "form",
        el("label", el("span", "Find", class_="hidden"),
           el("input", type="search", id="find", placeholder="Find a rule: text, id, error",
              autocomplete="off", spellcheck="false")),
        el("fieldset", el("legend", "Show", class_="hidden"), radios),
        el("div",
           el("output", id="count", aria_live="polite"),
           el("button", "Open all", type="button", id="open"),
           el("button", "Close all", type="button", id="close"), class_="tools"),
        id="filter", role="search", aria_label="Filter the rules", hidden=True,
    )  # fmt: skip


def _group(document: Document, letters: str, title: str, killed: dict[str, bool]) -> Markup:
    members = {k: e for k, e in document.entries.items() if e.group == letters}
    name = slug(letters)
    return el(
        "section",
        el("h3", el("span", letters, class_="id"), f" {title} ",
           el("span", len(members), class_="muted"), id=f"group-{name}"),
        [_rule(document, rule_id, entry, killed) for rule_id, entry in members.items()],
        class_="group", aria_labelledby=f"group-{name}",
    )  # fmt: skip


def _statuses(document: Document, rule_id: str) -> list[Status]:
    return [t.rules.get(rule_id, Status.NOT_RUN) for t in document.runtimes.values()]


def _rule(document: Document, rule_id: str, entry: Entry, killed: dict[str, bool]) -> Markup:
    statuses = _statuses(document, rule_id)
    seconds = sum(t.detail(rule_id).seconds for t in document.runtimes.values())
    summary = el(
        "summary",
        _results(document, statuses),
        el("span", rule_id, class_="id"),
        el("span", entry.text, class_="text"),
        el("span", span(seconds) if seconds else "", class_="time"),
    )
    alone = len(document.runtimes) == 1
    body = el(
        "div",
        _about(entry, killed),
        [_result(name, t, rule_id, alone) for name, t in document.runtimes.items()],
        class_="body",
    )
    return el(
        "details", summary, body, id=slug(rule_id), class_="rule",
        data_status=" ".join(dict.fromkeys(statuses)), open=any(s in BAD for s in statuses),
    )  # fmt: skip


def _results(document: Document, statuses: list[Status]) -> Markup:
    """One mark where all runtimes agree, else one for each."""
    if len(set(statuses)) == 1:
        return el("span", mark(statuses[0]), class_="marks")
    each = [mark(s, el("span", WORD[s], ": ", class_="hidden"), name)
            for name, s in zip(document.runtimes, statuses, strict=True)]  # fmt: skip
    return el("span", each, class_="marks several")


def _about(entry: Entry, killed: dict[str, bool]) -> Markup:
    mutants: list[Child] = []
    for name in entry.mutants:
        alive = killed.get(name) is False
        mutants += [", " if mutants else None, el("code", name), " (not found)" if alive else None]
    facts: list[tuple[str, Child]] = [
        ("Why", entry.intent),
        ("Level", [entry.level, f" · {_SAFETY}" if entry.safety else None]),
        ("Checked", [entry.strength, f" · since {entry.since}" if entry.since else None]),
        ("Requires", ", ".join(entry.requires)),
        ("Finds", mutants),
        ("If it fails", entry.help),
    ]
    rows = [el("div", el("dt", title), el("dd", text)) for title, text in facts if _any(text)]
    return el("dl", rows, class_="about")


def _any(child: Child) -> bool:
    return bool(child) if not isinstance(child, list) else any(_any(inner) for inner in child)


def _result(name: str, tested: Examined, rule_id: str, alone: bool) -> Markup:
    status, detail = tested.rules.get(rule_id, Status.NOT_RUN), tested.detail(rule_id)
    told = lesson(detail)
    line: list[Child] = [
        None if alone and not told else el("span", name, class_="runtime"),
        mark(status),
        el("span", span(detail.seconds), class_="time") if detail.seconds else None,
        el("span", detail.reason, class_="reason") if detail.reason else None,
    ]
    head = el("h4" if told else "p", line, class_="result")
    return el("div", head, told, class_=f"on {TONE[status]}" if told else "on")
