"""The report's page in a real browser: on a phone, with a keyboard, in the dark, on paper."""

import re
from itertools import pairwise

import pytest

from tests.harness.browser import chromium
from tests.harness.reports import ZOO, green_report, some_rules, written, wrong_report

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}

TOO_WIDE = """() => [...document.querySelectorAll("body *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
    .filter(e => !e.closest("pre, .scroll"))
    .map(e => e.outerHTML.slice(0, 80))"""

# Every text that can be seen against the nearest background that can be seen, as WCAG 2 counts.
FAINT = """() => {
    const parts = c => c.match(/[\\d.]+/g).map(Number);
    const light = c => {
        const [r, g, b] = parts(c).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const isClear = c => { const p = parts(c); return p.length === 4 && p[3] === 0; };
    const behind = e => {
        for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor;
            if (!isClear(c)) return c;
        }
        return "rgb(255, 255, 255)";
    };
    const found = new Set();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let texts = 0;
    while (walk.nextNode()) {
        const e = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || e.closest("script, style, .hidden, title")) continue;
        if (!e.checkVisibility() || !e.getClientRects().length) continue;
        texts += 1;
        const style = getComputedStyle(e);
        const ink = e.closest("svg") ? style.fill : style.color;
        const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) found.add(`${e.className.baseVal ?? e.className} ${ratio.toFixed(2)}`);
    }
    return {texts, faint: [...found]};
}"""


RULES = some_rules()


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def tab(browser):
    """One tab for all tests: opening one takes longer than they do."""
    with browser.new_context() as context:
        context.set_default_timeout(60_000)
        yield context.new_page()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(wrong_report(RULES), tmp_path_factory.mktemp("wrong"), ZOO)


@pytest.fixture
def look(tab, folder):
    """Open the page; whatever it asks for or complains about fails the test at its end."""
    troubles = []

    def complain(*about):
        troubles.extend(about)

    def open_page(fragment="", *, viewport=DESK, scheme="light", path=folder):
        tab.set_viewport_size(viewport)
        tab.emulate_media(color_scheme=scheme, media="screen")
        tab.goto("about:blank")
        tab.goto(f"{(path / 'report.html').as_uri()}{fragment}")
        return tab

    listeners = {
        "console": lambda message: complain(message.text),
        "pageerror": lambda error: complain(str(error)),
        "dialog": lambda dialog: (complain("a dialog"), dialog.dismiss()),
        "request": lambda request: complain(
            *[request.url] * (not request.url.startswith(("file:", "about:")))
        ),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    yield open_page
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert not troubles


def shown(page):
    return page.evaluate("[...document.querySelectorAll('.rule:not([hidden])')].map(e => e.id)")


def test_hostile_texts_do_nothing_and_nothing_is_loaded(look):
    page = look()
    assert page.title().startswith("1 of 2 runtimes is non-conformant")
    assert page.locator("img").count() == 0
    assert "<script>document.title='broken'" in page.locator("#STA-004").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(look, scheme):
    page = look(viewport=PHONE, scheme=scheme)
    page.click("#open")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(look, scheme):
    page = look(scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    told = page.evaluate(FAINT)
    assert told["texts"] > 500
    assert told["faint"] == []


def test_dark_mode_is_dark(look):
    grounds = []
    for scheme in ("light", "dark"):
        page = look(scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, re.findall(r"\d+", colour))))
    assert grounds[0] > 3 * 230
    assert grounds[1] < 3 * 30


def test_the_first_tab_offers_to_skip_to_the_report(look):
    page = look()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    page.locator("#content:focus").wait_for()


def test_rules_are_found_without_a_mouse(look):
    page = look()
    page.keyboard.press("/")
    page.keyboard.type("lost Update()")
    assert "STA-004" in shown(page)
    assert len(shown(page)) < 20
    assert page.inner_text("#count") == f"{len(shown(page))} of {len(RULES)} rules"
    page.keyboard.press("Control+A")
    page.keyboard.type("nothing has these words")
    assert shown(page) == []
    assert page.is_visible("#nothing")
    assert not page.is_visible(".group")


def test_rules_are_filtered_by_status_without_a_mouse(look):
    page = look()
    page.focus("#find")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == ""
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.value") == "fail"
    assert {"STA-004", "STA-005"} <= set(shown(page))
    assert "LIF-001" not in shown(page)
    ring = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert page.evaluate(ring) == "solid"


def test_a_rule_is_opened_and_closed_by_the_keyboard(look):
    page = look()
    rule = page.locator("#SES-001")
    rule.locator("summary").focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert rule.locator(".about").is_visible()
    page.keyboard.press("Space")
    assert not rule.locator(".about").is_visible()


def test_open_all_opens_what_is_shown(look):
    page = look()
    page.fill("#find", "SES-001")
    page.click("#open")
    page.fill("#find", "")
    assert page.locator("#SES-001 .about").is_visible()
    assert not page.locator("#SES-002 .about").is_visible()


def test_a_link_to_a_rule_shows_it_though_the_filter_hides_it(look):
    page = look("#SES-002")
    assert page.locator("#SES-002 .about").is_visible()
    page.fill("#find", "SES-001")
    assert not page.locator("#LIF-003").is_visible()
    page.click("#broken a:has-text('LIF-003')")
    page.locator("#LIF-003 .about").wait_for()
    assert page.input_value("#find") == ""


def test_everything_can_be_read_without_scripts(browser, folder):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto((folder / "report.html").as_uri())
        assert page.locator(".rule").count() == len(RULES)
        assert not page.is_visible("#filter")
        assert page.locator("#STA-004 .timeline").is_visible()


def test_it_is_made_of_landmarks_headings_and_names(look):
    page = look()
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')]"
                           ".map(e => +e.tagName[1])")  # fmt: skip
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    for landmark in ("header", "nav", "main", "footer", "form[role=search]"):
        assert page.locator(landmark).count() == 1, landmark
    assert page.evaluate("document.documentElement.lang") == "en"
    unnamed = "[...document.querySelectorAll('input')].filter(e => !e.labels.length).length"
    assert page.evaluate(unnamed) == 0
    tree = page.locator("body").aria_snapshot()
    for name in ('navigation "Sections"', "main", 'img "Timeline of 7 events', "table"):
        assert name in tree, name


def test_a_failure_is_drawn_as_a_timeline(look):
    page = look("#STA-004", viewport=PHONE)
    picture = page.locator("#STA-004 .timeline svg").first
    assert picture.bounding_box()["width"] <= PHONE["width"]
    places = [sign.bounding_box()["x"] for sign in page.locator("#STA-004 circle.begin").all()]
    assert places == sorted(places)
    assert page.locator("#STA-004 .events li").count() == 7


def test_on_paper_there_are_the_failures_and_no_controls(look):
    page = look(scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("#STA-004 .part").first.is_visible()
    for control in ("#filter", "nav", ".command button"):
        assert not page.locator(control).first.is_visible(), control
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"


def test_a_green_report_is_calm(look, tmp_path):
    page = look(path=written(green_report(RULES), tmp_path), viewport=PHONE)
    assert page.inner_text("h1") == "mine is conformant"
    assert page.locator(".rule[open]").count() == 0
    assert page.evaluate(TOO_WIDE) == []
