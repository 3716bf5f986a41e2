"""What this runtime cannot do."""

from am2z import Capability

LACKS = {
    Capability.MULTI_WORKER: "one process owns the file",
    Capability.NAMESPACES: "a namespace is a file of its own",
    Capability.VIRTUAL_TIME: "waits for the disk",
}
