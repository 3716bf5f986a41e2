"""The command line, ``am2z``: each subcommand is a module of this package.

A subcommand's module has ``NAME``, ``HELP``, ``EXAMPLES``, ``configure(parser)`` and
``run(arguments) -> exit status``; ``COMMANDS`` lists them in the order of the help.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import am2z
from am2z.cli import conformance, dead, diff, explain, report, rules, worker, zoo
from am2z.errors import AM2ZError

__all__ = ["COMMANDS", "main"]

COMMANDS: tuple[ModuleType, ...] = (worker, dead, conformance, diff, report, rules, explain, zoo)

USAGE_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and answer its exit status.

    0: fine; 1: a check failed; 2: the command makes no sense; 130: interrupted by Ctrl-C.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help()
        return USAGE_ERROR
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except AM2ZError as error:
        print(f"am2z: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("am2z: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `am2z rules | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="am2z",
        description="Processors that run in one process or on many machines, and the kit that "
        "proves that a runtime behaves.",
        epilog="`am2z COMMAND --help` explains a command, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"am2z {am2z.__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP[0].upper() + command.HELP[1:] + ".",
            epilog=f"examples:{command.EXAMPLES.rstrip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(sub)
        sub.set_defaults(run=command.run)
    return parser
