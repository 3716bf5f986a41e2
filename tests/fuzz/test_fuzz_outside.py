"""What people write: URLs, arguments of the command line, catalogue files."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from am2z import ConfigurationError
from am2z.cli import COMMANDS, main, worker
from am2z.cli.target import load_processors
from am2z.queue.client.url import Target, hide_password, parse_url
from harness import catalogue
from harness.catalogue import Catalogue, read_catalogue

from .garbage import tries

SCHEMES = st.sampled_from(
    ["redis", "rediss", "unix", "fake", "redis+sentinel", "redis+cluster", "http", "", "REDIS"]
)
PIECES = st.one_of(
    st.text(max_size=12),
    st.text("abc019:@/?#[]%,&=._-+ \t\n", max_size=20),
    st.sampled_from(
        ["h:6379/0", "u:p@h", "[::1]:1", "[::1", "h:99999", "h:-1", "h/x", "h:1,h:2/m/0",
         "?db=9999", "?db=x", "?ssl_cert_reqs=maybe", "%00", "?password=&password=x"]
    ),
)  # fmt: skip
URLS = st.tuples(SCHEMES, st.sampled_from(["://", ":/", ":", ""]), PIECES, PIECES).map("".join)


@tries(250)
@given(st.one_of(URLS, st.text(max_size=30)))
@example("redis://[")
@example("redis://h:" + "9" * 5000)
@example("redis+cluster://h/" + "9" * 5000)
@example("redis://h/" + "9" * 5000)
@example("unix://\x00")
def test_any_text_is_a_target_or_no_url(url: str) -> None:
    try:
        target = parse_url(url)
    except ConfigurationError:
        return
    assert isinstance(target, Target)
    assert target.db >= 0
    assert 0 <= target.port < 65_536


MARK = "hUnTeR2"


@tries(150)
@given(SCHEMES.filter(lambda scheme: scheme != "fake"), PIECES, PIECES, PIECES)
@example("redis", "[", "\x1f", "]")
def test_a_password_is_in_no_message_whatever_surrounds_it(
    scheme: str, user: str, before: str, place: str
) -> None:
    if "#" in user + before or "/" in user or "?" in user:
        return  # then nobody could say what is the password: a URL ends there
    url = f"{scheme or 'redis'}://{user.replace('@', '')}:{before}{MARK}@{place}"
    shown = [hide_password(url)]
    try:
        target = parse_url(url)
        shown += [repr(target), target.safe_url]
    except ConfigurationError as error:
        shown += [str(error), repr(error.to_dict())]
    assert not [text for text in shown if MARK in text]


# --- the command line

WORDS = st.one_of(
    st.sampled_from([command.NAME for command in COMMANDS]),
    st.sampled_from(
        ["--help", "--version", "--redis", "--limit", "--json", "--all", "list", "show", "LIF-001",
         "-1", "--processor", "--concurrency", "--lease", "nan", "--namespace", "a b", "redis://x:"]
    ),
    st.text(max_size=8),
)  # fmt: skip
SLOW = {"worker", "conformance", "dead", "zoo", "diff"}
"""These begin to work where the words make sense; their parsers are fuzzed by themselves below."""


def call(words: list[str]) -> int:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            return main(words)
        except SystemExit as ended:
            return int(ended.code or 0)


@tries(60)
@given(st.lists(WORDS.filter(lambda word: word not in SLOW), max_size=5))
def test_any_words_are_a_command_or_explained(words: list[str]) -> None:
    assert call(words) in (0, 1, 2)


@tries(60)
@given(st.lists(WORDS, max_size=4))
def test_no_words_make_a_worker_of_nothing(words: list[str]) -> None:
    assert call([worker.NAME, "no.such.module:at_all", *words]) in (0, 1, 2)


@tries(60)
@given(st.lists(WORDS, max_size=3), st.sampled_from(["a b", "a}b", "", "x" * 65]))
def test_no_words_reach_the_dead_of_an_illegal_namespace(words: list[str], name: str) -> None:
    known = [word for word in words if word not in ("--help", "--namespace")]
    assert call(["dead", "list", *known, "--namespace", name, "--redis", "fake://"]) in (1, 2)


@tries(100)
@given(st.one_of(st.text(max_size=20), st.text("ab.: /\\_", max_size=12)))
@example("os:system")
@example("os.path:join")
@example("am2z:__builtins__.eval")
@example("..:x")
@example("a..b")
def test_a_target_is_processors_or_refused(target: str) -> None:
    with pytest.raises(ConfigurationError):
        load_processors(target)


# --- catalogue files

RULE = Path(catalogue.__file__).with_name("errors.toml").read_text().split("\n\n")
LINES = RULE[1].splitlines()


@tries(120)
@given(
    st.integers(0, len(LINES) - 1),
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            ["", 'id = "XXX-001"', "id = 7", 'level = "MAY"', "requires = [1]", 'requires = ["X"]',
             "safety = true", "a.b.c = 1", "x = " + "[" * 5000, "[[rule]]", "id = 1979-05-27",
             "x = " + "9" * 5000, 'text = ""']
        ),
    ),
    st.binary(max_size=4),
)  # fmt: skip
def test_a_catalogue_is_read_or_its_file_is_named(where: int, line: str, tail: bytes) -> None:
    lines = [*LINES[:where], line, *LINES[where + 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "odd.toml"
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + tail)
        try:
            found: Catalogue | str = read_catalogue([path])
        except ConfigurationError as error:
            found = str(error)
    assert isinstance(found, Catalogue) or found.startswith("odd.toml: ")
