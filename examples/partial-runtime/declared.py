"""What this runtime cannot do, and what it does wrong today."""

from am2z import Capability

LACKS = {
    Capability.DURABLE: "lives in the memory of one process",
    Capability.MULTI_WORKER: "is caller and worker in one",
    Capability.NAMESPACES: "shares nothing that would need one",
}

KNOWN = {
    "EVT-005": "collects no metrics: nobody is there to read them",
    "EVT-022": "keeps no progress: follow the events",
    "EXE-028": "keeps no progress: follow the events",
}
