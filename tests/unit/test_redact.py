"""What looks like a secret never gets past redact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am2z.redact import HIDDEN, as_pairs, redact, redact_text

SECRET = "hunter2swordfish"


@pytest.mark.parametrize(
    "text",
    [
        f"cannot reach redis://:{SECRET}@db:6379/0",
        f"cannot reach rediss://user:{SECRET}@db",
        f"postgresql+psycopg://u:p@{SECRET}@db/x",
        f"password={SECRET}",
        f"Password: {SECRET}, please",
        f"{{'password': '{SECRET} with blanks'}}",
        f'{{"api_key": "{SECRET}"}}',
        f'{{"api_key": "a\\"{SECRET}"}}',
        f"access_token={SECRET}&x=1",
        f"Authorization: Bearer {SECRET}",
        f"sent Basic {SECRET}== along",
        f"client_secret_value={SECRET}",
    ],
)
def test_text_that_gives_a_secret_away_is_redacted(text: str) -> None:
    assert SECRET not in redact_text(text)
    assert HIDDEN in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://db:6379/0 did not answer",
        "see https://example.org/a:b@c",
        "max_tokens=4096 of tokens_used: 17",
        "the password is wrong",
        "passed=3 bypass=no",
        "key=value",
        "",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_entries_with_the_name_of_a_secret_are_hidden_at_any_depth() -> None:
    context = {
        "user": "ada",
        "Password": SECRET,
        "nested": [{"api-key": SECRET, "n": 1}, (SECRET[:3], 2.5)],
        "url": f"redis://:{SECRET}@db",
        "max_tokens": 12,
        "none": None,
    }
    assert redact(context) == {
        "user": "ada",
        "Password": HIDDEN,
        "nested": [{"api-key": HIDDEN, "n": 1}, ["hun", 2.5]],
        "url": "redis://:***@db",
        "max_tokens": 12,
        "none": None,
    }


def test_an_object_becomes_its_redacted_repr() -> None:
    class Login:
        def __repr__(self) -> str:
            return f"Login(user='ada', password='{SECRET}')"

    assert redact(Login()) == "Login(user='ada', password=***)"


def test_an_object_whose_repr_raises_does_not_stop_the_log() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    assert redact({"x": Broken()}) == {"x": "<Broken whose repr failed>"}


def test_nesting_without_an_end_comes_to_an_end_and_keeps_its_secrets() -> None:
    circle: dict[str, object] = {"password": SECRET}
    circle["again"] = circle
    assert SECRET not in repr(redact(circle))


nested = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(nested, st.sampled_from(["password", "DB_PASSWORD", "apiKey", "authToken", "cookie"]))
def test_whatever_stands_under_a_secret_name_is_gone(value: object, name: str) -> None:
    assert redact({"a": [{name: value}]}) == {"a": [{name: HIDDEN}]}


@given(nested)
def test_redacting_twice_changes_nothing_more(value: object) -> None:
    assert redact(redact(value)) == redact(value)


def test_pairs_stand_on_one_line_and_quote_what_is_not_one_word() -> None:
    pairs = as_pairs({"queue": "resize", "note": "two\nlines", "n": 3, "token": SECRET, "e": ""})
    assert pairs == "queue=resize note='two\\nlines' n=3 token=*** e=''"


@given(st.dictionaries(st.sampled_from("abc"), st.text()))
def test_no_value_can_begin_a_new_line_in_the_log(context: dict[str, str]) -> None:
    assert len(as_pairs(context).splitlines()) <= 1
