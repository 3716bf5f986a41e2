"""The scripts are whole, documented, and bounded in what they ask of Redis."""

from __future__ import annotations

import re

import pytest

from am2z.queue.library import ScriptLibrary, library


@pytest.mark.parametrize("name", sorted(library()))
def test_every_script_says_what_it_takes_and_answers(name: str) -> None:
    head = re.match(r"(--.*\n)+", library()[name].text)
    assert head is not None
    assert "-- KEYS  prefix" in head[0]
    assert "-- Answers " in head[0]


@pytest.mark.parametrize("name", sorted(library()))
def test_no_script_walks_all_keys_or_reads_a_foreign_one(name: str) -> None:
    text = library()[name].text
    assert not re.search(r"'(KEYS|SCAN|FLUSH\w+|RANDOMKEY)'", text)
    assert text.count("KEYS[") == 1
    assert "--@" not in text


def test_a_piece_stands_once_in_its_script() -> None:
    text = library()["nack"].text
    assert text.count("local function now_ms") == 1
    assert text.count("local P = KEYS[1]") == 1


def test_a_script_is_put_together_once() -> None:
    assert library()["claim"] is library()["claim"]


def test_a_test_can_bring_its_own_clock() -> None:
    mine = ScriptLibrary({"time": "-- mine"})
    assert "-- mine" in mine["claim"].text
    assert "'TIME'" not in mine["claim"].text
    assert mine["claim"].sha != library()["claim"].sha


def test_an_unknown_script_is_named() -> None:
    with pytest.raises(KeyError, match="enqueu"):
        library()["enqueu"]
