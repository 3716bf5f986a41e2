"""``am2z worker``: serve processors, in one process or in several."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import traceback
from typing import Any

import trio

import am2z
from am2z.cli.servers import add_server_options, servers_of
from am2z.cli.target import load_processors
from am2z.config import RuntimeConfig
from am2z.errors import AM2ZError
from am2z.processor import Processor

__all__ = ["EXAMPLES", "HELP", "NAME", "configure", "run"]

NAME = "worker"
HELP = "serve processors to whoever calls them through Redis"
EXAMPLES = """
  am2z worker shop.orders:processors      the list `processors` of the module shop.orders
  am2z worker shop.orders:price           one processor
  am2z worker shop.orders                 every processor in that module
  am2z worker shop.orders --redis redis://db.example:6379/0 --namespace shop --processes 4
  am2z worker shop.orders --redis redis://one.example --redis redis://two.example
                                          on two servers, each with a part of the sessions

Modules of the current folder are found. Start as many workers as you like, on as many machines:
each takes what it knows, and callers find them through Redis.

signals:
  SIGTERM            claim no more, let what runs end for --grace seconds, give the rest back
  SIGTERM again,     give back what runs now; another worker takes it, and the attempt is not
  SIGINT (Ctrl-C)    counted
  SIGKILL            loses nothing: what ran is taken by another worker after --lease seconds

exit status:
  0 stopped, 1 failed (no Redis, a module that cannot be imported), 2 the command makes no sense,
  130 interrupted
"""

_DEFAULTS = RuntimeConfig()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="module:attribute (a processor, or an iterable of them), or a module with processors",
    )
    add_server_options(parser)
    parser.add_argument(
        "--namespace", metavar="NS", default="am2z", help="the namespace (default: am2z)"
    )
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=int,
        default=_DEFAULTS.concurrency,
        help=f"how many executions run at once in a process (default: {_DEFAULTS.concurrency})",
    )
    parser.add_argument(
        "--processes",
        metavar="M",
        type=_at_least_one,
        default=1,
        help="how many worker processes; one that crashes is replaced (default: 1)",
    )
    parser.add_argument(
        "--lease",
        metavar="S",
        type=float,
        default=_DEFAULTS.lease,
        help="seconds of silence after which a worker's work is given to another (default: "
        f"{_DEFAULTS.lease:g}); the same for all workers of a namespace",
    )
    parser.add_argument(
        "--grace",
        metavar="S",
        type=float,
        default=_DEFAULTS.shutdown_grace,
        help="seconds that what runs has to end after SIGTERM (default: "
        f"{_DEFAULTS.shutdown_grace:g})",
    )
    parser.add_argument("--supervised", type=int, help=argparse.SUPPRESS)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few, give at least 1")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. Raises ``ConfigurationError`` for what makes no sense."""
    try:
        processors = load_processors(arguments.target)
    except AM2ZError:
        raise
    except Exception:
        traceback.print_exc()
        print(
            f"am2z: {arguments.target.partition(':')[0]} cannot be imported; see above",
            file=sys.stderr,
        )
        return 1
    worker = _Worker(arguments, processors)
    try:
        return trio.run(worker.run)
    except AM2ZError as error:
        print(f"am2z: {error}", file=sys.stderr)
        return 1


class _Worker:
    """What the command line asks for."""

    def __init__(self, arguments: argparse.Namespace, processors: list[Processor[Any]]) -> None:
        from am2z.queue import QueueRuntime  # noqa: PLC0415 - brings redis, which others spare

        self._servers = servers = servers_of(arguments)
        config = RuntimeConfig(
            concurrency=arguments.concurrency,
            lease=arguments.lease,
            shutdown_grace=arguments.grace,
        )
        self._arguments = arguments
        # A parent makes one too and never enters it: so a mistake is told once, and at once.
        self._runtime = QueueRuntime(
            servers.urls,
            namespace=arguments.namespace,
            role="worker",
            config=config,
            shards=servers.shards,
        ).register(*processors)

    async def run(self) -> int:
        from am2z.cli.serve import say, serve  # noqa: PLC0415 - the same
        from am2z.cli.supervise import supervise  # noqa: PLC0415 - the same

        if self._arguments.supervised is not None:
            _log()
            line = socket.socket(fileno=self._arguments.supervised)
            line.set_inheritable(False)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(line))
            async with stream:
                return await serve(
                    self._runtime,
                    lambda: say(self._is_ready()),
                    lambda text: say(f"pid {os.getpid()}: {text}"),
                    stream,
                )
        if self._arguments.processes == 1:
            _log()
            return await serve(self._runtime, lambda: say(f"{self._banner()}\n{self._is_ready()}"))
        say(self._banner())
        surroundings = {**os.environ, **self._servers.environment}
        return await supervise(
            self._command(), self._arguments.processes, self._arguments.grace, surroundings
        )

    def _command(self) -> list[str]:
        """How a child of ours is started."""
        given = self._arguments
        options = {
            "namespace": given.namespace,
            "concurrency": given.concurrency,
            "lease": given.lease,
            "grace": given.grace,
        }
        words = [sys.executable, "-m", "am2z", NAME, given.target]
        if given.shards is not None:
            options["shards"] = given.shards
        words += [f"--{name}={value}" for name, value in options.items()]
        return [*words, "--supervised"]

    def _banner(self) -> str:
        config, names = self._runtime.config, self._runtime.list_processors()
        rows = [
            ("redis", self._servers.shown),
            ("namespace", self._arguments.namespace),
            ("processors", ", ".join(names)),
            ("at once", f"{config.concurrency} executions"),
            ("times", f"lease {config.lease:g} s, grace {config.shutdown_grace:g} s"),
        ]
        if self._arguments.processes > 1:
            rows.append(("processes", f"{self._arguments.processes}, parent {os.getpid()}"))
        lines = [f"am2z {am2z.__version__} worker"]
        lines += [f"  {label:<11} {text}" for label, text in rows]
        return "\n".join([*lines, "SIGTERM lets what runs end; again, or Ctrl-C, gives it back"])

    def _is_ready(self) -> str:
        return f"worker {self._runtime.runtime_id} serves, pid {os.getpid()}"


def _log() -> None:
    """Show what is logged, unless the module that was loaded has seen to that."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
