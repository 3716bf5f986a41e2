"""Every example of the README runs, as written, in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run(folder, *command):
    path = os.pathsep.join([str(ROOT), str(folder)])
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def lines_of_code(block):
    return [line for line in block.splitlines() if line.strip()]


@pytest.fixture
def project(tmp_path):
    """A folder with the README's two files in it."""
    script, test = BLOCKS
    (tmp_path / "greet.py").write_text(script)
    (tmp_path / "test_greet.py").write_text(test)
    return tmp_path


def test_readme_has_a_script_of_20_lines_and_a_test_of_10():
    script, test = BLOCKS
    assert len(lines_of_code(script)) <= 20
    assert len(lines_of_code(test)) <= 10


def test_first_example_runs_on_both_runtimes(project):
    done = run(project, "greet.py")
    assert done.stdout.splitlines() == [
        "LocalRuntime says Hello Ada!",
        "QueueRuntime says Hello Ada!",
    ], done.stderr


def test_second_example_passes_on_both_runtimes(project):
    done = run(
        project, "-m", "pytest", "-p", "harness.plugin", "-W", "error",
        "--strict-markers", "--strict-config", "-p", "no:cacheprovider", "-v",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[local] PASSED" in done.stdout
    assert "[queue[fake]] PASSED" in done.stdout


def test_examples_folder_holds_the_first_example_as_the_readme_prints_it():
    example = (ROOT / "examples" / "greeting" / "greet.py").read_text()
    assert BLOCKS[0] in example


def test_every_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_nox_sessions_that_the_readme_names_exist():
    noxfile = (ROOT / "noxfile.py").read_text()
    named = set(re.findall(r"nox -s (\w+)", README))
    assert named
    assert {name for name in named if f"def {name}(" not in noxfile} == set()
