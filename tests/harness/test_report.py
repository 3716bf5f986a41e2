"""The forms of a report, without a browser."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from xml.etree import ElementTree

import pytest

from am2z import ConfigurationError
from harness.badge import badges
from harness.catalogue import load_catalogue
from harness.document import Document, Examined, read_document
from harness.outcome import Moment, Status, Story
from harness.page import render_page
from harness.page.markup import Markup, el, join
from harness.page.timeline import timeline
from harness.page.words import WORD, span
from harness.publish import publish
from harness.story import Counterexample, evidence
from harness.verdict import Verdict
from tests.harness.reports import ZOO, green_report, written, wrong_report


class Page(HTMLParser):
    """What a browser would make of the text: elements by name, and the text outside of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._inside = [], [], None
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    return written(wrong_report(), tmp_path_factory.mktemp("wrong"), ZOO)


@pytest.fixture(scope="module")
def page(wrong):
    return Page((wrong / "report.html").read_text())


def test_every_form_is_written(wrong):
    assert {path.name for path in wrong.iterdir()} == {
        *("report.json", "zoo.json", "report.html", "junit.xml"),
        *("badge.svg", "badge-good.svg", "badge-bad.svg"),
    }


def test_the_verdict_comes_first(page):
    assert page.text.index("1 of 2 runtimes is non-conformant") < page.text.index("Groups")


def test_each_rule_is_there_with_its_text_reason_and_result(page):
    rules = {attrs["id"]: attrs for attrs in page.all("details") if attrs.get("class") == "rule"}
    assert list(rules) == list(load_catalogue())
    for entry in load_catalogue().values():
        assert " ".join(entry.text.split()) in page.text
        assert " ".join(entry.intent.split()) in page.text
    assert rules["LIF-001"]["data-status"] == "pass"
    assert rules["LIF-003"]["data-status"] == "pass fail"


def test_what_broke_is_open_and_what_holds_is_closed(page):
    opened = {a["id"] for a in page.all("details") if a.get("class") == "rule" and "open" in a}
    assert {"LIF-003", "STA-004"} <= opened
    assert not opened & {"LIF-001", "SES-001"}


def test_every_status_has_its_word_and_its_sign(page):
    signs = {attrs["href"] for attrs in page.all("use")}
    for status in Status:
        assert WORD[status] in page.text
        assert f"#i-{status}" in signs
    drawn = {attrs["id"] for attrs in page.all("symbol")}
    assert {sign.removeprefix("#") for sign in signs} == drawn


def test_a_failure_shows_program_answers_events_and_replay(page):
    for words in (
        *("The shortest program that breaks it", "restart()", "Expected and actual", "version"),
        *("What was seen", "What the runtime told", "processor:failed", "Run it again"),
        "am2z conformance bad -k STA-004 --seed 7",
    ):
        assert words in page.text


def test_the_kill_matrix_is_shown_where_one_is_given(page, tmp_path):
    assert "1 of 2 faulty runtimes were found out" in page.text
    assert "MUST rules that find none: LIF-009" in page.text
    plain = Page((written(green_report(), tmp_path) / "report.html").read_text())
    assert "faulty" not in plain.text


def test_a_green_report_says_so(tmp_path):
    green = Page((written(green_report(), tmp_path) / "report.html").read_text())
    assert "mine is conformant" in green.text
    assert "What does not hold" not in green.text


def test_no_text_of_a_runtime_becomes_markup(page):
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert "<script>document.title='broken'</script>" in page.text
    assert "\\u202e" in page.text
    assert not set(page.text) & set("\u202e\x1b")


def test_the_page_needs_nothing_else(page):
    for _, attrs in page.elements:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert str(attrs.get(name, "#")).startswith("#"), attrs
    [policy] = [a["content"] for a in page.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "@import" not in _style()
    assert "url(" not in _style()


def _style():
    return files("harness.page").joinpath("page.css").read_text()


def test_ids_are_there_once_and_links_lead_somewhere(page):
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    links = {attrs["href"].removeprefix("#") for attrs in page.all("a")}
    assert links <= set(ids)


def test_the_page_is_made_from_the_json_alone(wrong, tmp_path):
    again = tmp_path / "report.json"
    again.write_bytes((wrong / "report.json").read_bytes())
    publish(again, wrong / "zoo.json")
    for name in ("report.html", "junit.xml", "badge-bad.svg"):
        assert (tmp_path / name).read_text() == (wrong / name).read_text()


def test_an_older_report_without_the_catalogue_is_shown_too(wrong, tmp_path):
    document = json.loads((wrong / "report.json").read_text())
    for key in ("catalogue", "groups", "date"):
        del document[key]
    for found in document["runtimes"].values():
        for detail in found["details"].values():
            detail.pop("story", None)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    publish(path)
    old = Page((tmp_path / "report.html").read_text())
    assert "1 of 2 runtimes is non-conformant" in old.text
    assert "STA-004" in old.text


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\xff", '{"spec": "1.0", "seed": "x"}'])
def test_what_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"is not a report: `am2z conformance --report"):
        read_document(path)


def test_am2z_report_makes_the_files_again(run, wrong, tmp_path):
    (tmp_path / "report.json").write_bytes((wrong / "report.json").read_bytes())
    status, out, _ = run("report", str(tmp_path), "--zoo", str(wrong / "zoo.json"))
    assert status == 0
    assert out.splitlines()[0] == str(tmp_path / "report.html")
    assert "faulty runtimes" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("zoo", ["nowhere.json", "report.json"])
def test_am2z_report_says_what_is_wrong_with_a_file(run, wrong, monkeypatch, zoo):
    monkeypatch.chdir(wrong)
    status, _, err = run("report", "report.json", "--zoo", zoo)
    assert status == 2
    assert "cannot read nowhere.json" in err or "is not a kill matrix: `am2z zoo --json" in err


def test_the_plugin_writes_every_form(world):
    world.run()
    folder = world.pytester.path / "report"
    assert {"report.html", "report.json", "junit.xml", "badge.svg", "badge-mine.svg"} == {
        path.name for path in folder.iterdir()
    }
    assert "mine is conformant" in (folder / "report.html").read_text()


def test_a_failure_of_a_real_run_carries_its_parts(world):
    path = world.pytester.path / "small_kit.py"
    path.write_text(path.read_text().replace("count == 2", "count == 3"))
    told = world.run().details["EXE-001"]["story"]
    assert (told["expected"], told["actual"]) == ("3", "2")
    types = [event["type"] for event in told["events"]]
    assert types[:3] == ["processor:active", "processor:completed", "queue:completed"]
    assert told["replay"].startswith("pytest ")


# --- what an error tells


def test_a_counterexample_tells_its_program_and_both_answers():
    error = Counterexample("no", program="a(); b()", expected="1", actual="2")
    assert evidence(error) == Story(program="a(); b()", expected="1", actual="2")


@pytest.mark.parametrize(
    ("message", "sides"),
    [
        ("assert 2 == 3\n +  where 2 = f()", ("3", "2")),
        ("assert [1, 2] == [1]", ("[1]", "[1, 2]")),
        ("assert True is False", ("False", "True")),
        ("assert a == b == c", ("", "")),
        ("assert <Thing at 0x1> == 3", ("", "")),
        ("assert not True", ("", "")),
        ("it lost something", ("", "")),
        ("assert " + "(" * 500, ("", "")),
    ],
)
def test_both_answers_are_read_from_an_assertion(message, sides):
    told = evidence(AssertionError(message))
    assert (told.expected, told.actual) == sides


def test_an_example_of_hypothesis_is_the_program():
    error = AssertionError("assert 1 == 2")
    error.add_note("Falsifying example: run(x=0)")
    assert evidence(error).program == "Falsifying example: run(x=0)"


def test_half_a_character_in_an_error_stops_no_report(check):
    async def body(kit):
        raise AssertionError("half: \udcff " + "x" * 100_000)

    outcome = check(body)
    assert outcome.status is Status.FAIL
    assert "half: \\udcff" in outcome.reason
    assert len(outcome.lesson) < 50_000
    outcome.lesson.encode()


# --- the pieces


def test_whatever_is_no_markup_is_escaped():
    assert el("p", "<b>", 1, None, [el("i", "&")], class_='"', data_x=1, hidden=True) == (
        '<p class="&quot;" data-x="1" hidden>&lt;b&gt;1<i>&amp;</i></p>'
    )
    assert join(["a", Markup("<br>")]) == "a<br>"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 µs"), (0.00004, "40 µs"), (0.0406, "40.6 ms"), (1.234, "1.23 s"), (125, "2 min 5 s")],
)
def test_times_are_said_as_people_say_them(seconds, said):
    assert span(seconds) == said


def test_a_timeline_of_one_moment_and_one_of_very_many_are_drawn():
    assert "No event" in join(timeline([], 0))
    assert 'cx="50%"' in join(timeline([Moment(at=0.0, type="processor:active")], 0))
    many = [Moment(at=float(n), type="x", execution=str(n)) for n in range(200)]
    drawn = join(timeline(many, 3))
    assert drawn.count("<li>") == 200
    assert "3 earlier events left out" in drawn
    assert "184 more are in the list only" in drawn


def _document(**verdicts):
    runtimes = {name: Examined(verdict=verdict, rules={}) for name, verdict in verdicts.items()}
    return Document(spec="1.0", seed=1, runtimes=runtimes)


@pytest.mark.parametrize("verdict", Verdict)
def test_a_badge_says_the_verdict(verdict):
    for drawn in badges(_document(mine=verdict)).values():
        tree = ElementTree.fromstring(drawn)
        assert tree.get("aria-label", "").endswith(f": {verdict.lower()}")


def test_the_badge_for_all_is_the_worst():
    drawn = badges(_document(a=Verdict.CONFORMANT, b=Verdict.PARTIAL))
    assert list(drawn) == [None, "a", "b"]
    assert "partial" in drawn[None]
    assert "incomplete" in badges(_document())[None]


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ({}, "No runtime was tested"),
        ({"a": Verdict.INCOMPLETE}, "a is incomplete"),
        (dict.fromkeys("ab", Verdict.PARTIAL), "Both runtimes are partial"),
        (dict.fromkeys("abc", Verdict.CONFORMANT), "All 3 runtimes are conformant"),
    ],
)
def test_the_page_says_the_verdict_in_a_sentence(verdicts, words):
    assert f"<title>{words} · AM2Z" in render_page(_document(**verdicts))


def test_two_names_that_look_alike_in_a_file_have_a_badge_each(tmp_path):
    report = green_report()
    for name in ("mine[a]", "mine(a)"):
        report.runtimes[name] = report.runtimes["mine"]
    drawn = {path.name for path in written(report, tmp_path).glob("badge-mine-a*")}
    assert drawn == {"badge-mine-a.svg", "badge-mine-a~2.svg"}


def test_junit_has_a_suite_for_each_runtime_and_a_case_for_each_rule(wrong):
    tree = ElementTree.parse(wrong / "junit.xml").getroot()
    suites = {suite.get("name"): suite for suite in tree.iter("testsuite")}
    assert list(suites) == ["good", "bad"]
    assert [suites["good"].get(key) for key in ("failures", "errors", "skipped")] == ["0"] * 3
    bad = suites["bad"]
    assert [bad.get(key) for key in ("failures", "errors", "skipped")] == ["4", "2", "3"]
    cases = {str(case.get("name"))[:7]: case for case in bad.iter("testcase")}
    assert list(cases) == list(load_catalogue())
    assert "document.title" in cases["STA-004"].find("failure").get("message")
    assert cases["STA-004"].get("classname") == "am2z.bad.STA"


def test_hostile_text_is_nowhere_outside_of_escapes(wrong):
    for path in wrong.iterdir():
        if path.suffix in (".html", ".svg", ".xml"):
            assert not re.search(r"<img|<script>document", path.read_text()), path
