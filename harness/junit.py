"""The report as JUnit's XML, for build servers: a suite for each runtime, a case for each rule."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from harness.document import Details, Document, Examined
from harness.outcome import Status

__all__ = ["junit"]

# What XML 1.0 cannot carry at all.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FAILED = (Status.FAIL, Status.FIXED)
_ERROR = (Status.UNDECIDED, Status.OVERRIDDEN)
_SKIPPED = (Status.SKIP, Status.KNOWN, Status.NOT_RUN)


def junit(document: Document) -> str:
    """The XML. Not decided is an error there, known to fail and not asked are skipped."""
    root = ET.Element("testsuites", name="AM2Z conformance")
    for name, tested in document.runtimes.items():
        _suite(root, document, name, tested)
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", f"{document.seconds:.3f}")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, document: Document, name: str, tested: Examined) -> None:
    statuses = list(tested.rules.values())
    seconds = sum(detail.seconds for detail in tested.details.values())
    suite = ET.SubElement(
        root, "testsuite", name=_legal(name), tests=str(len(statuses)), time=f"{seconds:.3f}",
        failures=str(sum(s in _FAILED for s in statuses)),
        errors=str(sum(s in _ERROR for s in statuses)),
        skipped=str(sum(s in _SKIPPED for s in statuses)),
    )  # fmt: skip
    if document.date:
        suite.set("timestamp", _legal(document.date))
    properties = ET.SubElement(suite, "properties")
    facts = {"verdict": str(tested.verdict), "seed": str(document.seed), "spec": document.spec,
             "kit_hash": document.kit_hash, "replay": document.replay}  # fmt: skip
    for key, value in facts.items():
        ET.SubElement(properties, "property", name=f"am2z_{key}", value=_legal(value))
    entries = document.entries
    for rule_id, status in tested.rules.items():
        entry, detail = entries.get(rule_id), tested.detail(rule_id)
        case = ET.SubElement(
            suite, "testcase", name=_legal(f"{rule_id} {entry.text if entry else ''}".rstrip()),
            classname=_legal(f"am2z.{name}.{rule_id[:3]}"), time=f"{detail.seconds:.4f}",
        )  # fmt: skip
        _end(case, status, detail)


def _end(case: ET.Element, status: Status, detail: Details) -> None:
    message = _legal(detail.reason or status)
    if status in _SKIPPED:
        ET.SubElement(case, "skipped", message=message)
    elif status is not Status.PASS:
        kind = "failure" if status in _FAILED else "error"
        ET.SubElement(case, kind, message=message, type=str(status)).text = _legal(detail.lesson)


def _legal(text: str) -> str:
    return _ILLEGAL.sub("�", text)
