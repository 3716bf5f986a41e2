"""Every form of a report, made from its ``report.json``."""

from __future__ import annotations

from pathlib import Path

from harness.badge import badges
from harness.document import Document, read_document, read_zoo
from harness.junit import junit
from harness.page import render_page
from harness.page.markup import slug

__all__ = ["publish"]


def publish(report: Path, zoo: Path | None = None) -> list[Path]:
    """Write ``report.html``, ``junit.xml`` and the badges beside a ``report.json``.

    The kill matrix comes from ``zoo``, or from a ``zoo.json`` beside the report. Answers what was
    written. Raises ``ConfigurationError`` where a file is not what it should be. ::

        publish(Path("report/report.json"))
    """
    document = read_document(report)
    beside = report.with_name("zoo.json")
    given = zoo or (beside if beside.exists() else None)
    page = render_page(document, read_zoo(given) if given else None)
    files = {"report.html": page, "junit.xml": junit(document), **_badge_files(document)}
    for name, text in files.items():
        report.with_name(name).write_text(text, "utf-8")
    return [report.with_name(name) for name in files]


def _badge_files(document: Document) -> dict[str, str]:
    """``badge.svg`` for all together, ``badge-local.svg`` and so on for each."""
    files: dict[str, str] = {}
    for name, drawn in badges(document).items():
        base = "badge" if name is None else f"badge-{slug(name)}"
        same = sum(known.startswith((f"{base}.", f"{base}~")) for known in files)
        files[f"{base}~{same + 1}.svg" if same else f"{base}.svg"] = drawn
    return files
