"""What this runtime cannot do."""

from am2z import Capability

LACKS = {
    Capability.DURABLE: "states, sessions and dead letters are those of one process",
    Capability.MULTI_WORKER: "states, sessions and events are those of one process",
    Capability.NAMESPACES: "states and sessions are in no namespace",
    Capability.VIRTUAL_TIME: "times are Redis's",
}
