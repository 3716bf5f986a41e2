"""``am2z dead``: executions that failed for good, to look at, run again or drop."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime

import msgspec
import trio

from am2z.cli.servers import add_server_options, servers_of
from am2z.codec import decode_mapping
from am2z.dead import DeadLetter, DeadLetters
from am2z.errors import AM2ZError, NetworkError

__all__ = ["EXAMPLES", "HELP", "NAME", "configure", "run"]

NAME = "dead"
HELP = "list, show, retry or drop executions that failed for good"
EXAMPLES = """
  am2z dead list --redis redis://localhost:6379/0
  am2z dead list --processor charge --json
  am2z dead show u5hcx2gq4kq7zfzb
  am2z dead retry --all --processor charge
  am2z dead drop u5hcx2gq4kq7zfzb
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and options."""
    parser.add_argument("action", choices=("list", "show", "retry", "drop"))
    parser.add_argument("execution", nargs="*", metavar="ID", help="the executions to act on")
    parser.add_argument(
        "--all", action="store_true", help="retry or drop every one (of --processor)"
    )
    parser.add_argument("--processor", metavar="NAME", help="only those of one processor")
    parser.add_argument(
        "--limit", type=int, default=100, help="list at most so many (default: 100)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    add_server_options(parser)
    parser.add_argument("--namespace", default="am2z", help="the namespace (default: am2z)")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked. 1 where an execution is not there or cannot be retried."""
    wants_ids = arguments.action != "list" and not arguments.all
    if wants_ids and not arguments.execution:
        advice = "or --all" if arguments.action != "show" else "as `am2z dead list` prints them"
        print(f"am2z: which one? give the ids of executions, {advice}", file=sys.stderr)
        return 2
    try:
        return trio.run(_run, arguments)
    except NetworkError as error:
        print(f"am2z: {error}", file=sys.stderr)
        return 1


async def _run(arguments: argparse.Namespace) -> int:
    from am2z.queue import QueueRuntime  # noqa: PLC0415 - brings redis, which other commands spare

    servers = servers_of(arguments)
    runtime = QueueRuntime(
        servers.urls, namespace=arguments.namespace, role="client", shards=servers.shards
    )
    async with runtime:
        if arguments.action == "list":
            letters = await runtime.dead.list(arguments.processor, limit=arguments.limit)
            _print_list(letters, as_json=arguments.json)
            return 0
        ids = arguments.execution
        if arguments.all:
            letters = await runtime.dead.list(arguments.processor, limit=sys.maxsize)
            ids = [letter.execution_id for letter in letters]
        answers = [
            await _act(runtime.dead, arguments.action, name, as_json=arguments.json) for name in ids
        ]
        return 0 if all(answers) else 1


async def _act(dead: DeadLetters, action: str, name: str, *, as_json: bool) -> bool:
    if action == "show":
        letter = await dead.get(name)
        if letter is not None:
            _print_letter(letter, as_json=as_json)
        found = letter is not None
    elif action == "drop":
        found = await dead.drop(name)
        if found:
            print(f"{name}: dropped")
    else:
        try:
            new_id = await dead.retry(name)
        except AM2ZError as error:
            print(f"{name}: not retried: {error}", file=sys.stderr)
            return False
        found = new_id is not None
        if found:
            print(f"{name}: runs again as {new_id}")
    if not found:
        print(f"{name}: no such dead letter", file=sys.stderr)
    return found


def _print_list(letters: list[DeadLetter], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_plain(letter) for letter in letters], indent=2, default=repr))
        return
    for letter in letters:
        when = _local_time(letter.failed_at)
        print(f"{letter.execution_id}  {when}  {letter.processor_name}  {_one_line(letter)}")
    if not letters:
        print("no dead letters")


def _print_letter(letter: DeadLetter, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_plain(letter), indent=2, default=repr))
        return
    print(f"execution  {letter.execution_id}")
    print(f"processor  {letter.processor_name}")
    print(f"session    {letter.session_id if letter.session_id is not None else '(none)'}")
    print(f"failed at  {_local_time(letter.failed_at)}")
    print(f"error      {type(letter.error).__name__}: {letter.error}")
    for note in getattr(letter.error, "__notes__", ()):
        print("  " + str(note).replace("\n", "\n  "))
    print(f"state      {letter.state_type or '(cannot be read)'}")
    print(json.dumps(_state(letter), indent=2, default=repr))


def _plain(letter: DeadLetter) -> dict[str, object]:
    return {
        "execution_id": letter.execution_id,
        "processor_name": letter.processor_name,
        "session_id": letter.session_id,
        "failed_at": letter.failed_at,
        "error": letter.error.to_dict(),
        "state_type": letter.state_type,
        "state": _state(letter),
    }


def _state(letter: DeadLetter) -> object:
    """The input as plain data: its class need not be importable here."""
    try:
        return msgspec.to_builtins(decode_mapping(letter.data))
    except AM2ZError:
        return f"{len(letter.data)} bytes that cannot be read"


def _one_line(letter: DeadLetter) -> str:
    return f"{type(letter.error).__name__}: {' '.join(str(letter.error).split())[:80]}"


def _local_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
