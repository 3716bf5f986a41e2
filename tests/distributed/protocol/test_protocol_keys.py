"""Names from outside stay inside their part of a key, and come back whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am2z.errors import ConfigurationError
from am2z.queue.keys import Keys, decode, encode, shard_of, validate_namespace

ANY = st.text(st.characters(exclude_categories=()), max_size=40)  # lone surrogates too
NASTY = st.one_of(ANY, st.text("{}:%* \x00\n\r\tA\u00e9", max_size=12))


@given(NASTY)
def test_every_name_comes_back(name: str) -> None:
    assert decode(encode(name)) == name


@given(NASTY, NASTY)
def test_different_names_give_different_parts(one: str, two: str) -> None:
    assert (encode(one) == encode(two)) == (one == two)


@given(NASTY)
def test_a_part_never_ends_a_part(name: str) -> None:
    part = encode(name)
    assert part
    assert part.isascii()
    assert not re.search(r"[\s:{}*?\[\]\\\x00-\x20\x7f]", part)


@given(st.text("%0123456789ABCDEFabcdefxyz:{ ", max_size=12))
def test_a_part_that_encode_never_makes_is_refused(part: str) -> None:
    try:
        name = decode(part)
    except ValueError:
        return
    assert encode(name) == part


@given(NASTY, NASTY, NASTY)
def test_keys_of_different_sessions_never_meet(one: str, two: str, processor: str) -> None:
    keys = Keys("n")
    if one != two:
        assert keys.state(one) != keys.state(two)
        assert keys.session(one) != keys.session(two)
    for key in (keys.state(one), keys.wake(processor), keys.inbox(one), keys.job(one)):
        assert key.startswith("{am2z:n:0}:")
        assert key.count("{") == 1
        assert key.index("}") == key.rindex("}") == 9


def test_namespaces_and_shards_never_share_a_prefix() -> None:
    prefixes = [
        Keys(name, shard).prefix for name in ("a", "a.0", "a-1", "b") for shard in (0, 1, 10)
    ]
    assert len(set(prefixes)) == len(prefixes)
    assert not [p for p in prefixes for q in prefixes if p != q and q.startswith(p)]


@pytest.mark.parametrize(
    "name", ["", "a:b", "a}b", "{a", "a b", "a\n", "\u00e9", "a*", "x" * 65, None]
)
def test_a_namespace_that_could_reach_others_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a namespace"):
        validate_namespace(name)
    with pytest.raises(ConfigurationError):
        Keys(name)


@given(NASTY, st.integers(1, 64))
def test_a_session_has_one_shard_for_ever(session_id: str, shards: int) -> None:
    assert 0 <= shard_of(session_id, shards) < shards
    assert shard_of(session_id, shards) == shard_of(session_id, shards)
    assert shard_of("tenant:7", 16) == 12  # fixed: another answer would lose every stored session
