"""A badge for a README: an SVG that needs no fonts and no network, drawn from a report."""

from __future__ import annotations

from harness.document import Document
from harness.page.markup import Markup, el
from harness.page.top import worst
from harness.verdict import Verdict

__all__ = ["badges"]

_COLOUR = {
    Verdict.CONFORMANT: "#17693a",
    Verdict.PARTIAL: "#7c5200",
    Verdict.NON_CONFORMANT: "#b0201a",
    Verdict.INCOMPLETE: "#6a3a9c",
}
_WIDE, _NARROW = "mwMWQOGDHNU@%&", "ijltfrI.,:;|![]()'-1 "


def badges(document: Document) -> dict[str | None, str]:
    """The badge of each runtime by its name, and under ``None`` the one for all together."""
    found: dict[str | None, str] = {
        name: _draw(f"AM2Z {document.spec} {name}", tested.verdict)
        for name, tested in document.runtimes.items()
    }
    return {None: _draw(f"AM2Z {document.spec}", worst(document)), **found}


def _draw(label: str, verdict: Verdict) -> str:
    said = str(verdict.lower())
    left, right = _width(label), _width(said)
    whole = left + right
    return el(
        "svg",
        el("title", f"{label}: {said}"),
        el("clipPath", el("rect", width=whole, height=20, rx=4), id="r"),
        el("g",
           el("rect", width=left, height=20, fill="#3a3d42"),
           el("rect", x=left, width=right, height=20, fill=_COLOUR[verdict]),
           clip_path="url(#r)"),
        el("g", _text(label, 0, left), _text(said, left, right), fill="#fff", font_size=11,
           text_anchor="middle", font_family="Verdana,DejaVu Sans,Geneva,sans-serif"),
        xmlns="http://www.w3.org/2000/svg", width=whole, height=20, role="img",
        aria_label=f"{label}: {said}",
    ) + "\n"  # fmt: skip


def _text(text: str, left: int, width: int) -> Markup:
    """Stretched to its place, whatever font the reader has."""
    return el("text", text, x=f"{left + width / 2:g}", y=14, textLength=width - 12)


def _width(text: str) -> int:
    """About as wide as Verdana is at 11 pixels, with 6 on either side."""
    wide = sum(9.2 if c in _WIDE else 4.4 if c in _NARROW else 6.9 for c in text)
    return round(wide) + 12
