"""Coverage-guided fuzzing of what is decoded; for machines with time, and with atheris installed.

    pip install atheris
    python tests/fuzz/atheris_decoders.py -max_total_time=600

It stops at the first exception that is not the documented one, and writes the input to a file.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["am2z"]):
    from am2z import AM2ZError
    from am2z.codec import decode_error, decode_mapping
    from am2z.queue.client.resp import PythonReader
    from am2z.queue.client.transport import WIRE_ERRORS, _feed
    from am2z.queue.client.url import parse_url
    from am2z.queue.payload import Ending, Job
    from am2z.queue.wire import WireError, parse_event, parse_inbox


def one_input(data: bytes) -> None:
    """Give one input to every decoder."""
    for decode in (decode_error, decode_mapping, Job.decode, Ending.decode):
        with suppress(AM2ZError):
            decode(data)
    with suppress(WireError):
        parse_inbox(data)
    with suppress(WireError, ValueError):
        parts = data.split(b"\0")
        parse_event(b"1-1", dict(zip(parts[::2], parts[1::2], strict=True)))
    with suppress(*WIRE_ERRORS):
        _feed(PythonReader(), data)
    with suppress(AM2ZError):
        parse_url(data.decode("utf-8", "replace"))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
