"""RESP is cut into messages at the right places, whatever the pieces are that it comes in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.resp import Messages, arguments, is_push

REPLIES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$7\r\na\r\nb*1\r\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*1\r\n$1\r\na\r\n:3\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(123456789012345678901234567890\r\n",
    b"=8\r\ntxt:text\r\n",
    b"!5\r\nERR x\r\n",
    b"~2\r\n+a\r\n+b\r\n",
    b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
    b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
    b">2\r\n+message\r\n+x\r\n",
]


@given(st.lists(st.sampled_from(REPLIES)), st.data())
def test_messages_are_whole_however_they_are_cut(replies, data):
    stream, messages, found = b"".join(replies), Messages(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += messages.feed(stream[:size])
        stream = stream[size:]
    assert found == replies


@given(st.lists(st.binary(), min_size=1))
def test_a_command_gives_its_words(words):
    packed = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)
    [message] = Messages(inline=True).feed(packed)
    assert arguments(message) == tuple(words)


def test_a_line_is_a_command_too():
    messages = Messages(inline=True)
    assert [arguments(m) for m in messages.feed(b"PING\r\n\r\nget  a\r\n")] == [
        (b"PING",), (), (b"get", b"a"),
    ]  # fmt: skip


@pytest.mark.parametrize("garbage", [b"hello\r\n", b"$x\r\n", b"*1\r\nhello\r\n"])
def test_what_is_no_resp_is_refused(garbage):
    with pytest.raises(ValueError, match=r"RESP|invalid literal"):
        list(Messages().feed(garbage))


def test_a_command_that_holds_no_strings_is_refused():
    with pytest.raises(ValueError, match="made of strings"):
        arguments(b"*1\r\n:1\r\n")


def test_only_pushes_are_pushes():
    assert [message for message in REPLIES if is_push(message)] == [REPLIES[-1]]
