"""A Redis server of our own: a free port of loopback, no persistence, gone with the block."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = ["Server", "redis_server"]


class Server:
    """A running server, and what it tells of itself."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.pid = process.pid
        self._redis: Any = Redis.from_url(url)

    @property
    def version(self) -> str:
        """Its version."""
        return str(self._redis.info("server")["redis_version"])

    def flush(self) -> None:
        """Forget everything, and give the memory back."""
        self._redis.flushall(asynchronous=False)
        self._redis.script_flush()
        self._redis.execute_command("MEMORY", "PURGE")

    def cpu(self) -> float:
        """Seconds of the processor that it has used."""
        told = self._redis.info("cpu")
        return float(told["used_cpu_sys"] + told["used_cpu_user"])

    def memory(self) -> int:
        """Bytes that all of it takes."""
        return int(self._redis.info("memory")["used_memory"])

    def data(self) -> int:
        """Bytes that the keys and their values take, each looked at: clients and scripts do not."""
        found = 0
        with self._redis.pipeline(transaction=False) as pipe:
            for number, key in enumerate(self._redis.scan_iter("*", count=1000), 1):
                pipe.memory_usage(key, samples=0)
                if number % 1000 == 0:
                    found += sum(size or 0 for size in pipe.execute())
            return found + sum(size or 0 for size in pipe.execute())

    def keys(self) -> int:
        """How many keys there are."""
        return int(self._redis.dbsize())

    def keys_like(self, pattern: str) -> int:
        """How many keys match."""
        return sum(1 for _ in self._redis.scan_iter(pattern, count=1000))

    def commands(self) -> int:
        """How many commands it has executed, those of scripts included."""
        stats = self._redis.info("commandstats")
        return sum(int(entry["calls"]) for entry in stats.values())

    def close(self) -> None:
        """Close our own connection."""
        self._redis.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def redis_server() -> Iterator[Server]:
    """A server for the time of the block. Raises ``RuntimeError`` where none can be started."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is not on PATH; install Redis 6.2 or later (apt, brew)")
    with tempfile.TemporaryDirectory(prefix="am2z-bench-") as folder:
        port = _free_port()
        words = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        words += ["--save", "", "--appendonly", "no", "--logfile", str(Path(folder) / "log")]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        server = Server(f"redis://127.0.0.1:{port}/0", process)
        try:
            _wait_until_up(server, process)
            yield server
        finally:
            server.close()
            process.terminate()
            process.wait(10)


def _wait_until_up(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            server.keys()
        except RedisConnectionError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError("redis-server did not come up within 10 s")
