"""The checks of the Lua scripts, each removed by a change of one line of a script's text.

A condition becomes true or false, one side of an ``and`` or ``or`` goes, and so does a bound, or a
line that only takes something away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parents[3] / "am2z" / "queue" / "scripts"

_CONDITION = re.compile(r"\b(?:if|elseif) (.+?) then\b")
_CHOICE = re.compile(
    r"(?:[({,]|(?<![=~<>])= |return )\s*((?:[^(){},=]|[=~<>]= ?|\([^()]*\))+?)"
    r" and (?:[^()]|\([^()]*\))+? or "
)
_WHILE = re.compile(r"\bwhile (.+? (?:and|or) .+?) do\b")
_TAKING = r"PEXPIRE|PERSIST|LTRIM|DEL|ZREM|SREM|HDEL|LPOP|ZREMRANGEBY\w+"
_BOUNDS = (
    (re.compile(r"math\.(?:max|min)\(((?:[^(),]|\([^()]*\))+), ((?:[^()]|\([^()]*\))+)\)"), (1, 2)),
    (re.compile(r"'XX', "), ("",)),
    (re.compile(r", 'LIMIT', '?0'?, [^)]+"), ("",)),
    (re.compile(r", 'MAXLEN', SHORT"), ("",)),
    (re.compile(r"'\(' \.\. "), ("",)),
    (re.compile(r"'\(0'"), ("'0'",)),
    (re.compile(r"'MAXLEN', '~', '10000', "), ("",)),
    (re.compile(r", 'PX', (?:\w+|'\d+')"), ("",)),
    (re.compile(r"'NX', "), ("",)),
    (re.compile(rf"^ *call\('(?:{_TAKING})'.*\)$"), ("",)),
)

NAMED = (
    ("enqueue", "past.proc == proc and ", ""),
    ("enqueue", "past.group == (group == '' and '-' or group)", "true"),
    ("enqueue", "and past.hash == (hash == '' and '-' or hash)", ""),
    ("_session", "if group == '' then return false end", ""),
    ("_session", "is_any_stopping and call", "call"),
    ("_session", "call('HGET', P .. 's:' .. group, 'stopped')", "false"),
    ("cancel", "past.why == ARGV[3] and 'ok' or 'finished'", "'ok'"),
    ("cancel", "past.why == ARGV[3] and 'ok' or 'finished'", "'finished'"),
    ("nack", "past and past.why == 'stopped' and", "past and"),
    ("claim", "looks = looks - #groups - #picked", ""),
    ("_finish", "why == 'stopped' and 'stopped' or 'cancelled'", "'stopped'"),
    ("_finish", "why == 'stopped' and 'stopped' or 'cancelled'", "'cancelled'"),
    ("_finish", "budget = budget - 1", ""),
    ("_finish", "status == 'D' and 'completed' or job.n and 'failed' or 'dropped'", "'failed'"),
    ("_fence", "first = previous + 1", ""),
    ("_fence", "int(first + n - 1)", "int(first)"),
    ("_result", "string.sub(entry, 1, head) .. '*' or entry", "entry"),
    ("stop_session", "left = left - n", ""),
    ("stop_session", "left = left - 1", ""),
)
"""Checks that no pattern finds: the script, its text, and what becomes of it."""


@dataclass(frozen=True)
class Mutant:
    """One check that is gone."""

    script: str
    line: int
    before: str
    after: str

    def text(self, script: str) -> str:
        """The changed script; ``script`` is the text that it has."""
        lines = script.split("\n")
        assert lines[self.line] == self.before, "the scripts were changed meanwhile"
        lines[self.line] = self.after
        return "\n".join(lines)

    @property
    def code(self) -> str:
        return self.before.split("--")[0].strip()


def texts() -> dict[str, str]:
    """Every script and include by its name."""
    return {path.stem: path.read_text() for path in sorted(SCRIPTS.glob("*.lua"))}


def mutants(name: str, script: str) -> Iterator[Mutant]:
    """Every check of one script, removed."""
    for number, line in enumerate(script.split("\n")):
        code = line.split("--")[0].rstrip()
        seen = {code}
        named = (code.replace(old, new) for owner, old, new in NAMED if owner == name)
        for after in [*changes(code), *named]:
            if after not in seen:
                seen.add(after)
                yield Mutant(name, number, line, after)


def changes(code: str) -> Iterator[str]:
    """One line of Lua without one of its checks, in every way."""
    for found in [*_CONDITION.finditer(code), *_WHILE.finditer(code)]:
        start, end = found.span(1)
        for other in without(found[1]):
            yield code[:start] + other + code[end:]
    body = max((found.end() for found in _CONDITION.finditer(code)), default=0)
    for choice in _CHOICE.finditer(code, body):
        start, end = choice.span(1)
        for other in ("true", "false"):
            yield code[:start] + other + code[end:]
    for pattern, replacements in _BOUNDS:
        for found in pattern.finditer(code):
            for new in replacements:
                text = found[new] if isinstance(new, int) else new
                yield code[: found.start()] + text + code[found.end() :]


def without(condition: str) -> Iterator[str]:
    """A condition with one part of it gone."""
    parts = split(condition)
    if len(parts) == 1:
        if condition.startswith("not (") and condition.endswith(")"):
            yield from (f"not ({part})" for part in without(condition[5:-1]))
        yield "true"
        yield "false"
        return
    yield " ".join(parts[2:])
    for index in range(2, len(parts), 2):
        yield " ".join([*parts[: index - 1], *parts[index + 1 :]])
    yield "false"


def split(condition: str) -> list[str]:
    """Operands and operators in turn; what stands in brackets is one operand."""
    parts, depth, start = [], 0, 0
    for found in re.finditer(r"[()]| (and|or) ", condition):
        if found[0] in "()":
            depth += 1 if found[0] == "(" else -1
        elif depth == 0:
            parts += [condition[start : found.start()], found[1]]
            start = found.end()
    return [*parts, condition[start:]]
