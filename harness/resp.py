"""RESP, the protocol of Redis, cut into whole messages: enough for somebody who listens in.

A message is kept as the bytes that came, so passing it on changes nothing. Both versions of the
protocol are understood, with its pushes.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Messages", "arguments", "is_push"]

_LINES = b"+-:_#,("
"""Types that are one line."""
_STRINGS = b"$!="
"""Types whose length comes before the bytes."""
_CHILDREN = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
"""Types that hold others, and how many for each that they count."""


class Messages:
    """Whole messages out of pieces of bytes. ``inline``: a line without a type is one too.

    What has been looked at is not looked at again, however small the pieces are. ::

        messages = Messages()
        list(messages.feed(b"+OK\r\n$5\r\nhel"))  # [b'+OK\r\n']
        list(messages.feed(b"lo\r\n"))  # [b'$5\r\nhello\r\n']
    """

    def __init__(self, *, inline: bool = False) -> None:
        self._inline = inline
        self._buffer = bytearray()
        self._done = 0  # what of the first message has been looked at; may lie behind the buffer
        self._left = 1  # how many values are still to come until it is whole

    def feed(self, data: bytes | bytearray) -> Iterator[bytes]:
        """Take more bytes, and give each message that is whole now.

        Raises ``ValueError`` for bytes that are no RESP.
        """
        self._buffer += data
        while self._advance():
            message = bytes(self._buffer[: self._done])
            del self._buffer[: self._done]
            self._done, self._left = 0, 1
            yield message

    def _advance(self) -> bool:
        """Go as far as the bytes allow; whether the first message is whole."""
        buffer = self._buffer
        while self._left:
            end = buffer.find(b"\r\n", self._done) if self._done < len(buffer) else -1
            if end < 0:
                return False
            payload = self._read_line(buffer[self._done], bytes(buffer[self._done + 1 : end]))
            self._done = end + 2 + payload
        return self._done <= len(buffer)

    def _read_line(self, kind: int, rest: bytes) -> int:
        """Note how many values the head of one announces; answers how many bytes follow it."""
        self._left -= 1
        if kind in _STRINGS:
            return int(rest) + 2 if int(rest) >= 0 else 0
        if kind in _CHILDREN:
            self._left += max(int(rest), 0) * _CHILDREN[kind]
            if kind == ord("|"):
                self._left += 1  # it only stands before the value that it says something about
        elif kind not in _LINES and not (self._inline and self._done == 0):
            raise ValueError(f"no RESP: {bytes((kind,)) + rest!r:.80}")
        return 0


def arguments(message: bytes) -> tuple[bytes, ...]:
    """A command's words; an empty line has none. Raises ``ValueError`` for what is no command."""
    if not message.startswith(b"*"):
        return tuple(message.split())
    line, _, rest = message.partition(b"\r\n")
    words: list[bytes] = []
    for _ in range(int(line[1:])):
        head, _, rest = rest.partition(b"\r\n")
        if not head.startswith(b"$"):
            raise ValueError(f"a command is made of strings, not of {head!r:.80}")
        length = int(head[1:])
        words.append(rest[:length])
        rest = rest[length + 2 :]
    return tuple(words)


def is_push(message: bytes) -> bool:
    """Whether the server says this on its own account, and not as a reply."""
    return message.startswith(b">")
