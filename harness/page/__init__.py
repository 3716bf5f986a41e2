"""The report as one page that needs nothing else: made from ``report.json`` alone.

The page is static HTML in which everything can be read without the script; the script brings the
filter and the buttons that copy. A policy in the page itself allows no other style or script, so
that nothing which a runtime under test says can run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from string import Template

from harness.document import Document, Zoo
from harness.page.markup import Markup, el, join
from harness.page.matrix import matrix
from harness.page.rules import rules
from harness.page.top import broken, groups, headline, run, verdicts, worst
from harness.page.words import VERDICT_TONE, span, symbols

__all__ = ["render_page"]


def render_page(document: Document, zoo: Zoo | None = None) -> str:
    """The page of a report, with the kill matrix where one is given."""
    style, script = _file("page.css"), _file("page.js")
    sections = [
        ("verdict", "Verdict", verdicts(document)),
        ("broken", "What does not hold", broken(document)),
        ("groups", "Groups", groups(document)),
        ("rules", "Rules", rules(document, zoo)),
        ("matrix", "Kill matrix", matrix(document, zoo) if zoo else None),
        ("run", "The run", run(document)),
    ]
    present = [section for section in sections if section[2] is not None]
    links = [el("li", el("a", title, href=f"#{name}")) for name, title, _ in present]
    title = headline(document)
    return Template(_file("page.html")).substitute(
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        title=join(title),
        headline=_unbroken(title),
        tone=VERDICT_TONE[worst(document)],
        intro=join(f"{_day(document.date)}{span(document.seconds)} · seed {document.seed}"),
        spec=join(document.spec),
        symbols=symbols(),
        links=join(links),
        sections=join([section for *_, section in present]),
        style=style,
        script=script,
    )


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _unbroken(text: str) -> Markup:
    """Words with a hyphen are not cut in two."""
    return join([el("span", word) if "-" in word else word for word in re.split(r"(\s+)", text)])


def _day(date: str) -> str:
    return f"{date[:10]} · " if date else ""
