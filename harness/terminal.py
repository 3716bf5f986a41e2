"""The report for people at a terminal, or reading a log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from io import StringIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.catalogue import GROUPS, Rule
from harness.fingerprint import kit_fingerprint
from harness.outcome import Outcome, Status
from harness.report import Report
from harness.verdict import ALTERED, Verdict

__all__ = ["print_report", "print_rule", "print_rules", "render_text"]

_COLOUR = {
    Verdict.CONFORMANT: "bold green",
    Verdict.PARTIAL: "bold yellow",
    Verdict.NON_CONFORMANT: "bold red",
    Verdict.INCOMPLETE: "bold magenta",
}

_TOLD = {
    Status.FAIL: ("Broken", "red"),
    Status.FIXED: ("Declared as failing, but holding", "red"),
    Status.UNDECIDED: ("Undecided", "magenta"),
    Status.OVERRIDDEN: ("Replaced by something else", "magenta"),
    Status.KNOWN: ("Known to fail", "yellow"),
}
_GREEN = (Status.PASS, Status.SKIP)


def _summary(report: Report) -> RenderableType:
    """A table of groups, a verdict for each runtime, and what to know beyond."""
    return Group(
        _table(report),
        *_troubles(report),
        *_lacks(report),
        Text(""),
        *(_verdict_line(report, name) for name in report.runtimes),
    )


def print_report(report: Report, console: Console) -> None:
    """Print the summary, and how to get it again: lines to copy are not broken."""
    console.print(_summary(report))
    facts = f"seed {report.seed} · kit {kit_fingerprint()[:12]} · {report.redis}"
    for line in (facts, f"again: {report.replay}"):
        console.print(Text(line, style="dim"), soft_wrap=True)


def render_text(report: Report, *, width: int, colour: bool) -> str:
    """The summary as text for any terminal."""
    out = StringIO()
    console = Console(
        file=out,
        width=max(width, 60),
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
    )
    print_report(report, console)
    return out.getvalue()


def _table(report: Report) -> Table:
    """How many rules of each group hold: ``5/6`` are five of the six that were asked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("group")
    for name in report.runtimes:
        table.add_column(Text(name), justify="right")
    for letters, title in GROUPS.items():
        ids = [rule_id for rule_id in report.catalogue if rule_id.startswith(letters)]
        if ids:
            cells = [_cell(report, name, ids) for name in report.runtimes]
            table.add_row(f"{letters} {title}", *cells)
    return table


def _cell(report: Report, name: str, ids: list[str]) -> Text:
    count = Counter(report.runtimes[name].outcomes[rule_id].status for rule_id in ids)
    asked = len(ids) - count[Status.SKIP]
    good = all(status in _GREEN for status in count)
    return Text(f"{count[Status.PASS]}/{asked}", style="green" if good else "red")


def _verdict_line(report: Report, name: str) -> Text:
    found = report.runtimes[name]
    count = Counter(outcome.status for outcome in found.outcomes.values())
    line = Text.assemble((name, "bold"), ": ", (str(found.verdict), _COLOUR[found.verdict]))
    line.append(f"  {count[Status.PASS]} of {len(found.outcomes)} rules hold")
    for status, word in (
        (Status.SKIP, "not asked"),
        (Status.FAIL, "broken"),
        (Status.FIXED, "unexpectedly hold"),
        (Status.KNOWN, "known to fail"),
        (Status.UNDECIDED, "undecided"),
        (Status.OVERRIDDEN, "replaced"),
        (Status.NOT_RUN, "not run"),
    ):
        if count[status]:
            line.append(f", {count[status]} {word}")
    for reason in found.reasons:
        if reason.startswith(ALTERED):
            line.append(f"\n    {reason}")
    return line


def _troubles(report: Report) -> list[Text]:
    lines: list[Text] = []
    for name, found in report.runtimes.items():
        for status, (title, colour) in _TOLD.items():
            concerned = [o for o in found.outcomes.values() if o.status is status]
            if concerned:
                lines += [Text(""), Text(f"{title} ({name})", style=f"bold {colour}")]
                lines += [_trouble(report, outcome) for outcome in concerned]
        lines += _not_run(name, found.outcomes.values())
    return lines


def _trouble(report: Report, outcome: Outcome) -> Text:
    rule = report.catalogue[outcome.rule]
    return Text.assemble(
        "  ", (f"{rule.id} {rule.level}", "bold"), f" {rule.text}\n    {outcome.reason}"
    )


def _not_run(name: str, outcomes: Iterable[Outcome]) -> list[Text]:
    """The rules that were not run, a line for each reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.status is Status.NOT_RUN:
            by_reason[outcome.reason].append(outcome.rule)
    if not by_reason:
        return []
    lines = [Text(""), Text(f"Not run ({name})", style="bold magenta")]
    for reason, ids in by_reason.items():
        shown = ", ".join(ids[:12]) + (f" and {len(ids) - 12} more" if len(ids) > 12 else "")
        lines.append(Text(f"  {shown}\n    {reason}"))
    return lines


def _lacks(report: Report) -> list[Text]:
    lines: list[Text] = []
    for name in report.runtimes:
        declared = report.declarations.get(name)
        if declared is not None and declared.lacks:
            lines += [Text(""), Text(f"Declared to lack ({name})", style="bold")]
            lines += [Text(f"  {what}: {why}") for what, why in declared.lacks.items()]
    return lines


def print_rules(catalogue: Mapping[str, Rule]) -> None:
    """The catalogue as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rule", no_wrap=True)
    table.add_column("level", no_wrap=True)
    table.add_column("text")
    for rule in catalogue.values():
        table.add_row(rule.id, rule.level, Text(rule.text))
    Console(highlight=False).print(table)


def print_rule(rule: Rule) -> None:
    """Everything about one rule."""
    level = f"{rule.level}, a safety rule" if rule.safety else rule.level
    facts = {
        "Why": rule.intent,
        "If it fails": rule.help,
        "Checked": f"{rule.strength}; since version {rule.since}",
        "Requires": ", ".join(rule.requires),
        "From the test plan": " | ".join(rule.seed),
        "Finds these faults": ", ".join(rule.mutants),
    }
    console = Console(highlight=False)
    console.print(Text.assemble((f"{rule.id}  {level}", "bold"), f"  ({GROUPS[rule.group]})"))
    console.print(Text(rule.text))
    for title, text in facts.items():
        if text:
            console.print(Text.assemble("\n", (f"{title}: ", "bold"), text))
