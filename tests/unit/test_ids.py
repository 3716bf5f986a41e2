"""Identifiers are unique and plain; names are printable."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am2z.errors import ConfigurationError
from am2z.ids import MAX_NAME, check_execution_id, check_name, new_id
from am2z.typenames import type_name


def test_fresh_ids_are_16_plain_characters_and_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    for each in ids:
        assert len(each) == 16
        assert check_execution_id(each) == each
        assert set(each) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_a_forked_process_has_ids_of_its_own() -> None:
    program = """
import os
from am2z.ids import new_id
new_id()  # what is kept for later now exists
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, " ".join(new_id() for _ in range(200)).encode())
    os._exit(0)
os.wait()
theirs = set(os.read(read, 10_000).decode().split())
assert len(theirs) == 200
assert not theirs & {new_id() for _ in range(200)}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@given(st.text(min_size=1, max_size=MAX_NAME).filter(str.isprintable))
def test_whatever_can_be_printed_is_a_name(name: str) -> None:
    assert check_name(name, "session") == name


@pytest.mark.parametrize(
    "name", ["", "a\nb", "\x00", "\udc80", "x" * (MAX_NAME + 1), 7, None, b"a", print],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_a_name_is_refused_with_advice(name: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r"cannot be the name of a session: give .*256 printable"
    ) as caught:
        check_name(name, "session")
    assert len(str(caught.value)) < 250
    str(caught.value).encode()


@pytest.mark.parametrize("good", ["a", "A-Z_0.9", "x" * 200])
def test_letters_digits_and_three_marks_make_an_execution_id(good: str) -> None:
    assert check_execution_id(good) == good


@pytest.mark.parametrize("bad", ["", "a b", "a/b", "ä", "x" * 201, 5, None, "²", "a\n"])
def test_anything_else_is_no_execution_id(bad: object) -> None:
    with pytest.raises(ConfigurationError, match="A-Z a-z 0-9"):
        check_execution_id(bad)


def test_a_class_is_known_by_module_and_qualified_name() -> None:
    class Inner:
        pass

    name = type_name(Inner)
    assert name.startswith(f"{__name__}:")
    assert name.endswith("<locals>.Inner")


@pytest.mark.parametrize("how", ["file", "module", "command"])
def test_a_class_of_the_started_script_goes_by_the_scripts_own_name(
    how: str, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from am2z.typenames import type_name\n"
        "class Order: pass\n"
        "print(type_name(Order))\n"
    )
    (tmp_path / "shop.py").write_text(code)
    start = {"file": ["shop.py"], "module": ["-m", "shop"], "command": ["-c", code]}[how]
    out = subprocess.run(
        [sys.executable, *start], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    expected = "__main__:Order" if how == "command" else "shop:Order"
    assert out.stdout.strip() == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"__spec__": types.SimpleNamespace(name="shop.__main__")}, "shop:Order"),
        ({"__spec__": types.SimpleNamespace(name="shop")}, "shop:Order"),
        ({"__spec__": None, "__file__": "/home/me/shop.py"}, "shop:Order"),
        ({"__spec__": None}, "__main__:Order"),
    ],
    ids=["package", "module", "file", "command"],
)
def test_main_is_named_after_what_was_started(
    attributes: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    vars(main).update(attributes)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert type_name(type("Order", (), {"__module__": "__main__"})) == expected
