"""What this runtime cannot do, and what it does wrong today."""

from am2z import Capability

LACKS = {
    Capability.DURABLE: "states, sessions and dead letters are those of one process",
    Capability.MULTI_WORKER: "states, sessions and events are those of one process",
    Capability.NAMESPACES: "states and sessions are in no namespace",
    Capability.VIRTUAL_TIME: "times are Redis's",
}

QUEUED = "what waits in streaq's stream is in no statistics and has no priority yet"

KNOWN = {
    "EXE-015": QUEUED,
    "EXE-046": QUEUED,
    "RES-014": QUEUED,
    "SES-020": "work that streaq has not handed over when its session is stopped is not counted",
}
