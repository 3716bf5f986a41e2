"""Removes each check from each script in turn, and says which fast test fails for it.

    python -m tests.distributed.protocol.mutate                # all, into docs/script-checks.md
    python -m tests.distributed.protocol.mutate claim _finish  # these only, printed

A check is removed by changing the script's text: a condition becomes true or false, one side of an
``and`` or ``or`` goes, and so does a bound. The tests of this folder then run against the changed
scripts, in a process of their own, until the first of them fails.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SCRIPTS = ROOT / "am2z" / "queue" / "scripts"
PAGE = ROOT / "docs" / "script-checks.md"
FILES = ("execution", "checks", "sessions", "recovery", "transcript", "garbage")
LIMIT = 60.0
"""Seconds for the tests of one change; a script that runs for ever is a failure too."""

INTRODUCTION = (
    "{} times one check was removed from one of the [scripts](protocol.md#scripts), and the fast "
    "tests of the protocol were run: {} times a test failed. Of the others the table says why no "
    "test can."
)

_CONDITION = re.compile(r"\b(?:if|elseif) (.+?) then\b")
_CHOICE = re.compile(
    r"(?:[({,]|(?<![=~<>])= |return )\s*((?:[^(){},=]|[=~<>]= ?|\([^()]*\))+?) and [^()]+? or "
)
_WHILE = re.compile(r"\bwhile (.+? (?:and|or) .+?) do\b")
_BOUNDS = (
    (re.compile(r"math\.(?:max|min)\(((?:[^(),]|\([^()]*\))+), ((?:[^()]|\([^()]*\))+)\)"), (1, 2)),
    (re.compile(r"'XX', "), ("",)),
    (re.compile(r"'\(' \.\. "), ("",)),
    (re.compile(r"'\(0'"), ("'0'",)),
    (re.compile(r"'MAXLEN', '~', '10000', "), ("",)),
    (re.compile(r", 'PX', ttl"), ("",)),
    (re.compile(r"^ *call\('(?:PEXPIRE|PERSIST|LTRIM|DEL|ZREM|SREM|HDEL)'.*\)$"), ("",)),
)

NAMED = (
    ("enqueue", "past.proc == proc and ", ""),
    ("enqueue", "past.group == (group == '' and '-' or group)", "true"),
    ("enqueue", "and past.hash == (hash == '' and '-' or hash)", ""),
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

HARMLESS: dict[tuple[str, str, str], str] = {
    # (script, text, change): why no test can tell
}


@dataclass(frozen=True)
class Mutant:
    """One check that is gone."""

    script: str
    line: int
    before: str
    after: str

    def write(self, folder: Path) -> None:
        for source in SCRIPTS.glob("*.lua"):
            shutil.copy(source, folder)
        path = folder / f"{self.script}.lua"
        lines = path.read_text().split("\n")
        assert lines[self.line] == self.before
        lines[self.line] = self.after
        path.write_text("\n".join(lines))


def mutants(name: str) -> Iterator[Mutant]:
    """Every check of one script, removed."""
    for number, line in enumerate((SCRIPTS / f"{name}.lua").read_text().split("\n")):
        code = line.split("--")[0].rstrip()
        seen = {code}
        named = (code.replace(old, new) for script, old, new in NAMED if script == name)
        for after in [*changes(code), *named]:
            if after not in seen:
                seen.add(after)
                yield Mutant(name, number, line, after)


def changes(code: str) -> Iterator[str]:
    for found in [*_CONDITION.finditer(code), *_WHILE.finditer(code)]:
        start, end = found.span(1)
        for other in without(found[1]):
            yield code[:start] + other + code[end:]
    for choice in () if _CONDITION.search(code) else _CHOICE.finditer(code):
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
    if len(parts) == 1 and condition.startswith("not (") and condition.endswith(")"):
        yield from (f"not ({part})" for part in without(condition[5:-1]))
    if len(parts) == 1:
        yield "true"
        yield "false"
    for index in range(0, len(parts) if len(parts) > 1 else 0, 2):
        if index == 0:
            yield " ".join(parts[2:])
        else:
            yield " ".join([*parts[: index - 1], *parts[index + 1 :]])


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


def run(mutant: Mutant) -> str:
    """The first test that fails; empty where none does."""
    with tempfile.TemporaryDirectory(prefix="am2z-mutant-") as name:
        mutant.write(Path(name))
        options = ["-x", "-q", "--no-header", "-rfE", "-p", "no:randomly", "-p", "no:cacheprovider"]
        child = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests()],
            cwd=ROOT,
            env={**os.environ, "AM2Z_SCRIPTS": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # its server has to end with it
        )
        try:
            output, _ = child.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return "(a script never ends)"
    if child.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return found[1] if found else f"(pytest ended with {child.returncode})"


def tests() -> list[str]:
    return [str(path) for one in FILES if (path := HERE / f"test_protocol_{one}.py").exists()]


def page(results: list[tuple[Mutant, str]]) -> str:
    """The table as Markdown."""
    caught = sum(1 for _, test in results if test)
    rows = [
        "# Every check of every script, and the test that misses it",
        "",
        INTRODUCTION.format(len(results), caught),
        "",
        "Made by `python -m tests.distributed.protocol.mutate`; it takes some minutes.",
    ]
    script = ""
    for mutant, test in results:
        if mutant.script != script:
            script = mutant.script
            rows += ["", f"## `{script}`", "", "| line | becomes | caught by |", "|---|---|---|"]
        before, after = cell(mutant.before.split("--")[0]), cell(mutant.after)
        rows.append(f"| {before} | {after} | {verdict(mutant, test)} |")
    return "\n".join(rows) + "\n"


def verdict(mutant: Mutant, test: str) -> str:
    if test:
        file, _, name = test.removesuffix(".py").rpartition("::")
        return f"`{name}`" if file else test
    key = (mutant.script, mutant.before.split("--")[0].strip(), mutant.after.strip())
    return HARMLESS.get(key, "**nothing**")


def cell(text: str) -> str:
    return f"`{text.strip()}`".replace("|", "\\|") if text.strip() else "(gone)"


def main(names: list[str]) -> None:
    """Try the mutants of the named scripts, or of all; the table goes to the page if of all."""
    chosen = names or sorted(path.stem for path in SCRIPTS.glob("*.lua") if path.stem != "_time")
    todo = [mutant for name in chosen for mutant in mutants(name)]
    with ThreadPoolExecutor(int(os.environ.get("AM2Z_MUTATE_JOBS", "2"))) as pool:
        results = []
        for mutant, test in zip(todo, pool.map(run, todo), strict=True):
            results.append((mutant, test))
            if not test:
                print(mutant.script, "|", mutant.before.strip(), "->", mutant.after.strip())
                print("    ", verdict(mutant, test), flush=True)
    text = page(results)
    if names:
        print(text)
    else:
        PAGE.write_text(text)
    print(f"{len(results)} changes, {sum(1 for _, test in results if not test)} not noticed")


if __name__ == "__main__":
    main(sys.argv[1:])
