"""Every example of the pages in ``docs/`` runs as written, and prints what the page says it prints.

The ``python`` blocks of a page are run in order, as one program. A block whose first line is
``# file: NAME`` is written to a file of that name instead, before the program starts. An ``output``
block is what the block before it prints.
"""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import am2z
from am2z import EventType, ResourceLimits, RuntimeConfig
from harness.servers import CHOICES

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# file: (\S+)\n")
MARK = "\x1e"

DRIVER = """
import json, sys, types
blocks = json.load(sys.stdin)
page = types.ModuleType("page")
sys.modules["page"] = page
for block in blocks:
    exec(compile(block, "docs", "exec"), vars(page))
    print(chr(0x1e), end="", flush=True)
"""


def page(name):
    return (ROOT / "docs" / f"{name}.md").read_text()


def files_and_program(text):
    """The files of a page by name, and its program: pairs of a block and what it prints."""
    files, program, line = {}, [], None
    for match in FENCE.finditer(text):
        language, body = match.groups()
        if language == "python" and (named := FILE.match(body)):
            files[named[1]] = body[named.end() :]
            line = None
        elif language == "python":
            # Blank lines in front give the traceback the page's own line numbers.
            line = text.count("\n", 0, match.start()) + 1
            program.append(["\n" * line + body, None])
        elif language == "output" and line is not None:
            program[-1][1] = body
    return files, program


def run(folder, *arguments, told=None):
    path = os.pathsep.join([str(ROOT), str(folder)])
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder, input=told,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def write(folder, files):
    for name, body in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(body)


@pytest.mark.parametrize(
    "path", [path for path in PAGES if files_and_program(path.read_text())[1]], ids=lambda p: p.stem
)
def test_program_of_each_page_runs_and_prints_what_the_page_says(path, tmp_path):
    files, program = files_and_program(path.read_text())
    write(tmp_path, files)
    done = run(tmp_path, "-c", DRIVER, told=json.dumps([block for block, _ in program]))
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(MARK)
    for (_, expected), actual in zip(program, printed[:-1], strict=True):
        if expected is not None:
            assert actual == expected


def test_program_of_the_concepts_prints_the_same_on_a_queue(tmp_path):
    _, program = files_and_program(page("concepts"))
    blocks = [  # each on a server of its own, as each LocalRuntime is alone
        block.replace("LocalRuntime(", f"QueueRuntime('fake://{number}', ")
        for number, (block, _) in enumerate(program)
    ]
    blocks.insert(0, "from am2z import QueueRuntime")
    done = run(tmp_path, "-c", DRIVER, told=json.dumps(blocks))
    assert done.returncode == 0, done.stderr
    said = "".join(expected for _, expected in program)
    assert done.stdout.replace(MARK, "") == said


def test_example_tests_of_the_page_on_testing_pass(tmp_path):
    files, _ = files_and_program(page("testing"))
    write(tmp_path, files)
    done = run(
        tmp_path, "-m", "pytest", "-p", "harness.plugin", "-p", "no:cacheprovider",
        "--strict-markers", "--strict-config", "-v", "--am2z-redis=fake",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[local] PASSED" in done.stdout
    assert "[queue[fake]] PASSED" in done.stdout


@pytest.fixture(scope="module")
def own_runtime(tmp_path_factory):
    """A folder with the package of the page on runtimes."""
    folder = tmp_path_factory.mktemp("own")
    files, _ = files_and_program(page("writing-a-runtime"))
    write(folder, files)
    return folder


def conformance(folder, *arguments):
    return run(folder, "-m", "am2z", "conformance", *arguments, "--redis", "fake")


def test_verdicts_on_the_runtimes_of_the_page_are_those_that_it_names(own_runtime):
    done = conformance(own_runtime, "mypkg.testing:my_runtime", "mypkg.careless:declared")
    assert re.findall(r"^(\w+): ([A-Z-]+) ", done.stdout, re.MULTILINE) == [
        ("journal", "CONFORMANT"),
        ("careless", "PARTIAL"),
    ], done.stdout + done.stderr


def test_failure_that_the_page_shows_is_told_so(own_runtime):
    done = conformance(own_runtime, "mypkg.careless:undeclared", "-k", "REG-003")
    assert done.returncode == 1
    assert "careless: NON-CONFORMANT" in done.stdout
    shown = next(b for _, b in FENCE.findall(page("writing-a-runtime")) if "REG-003  MUST" in b)
    for line in shown.splitlines():
        # Ids, times and line numbers differ from run to run.
        if line and not re.search(r"^ +\d|registration\.py:|\.\.\.|seed", line):
            assert line in done.stdout


def test_project_of_the_page_runs_its_suite_under_pytest(own_runtime):
    done = run(
        own_runtime, "-m", "pytest", "-p", "harness.plugin", "-p", "no:cacheprovider",
        "--strict-markers", "--strict-config", "-q", "--am2z-redis=fake",
        "-k", "REG-003 or LIF-001",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def anchors(text):
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_link_of_a_page_leads_somewhere(path):
    text = path.read_text()
    broken = []
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert broken == []


def missing(names, text):
    return sorted(name for name in names if not re.search(rf"\b{re.escape(name)}\b", text))


def test_every_page_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert [path.name for path in PAGES if f"docs/{path.name}" not in readme] == []


def test_every_setting_is_explained():
    text = page("operating")
    assert missing(RuntimeConfig.__struct_fields__, text) == []
    assert missing(ResourceLimits.__struct_fields__, text) == []


def test_every_event_and_every_error_is_in_the_concepts():
    text = page("concepts")
    assert missing(EventType, text) == []
    exported = (getattr(am2z, name) for name in am2z.__all__)
    errors = {
        item.__name__
        for item in exported
        if inspect.isclass(item) and issubclass(item, am2z.AM2ZError)
    }
    assert missing(errors, text) == []


def test_every_logger_of_the_library_is_named():
    text, found = page("operating"), {"am2z.local_runtime", "am2z.queue_runtime"}
    for source in (ROOT / "am2z").rglob("*.py"):
        found |= set(re.findall(r"getLogger\(\"(am2z\.\w+)\"\)", source.read_text()))
    assert missing(found, text) == []


def test_every_script_is_explained():
    scripts = {path.stem for path in (ROOT / "am2z/queue/scripts").glob("[!_]*.lua")}
    assert missing(scripts, page("protocol")) == []


def test_every_kind_of_key_is_explained():
    text, found = page("protocol"), set()
    for path in (ROOT / "am2z/queue/scripts").glob("*.lua"):
        found |= set(re.findall(r"P \.\. '([a-z]+:?)", path.read_text()))
    assert {key for key in found if f"`{key}" not in text} == set()


def test_every_choice_of_a_server_is_explained():
    assert missing(CHOICES, page("testing")) == []
