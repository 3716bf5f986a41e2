"""Several servers that belong together: a master with its replica and sentinels, and a cluster."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

LOOPBACK = "127.0.0.1"
SERVICE = "orders"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 15.0) -> Any:
    """Wait, outside trio, until ``condition`` gives something; a Redis error counts as not yet."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if found := condition():
                return found
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(0.005)


class Node:
    """A server process on a loopback port, in a directory of its own."""

    def __init__(self, folder: Path, program: str, port: int, *options: str, **access: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.program = program
        self.port = port
        self.address = f"{LOOPBACK}:{port}"
        self.options = options
        self.access = access
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Node:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *self.options, "--dir", str(self.folder)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        with self.admin() as admin:
            wait_for(admin.ping, f"{self.program} on port {self.port}")
        return self

    def admin(self) -> redis.Redis:
        never = Retry(NoBackoff(), 0)
        return redis.Redis(LOOPBACK, self.port, protocol=2, retry=never, **self.access)

    def ask(self, *command: Any) -> Any:
        with self.admin() as admin:
            admin.response_callbacks.clear()
            return admin.execute_command(*command)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Fleet:
    """Server processes that end together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []

    def start(self, program: str, port: int, *options: str, **access: Any) -> Node:
        node = Node(self.folder / str(port), program, port, *options, **access)
        self.nodes.append(node)
        return node.start()

    def server(self, *options: str, port: int | None = None, **access: Any) -> Node:
        port = free_ports(1)[0] if port is None else port
        listen = () if "--tls-port" in options else ("--port", str(port))
        return self.start(
            "redis-server", port, *listen, "--bind", LOOPBACK, "--save", "", *options, **access
        )

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


class Sentinels(Fleet):
    """A master, its replica and three sentinels that are quick to act."""

    def __init__(self, folder: Path, *options: str, user_info: str = "") -> None:
        super().__init__(folder)
        quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        self.master = self.server(*quick)
        self.replica = self.server(*quick, "--replicaof", LOOPBACK, str(self.master.port))
        wait_for(lambda: b"up" in self.replica.ask("INFO", "replication").split(b"link_status:")[1],
                 "the replica to follow")  # fmt: skip
        self.sentinels = [self._sentinel(port, *options) for port in free_ports(3)]
        wait_for(lambda: all(self._sees_all(one) for one in self.sentinels), "the sentinels")
        places = ",".join(one.address for one in self.sentinels)
        self.url = f"redis+sentinel://{user_info}{places}/{SERVICE}"

    def _sentinel(self, port: int, *options: str) -> Node:
        folder = self.folder / str(port)
        folder.mkdir(parents=True)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind {LOOPBACK}\n"
            f"sentinel monitor {SERVICE} {LOOPBACK} {self.master.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} 300\n"
            f"sentinel failover-timeout {SERVICE} 2000\n" + "\n".join(options) + "\n"
        )
        return self.start("redis-sentinel", port, str(config))

    def _sees_all(self, sentinel: Node) -> bool:
        fields = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(fields[::2], fields[1::2], strict=True))
        return (facts[b"num-slaves"], facts[b"num-other-sentinels"]) == (b"1", b"2")

    def master_port(self) -> int:
        """The master's port as the first sentinel knows it."""
        return int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])


class Cluster(Fleet):
    """Three nodes that share the slots."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.masters = [self._node() for _ in range(3)]
        places = [node.address for node in self.masters]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *places, "--cluster-yes"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wait_for(lambda: all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO")
                             for node in self.masters), "the cluster")  # fmt: skip
        self.url = f"redis+cluster://{','.join(places)}"

    def _node(self) -> Node:
        port, bus = free_ports(2)
        return self.server(
            *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
            *("--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"),
            port=port,
        )

    def add_replica(self, master: Node) -> Node:
        """One more node, which takes the master's place if that dies."""
        replica = self._node()
        bus = next(option for last, option in pairwise(replica.options) if last == "--cluster-port")
        name = master.ask("CLUSTER", "MYID")
        for node in self.masters:
            node.ask("CLUSTER", "MEET", LOOPBACK, replica.port, bus)
        wait_for(lambda: replica.ask("CLUSTER", "NODES").count(b" connected ") == 3, "the meeting")
        wait_for(lambda: replica.ask("CLUSTER", "REPLICATE", name), "the replica")
        wait_for(lambda: replica.ask("ROLE")[3] == b"connected", "the replica to follow")
        wait_for(lambda: all(node.ask("CLUSTER", "NODES").count(b" slave ") for node in self.masters
                             if node is not master), "all to know the replica")  # fmt: skip
        return replica

    def owner(self, key: str) -> Node:
        """The node that itself believes that it serves ``key``."""
        slot = self.slot(key)
        return next(node for node in self.masters if self._serves(node, slot))

    def slot(self, key: str) -> int:
        return int(self.masters[0].ask("CLUSTER", "KEYSLOT", key))

    def _serves(self, node: Node, slot: int) -> bool:
        own = node.ask("CLUSTER", "MYID")
        return any(
            span[0] <= slot <= span[1] and span[2][2] == own
            for span in node.ask("CLUSTER", "SLOTS")
        )

    def begin_move(self, key: str) -> tuple[Node, Node]:
        """Open the slot of ``key`` for a move; where from, and where to."""
        source = self.owner(key)
        target = next(node for node in self.masters if node is not source)
        slot = self.slot(key)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
        return source, target

    def move_keys(self, key: str, source: Node, target: Node, most: int = 10_000) -> int:
        """Move keys of the slot of ``key``; how many there were."""
        keys = source.ask("CLUSTER", "GETKEYSINSLOT", self.slot(key), most)
        if keys:
            source.ask("MIGRATE", LOOPBACK, target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, key: str, source: Node, target: Node) -> None:
        """The slot of ``key`` is the target's from now on."""
        slot, owner = self.slot(key), target.ask("CLUSTER", "MYID")
        for node in (target, source, *self.masters):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", owner)


def missing(*programs: str) -> str | None:
    """The first program that is not on PATH."""
    return next((one for one in programs if shutil.which(one) is None), None)
