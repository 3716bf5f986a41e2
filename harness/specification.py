"""The specification as a document, made from the catalogue: ``docs/spec.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.catalogue import GROUPS, SPEC, Rule

__all__ = ["specification"]

_HEAD = """\
# Specification {spec}

What every runtime has to keep, in {count} rules. Each has an id that is never given to another one,
and a test in the [conformance suite](writing-a-runtime.md) that finds out.

A **MUST** is asked of every runtime, a **SHOULD** as well, with a reason where it is declared a
known failure. A rule that **requires** a capability is asked of runtimes that have it; those that
have not say so, and why. A **safety** rule protects somebody's data from being lost or mixed up: no
declaration excuses from it. **Checked** says how strong the test is:

- `exact`: what happens is compared with what must happen
- `model`: generated programs are run, and everything seen is compared with a model
- `history`: what happened at the same time is recorded, and an order of it is searched for
- `stochastic`: something is measured often, and a wrong runtime is found with high probability

**Finds** names the faults that the rule was tried on: runtimes of the zoo (`am2z zoo`), each wrong
in one way.

Made from the catalogue by `am2z rules --markdown > docs/spec.md`.
"""

_TAIL = """\
---

See also: [writing a runtime](writing-a-runtime.md) · [guarantees](guarantees.md)
"""


def specification(catalogue: Mapping[str, Rule]) -> str:
    """The catalogue in Markdown, group by group."""
    by_group = {
        letters: [r for r in catalogue.values() if r.group == letters] for letters in GROUPS
    }
    contents = [
        f"- [{GROUPS[letters]}](#{_anchor(_title(letters))}): {rules[0].id} to {rules[-1].id}"
        for letters, rules in by_group.items()
        if rules
    ]
    parts = [_HEAD.format(spec=SPEC, count=len(catalogue)), "\n".join(contents) + "\n"]
    for letters, rules in by_group.items():
        if rules:
            parts.append(f"## {_title(letters)}\n")
            parts += [_rule(rule) for rule in rules]
    return "\n".join([*parts, _TAIL])


def _title(letters: str) -> str:
    return f"{letters} {GROUPS[letters]}"


def _anchor(title: str) -> str:
    """As Markdown renderers make it of a heading."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _rule(rule: Rule) -> str:
    facts = {
        "Why": _plain(rule.intent),
        "Requires": ", ".join(f"`{name}`" for name in rule.requires),
        "Checked": f"`{rule.strength}`, since {rule.since}",
        "Finds": ", ".join(f"`{name}`" for name in rule.mutants),
        "If it fails": _plain(rule.help),
    }
    level = f"{rule.level}, safety" if rule.safety else rule.level
    lines = [f"### {rule.id}", "", f"**{level}.** {_plain(rule.text)}", ""]
    lines += [f"- {title}: {text}" for title, text in facts.items() if text]
    return "\n".join(lines) + "\n"


_SPECIAL = re.compile(r"[\\*_<>\[\]|]")


def _plain(text: str) -> str:
    """Text in which only what stands in backticks means something to Markdown."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(p if p.startswith("`") else _SPECIAL.sub(r"\\\g<0>", p) for p in parts)
