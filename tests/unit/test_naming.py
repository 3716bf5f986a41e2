"""A resource's name always gives back what it was made of."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from am2z.errors import ValidationError
from am2z.naming import NamingUtility

# Mostly the characters that could confuse it; then any at all, lone surrogates too.
parts = st.text(st.sampled_from(":%235Aab_")) | st.text(st.characters(exclude_categories=()))
sessions = st.none() | parts


def test_ordinary_names_read_as_themselves() -> None:
    naming = NamingUtility("am2z")
    assert naming.resource_name("resize") == "am2z:resize"
    assert naming.resource_name("resize", "customer-7_b.c") == "am2z:resize:customer-7_b.c"


@given(parts, parts, sessions)
@example("am2z", "a_b", "c_d")
@example("p", "%3A", "%25")
@example("p", "", "")
def test_both_parts_come_back_whatever_they_hold(
    prefix: str, base: str, session: str | None
) -> None:
    naming = NamingUtility(prefix)
    name = naming.resource_name(base, session)
    assert naming.extract_base_name(name) == base
    assert naming.extract_session_id(name) == session


@given(st.tuples(parts, parts, sessions), st.tuples(parts, parts, sessions))
@example(("p", "a", None), ("p", "a", ""))
@example(("p", "a:b", None), ("p", "a", "b"))
@example(("p:a", "b", None), ("p", "a", "b"))
def test_two_different_resources_never_share_a_name(
    one: tuple[str, str, str | None], other: tuple[str, str, str | None]
) -> None:
    names = {NamingUtility(prefix).resource_name(base, sid) for prefix, base, sid in (one, other)}
    assert (len(names) == 1) == (one == other)


@given(parts, parts)
@example("p", "p:a:b:c")
@example("p", "p:%41")
@example("p", "p:%3a")
@example("p", "p:%")
def test_a_name_is_taken_apart_only_if_putting_it_together_gives_it_back(
    prefix: str, name: str
) -> None:
    naming = NamingUtility(prefix)
    try:
        base, session = naming.extract_base_name(name), naming.extract_session_id(name)
    except ValidationError:
        return
    assert naming.resource_name(base, session) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "am2z",
        "other:resize",
        "am2zz:resize",
        "am2z:a:b:c",
        "am2z:%41",
        "am2z:a:100%",
        "am2z:a:%3a",
    ],
)
def test_a_foreign_name_is_refused_with_the_reason(name: str) -> None:
    naming = NamingUtility("am2z")
    for take_apart in (naming.extract_base_name, naming.extract_session_id):
        with pytest.raises(ValidationError, match="am2z:") as caught:
            take_apart(name)
        assert (caught.value.field, caught.value.value) == ("name", name)
