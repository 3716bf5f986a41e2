"""The ids under which dead letters run again."""

from __future__ import annotations

from am2z.dead import retry_id


def test_a_letter_runs_again_under_one_id_however_often_it_is_asked() -> None:
    assert retry_id("bill", 7.25) == retry_id("bill", 7.25) == "bill~7250"


def test_what_fails_again_in_the_same_millisecond_still_gets_another_id() -> None:
    first = retry_id("bill", 7.25)
    second = retry_id(first, 7.25)
    third = retry_id(second, 7.25)
    assert len({"bill", first, second, third}) == 4


def test_ids_do_not_grow_with_the_number_of_tries() -> None:
    assert retry_id(retry_id("bill", 7.25), 9.5) == "bill~9500"


def test_an_id_of_the_callers_own_with_a_tilde_is_only_a_name() -> None:
    assert retry_id("bill~draft", 7.25) == "bill~7250"
    assert retry_id("bill~" + "9" * 40, 7.25) == "bill~7250"
