"""Reports to look at: all green, and one in which everything is wrong that can be."""

from pathlib import Path

import msgspec

from harness.catalogue import load_catalogue
from harness.outcome import Moment, Outcome, Status, Story
from harness.publish import publish
from harness.report import Declaration, Report, write_json
from harness.verdict import judge

HOSTILE = (
    "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>\"'&\u202e\x1b[1m"
)
"""What a runtime may put into its errors."""

ZOO = {
    "mutants": [
        {
            "name": "lost-update",
            "killed": True,
            "expected": "STA-004",
            "by": ["STA-004", "EXE-001"],
        },
        {"name": HOSTILE, "killed": False, "expected": "EXE-002", "by": []},
    ],
    "rules_without_mutant": ["LIF-009"],
}


def story(**fields):
    events = (
        Moment(at=0.0, type="session:created", session="s"),
        Moment(at=0.01, type="processor:active", processor="count", execution="a", session="s"),
        Moment(at=0.02, type="processor:active", processor=HOSTILE, execution="b", session="s"),
        Moment(at=0.25, type=HOSTILE, processor="count", execution="a", data="{x=1}"),
        Moment(at=0.5, type="processor:failed", processor="count", execution="a", session="s"),
        Moment(at=0.5, type="queue:failed", processor="count", execution="a", session="s"),
        Moment(at=1.0, type="processor:completed", processor=HOSTILE, execution="b"),
    )
    return Story(**{
        "seen": ("sessions.py:1\n> assert x == 2\n- old\n+ new", HOSTILE),
        "program": f"execute(a)\nrestart()\nexecute({HOSTILE})",
        "expected": "version 3", "actual": f"version 2 {HOSTILE}", "events": events,
        "replay": "am2z conformance bad -k STA-004 --seed 7", **fields,
    })  # fmt: skip


def some_rules():
    """Five rules of each group, for whoever does not need them all."""
    return {k: rule for k, rule in load_catalogue().items() if int(k[4:]) <= 5}


def green_report(catalogue=None):
    return _report({"mine": {}}, catalogue or load_catalogue())


def wrong_report(catalogue=None):
    """Every status there is, hostile texts, a declaration, a story with everything in it."""
    catalogue = catalogue or load_catalogue()
    ends = dict(zip(catalogue, Status, strict=False))
    told = {
        rule_id: {"status": status, "reason": f"{status}: {HOSTILE}", "lesson": HOSTILE}
        for rule_id, status in ends.items()
    }
    told["STA-004"] = {"status": Status.FAIL, "reason": HOSTILE, "lesson": "x", "story": story()}
    told["STA-005"] = {"status": Status.FAIL, "story": story(expected="a\nb", actual="a\nc")}
    return _report({"good": {}, "bad": told}, catalogue)


def _report(runtimes, catalogue):
    outcomes = [
        Outcome(**{"rule": rule_id, "runtime": name, "status": Status.PASS, "seconds": 0.0123,
                   **told.get(rule_id, {})})
        for name, told in runtimes.items()
        for rule_id in catalogue
    ]  # fmt: skip
    return Report(
        catalogue=catalogue,
        seed=7,
        redis="Redis: redis-server",
        replay="am2z conformance mine --seed 7",
        seconds=1.5,
        runtimes=judge(catalogue, runtimes, outcomes),
        declarations={
            name: Declaration(supports=("priority",), lacks={"durable": HOSTILE},
                              known_failures={"LIF-004": HOSTILE})
            for name in runtimes
        },
    )  # fmt: skip


def written(report, folder: Path, zoo=None) -> Path:
    """The folder with every form of the report."""
    path = write_json(report, folder)
    if zoo:
        (folder / "zoo.json").write_bytes(msgspec.json.encode(zoo))
    publish(path)
    return folder
