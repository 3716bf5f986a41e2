"""Where a server is said to be, and what a refusal means: without any server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, ResponseError

from am2z.queue.client import parse_url
from am2z.queue.client.detour import Detour, command_name, detour_of
from am2z.queue.client.discovery import ClusterNodes, Locator, Sentinels
from am2z.queue.client.link import _pause
from am2z.queue.client.resp import pack, parse_error

A, B, C = ("a.example", 1), ("b.example", 2), ("c.example", 3)
SENTINELS = "redis+sentinel://user:pw@a.example:1,b.example:2,c.example:3/orders/4"
CLUSTER = "redis+cluster://a.example:1,b.example:2,c.example:3"


def found(locator: Locator, answers: dict[tuple[str, int], Any]) -> tuple[Any, list[Any]]:
    """The server that a search finds, and who was asked for it."""
    search, asked, answer = locator.search(), [], None
    while True:
        try:
            question = search.send(answer)
        except StopIteration as stop:
            return stop.value, asked
        place = (question.target.host, question.target.port)
        asked.append(place)
        answer = answers.get(place, OSError("away"))


def test_sentinels_are_asked_in_turn_and_the_one_that_answered_first_next_time() -> None:
    locator = Sentinels(parse_url(SENTINELS))
    answers = {B: None, C: [b"10.0.0.1", b"6379"]}
    server, asked = found(locator, answers)
    assert (server.place, server.db, server.username, server.password) == (
        *("10.0.0.1:6379", 4),
        *("user", "pw"),
    )
    assert asked == [A, B, C]
    assert found(locator, answers)[1] == [C]
    locator.failed()  # what it said was of no use
    assert found(locator, answers)[1] == [A, B, C]


def test_password_of_the_servers_is_not_told_to_sentinels() -> None:
    for url, expected in (
        (SENTINELS, (None, None)),
        (f"{SENTINELS}?sentinel_password=sp&sentinel_username=su", ("su", "sp")),
    ):
        question = next(Sentinels(parse_url(url)).search())
        assert (question.target.username, question.target.password) == expected
        assert question.target.db == 0


def test_node_of_a_slot_is_found_and_every_node_is_known_from_then_on() -> None:
    locator = ClusterNodes(parse_url(CLUSTER), slot=7)
    spans = [
        [8, 16383, [b"c.example", 3, b"id3"]],
        [0, 7, [b"", 9, b"id9"], [b"r.example", 4, b"i"]],
    ]
    server, asked = found(locator, {B: spans})
    assert (server.place, asked) == ("b.example:9", [A, B])  # no host: the one that was asked
    assert found(locator, {("r.example", 4): spans})[1][0] == B
    locator.moved(("d.example", 5))
    assert found(locator, {})[0].place == "d.example:5"
    with pytest.raises(RedisConnectionError, match="slot 7"):
        found(locator, {})


garbage = st.recursive(
    st.none() | st.integers() | st.binary() | st.builds(ResponseError, st.text()),
    lambda inner: st.lists(inner, max_size=5),
)


@given(garbage)
def test_garbage_for_an_answer_is_no_server_and_no_crash(answer: Any) -> None:
    for locator in (Sentinels(parse_url(SENTINELS)), ClusterNodes(parse_url(CLUSTER), slot=7)):
        try:
            server, _ = found(locator, {A: answer, B: answer, C: answer})
        except RedisConnectionError:
            continue
        assert server.port >= 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("READONLY You can't write against a read only replica.", Detour.LEAVE),
        (
            "READONLY You can't write against a read only replica. script: 8d, on @user_script:1.",
            Detour.LEAVE,
        ),
        (
            "ERR Error running script (call to f_8d): @user_script:1: -READONLY You can't write",
            Detour.LEAVE,
        ),
        ("UNBLOCKED force unblock from blocking operation, instance state changed", Detour.LEAVE),
        ("NOREPLICAS Not enough good replicas to write.", Detour.LEAVE),
        ("LOADING Redis is loading the dataset in memory", Detour.LEAVE),
        ("MASTERDOWN Link with MASTER is down", Detour.LEAVE),
        ("CLUSTERDOWN The cluster is down", Detour.LEAVE),
        ("MOVED 3999 127.0.0.1:6381", Detour.MOVED),
        ("ASK 3999 127.0.0.1:6381", Detour.ASK),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Detour.WAIT),
        ("MOVED nonsense", None),
        ("ERR READONLY is a nice word", None),
        ("WRONGTYPE Operation against a key", None),
        ("NOSCRIPT No matching script", None),
    ],
)
def test_refusals_are_told_from_errors(text: str, expected: Detour | None) -> None:
    error = parse_error(text)
    assert detour_of(error) is expected
    assert detour_of([b"OK", error], 2) is None  # one of the steps has run
    assert detour_of([error, error], 2) is expected
    assert detour_of([b"OK", error, ExecAbortError("Transaction discarded")], 3) is expected
    assert detour_of([b"a", [error]]) is None


def test_command_is_read_from_its_bytes() -> None:
    assert command_name(pack(("evalsha", "x", 0))) == b"EVALSHA"


def test_pauses_between_attempts_grow_to_a_second_and_never_overflow() -> None:
    assert _pause(1) < 0.05
    assert all(0.5 <= _pause(failures) <= 1.0 for failures in (10, 1_100, 10**6))
