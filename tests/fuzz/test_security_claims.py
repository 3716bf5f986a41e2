"""What the documents claim about safety, held against the source and the running program."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from am2z import AM2ZError, AppState, ConfigurationError, PayloadTooLargeError
from am2z.codec import MAX_ERROR_BYTES, MAX_EVENT_BYTES, encode_error, encode_event, encode_state
from am2z.error import _registry
from am2z.ids import MAX_NAME, check_execution_id, check_name
from am2z.queue.keys import Keys
from am2z.queue.protocol import Parent, StateWrite
from tests.distributed.protocol.protocol_driver import Driver

from .garbage import tries

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "am2z").rglob("*.py"), *(ROOT / "harness").rglob("*.py")])
EVIL_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle",
                "yaml", "code", "codeop"}  # fmt: skip
EVIL_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
ALLOWED = {
    # annotations of the program's own source, as ``typing.get_type_hints`` evaluates them
    ("am2z/processor.py", "_evaluate", "eval"),
    # our own functions with one place of their source changed: what a mutant is
    ("harness/zoo/edit.py", "edit", "compile"),
    ("harness/zoo/edit.py", "edit", "exec"),
    # the kit's own files, to see whether what is loaded is what they say; nothing of it is run
    ("harness/integrity.py", "_written", "compile"),
}


def offences(path: Path) -> Iterator[tuple[str, str, str]]:
    """Every use of what can turn data into code: the file, the function, the name."""
    owner: dict[ast.AST, str] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            owner[child] = node.name if is_function else owner.get(node, "")
        for name in evil(node):
            yield path.relative_to(ROOT).as_posix(), owner.get(node, ""), name


def evil(node: ast.AST) -> list[str]:
    """The names in one node that can turn data into code, or give it to a shell."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names]
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
        return [name for name in modules if name.partition(".")[0] in EVIL_MODULES]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return [node.func.id] if node.func.id in EVIL_CALLS else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        is_shell = any(word.arg == "shell" for word in node.keywords)
        return [node.func.attr] if is_shell or node.func.attr in ("system", "popen") else []
    return []


def test_nothing_that_is_read_can_become_code() -> None:
    assert len(SOURCES) > 100
    assert {offence for path in SOURCES for offence in offences(path)} == ALLOWED


def test_the_search_for_offences_finds_them(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "import pickle\nfrom yaml import load\ndef f(x):\n    exec(x)\n    os.system(x)\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    names = {name for _, _, name in offences(path)}
    assert names == {"pickle", "yaml", "exec", "system"}


# --- errors


@tries(100)
@given(st.text(max_size=30))
def test_an_error_class_comes_from_the_registry_and_nowhere_else(name: str) -> None:
    assume(name not in _registry)
    error = AM2ZError.from_dict({"type": name, "message": "m"})
    assert type(error) is AM2ZError
    assert error.context["remote_type"] == name


@pytest.mark.parametrize(
    "name", ["builtins:SystemExit", "os:_exit", "am2z.error:say", "subprocess:Popen"]
)
def test_the_name_of_another_class_or_function_is_never_called(name: str) -> None:
    assert type(AM2ZError.from_dict({"type": name})) is AM2ZError


@pytest.mark.parametrize("cls", sorted(_registry.values(), key=lambda cls: cls.__qualname__))
def test_what_comes_over_the_wire_shadows_no_method(cls: type[AM2ZError]) -> None:
    methods = [name for name in dir(cls) if callable(getattr(cls, name))]
    error = AM2ZError.from_dict(
        {
            "type": f"{cls.__module__}:{cls.__qualname__}",
            "fields": dict.fromkeys([*methods, "__class__", "__dict__", "args"], "evil"),
        }
    )
    assert type(error) is cls
    assert not [name for name in methods if not callable(getattr(error, name))]
    assert not [name for name in vars(error) if callable(getattr(cls, name, None))]


# --- names


ANY = st.text(st.characters(exclude_categories=()), max_size=30)
HOSTILE = st.one_of(
    ANY,
    st.text("{}:%*/ \x00\n\r[]?^$\\'\"-.aA0", min_size=1, max_size=12),
    st.sampled_from(
        ["", ":", "}:", "{am2z:t:0}:", "p:s", "%3A", "..", "*", "?", "[a-z]", "a\nb", "a b", "-",
         "\ud800", "\u0130", "K", "\u212a", "e\u0301", "\u00e9", "a/1-1", "2", "A", "a"]
    ),
)  # fmt: skip
STATE = StateWrite(b"data", "sum", "m:T")


def use(
    d: Driver, processor: str, session: str, execution: str, lock: str, runtime: str
) -> set[bytes]:
    """Do a bit of everything under these names; answers the keys that it wrote."""
    before = {key: d.raw.dump(key) for key in d.raw.keys("*")}
    d.presence(runtime, [processor], 60.0)
    d.enqueue(execution, processor, b"x", session_id=session, reply_to=runtime)
    d.enqueue(f"{execution}+", processor, b"x", session_id=session, delay=60.0)
    for item in d.take(processor, total=2, worker=runtime):
        d.enqueue(f"{execution}/c", processor, b"", parent=Parent(item.id, item.fence, "h"))
        d.done(item, state=STATE)
    d.state_set(session, STATE)
    d.lock_acquire(lock, "one", 60.0, runtime_id=runtime, wait=9.0)
    d.lock_acquire(lock, "two", 60.0, runtime_id=runtime, wait=9.0)
    return {key for key in d.raw.keys("*") if d.raw.dump(key) != before.get(key)}


SHARED = {b"events", b"leases", b"delayed", b"sessions", b"fence", b"dead", b"procs"}


@tries(60)
@given(st.lists(HOSTILE, min_size=5, max_size=5), st.lists(HOSTILE, min_size=5, max_size=5))
def test_hostile_names_reach_no_key_of_others(one: list[str], two: list[str]) -> None:
    assume(not set(one) & set(two))
    assume(not {f"{one[2]}+", f"{one[2]}/c"} & set(two))
    assume(not {f"{two[2]}+", f"{two[2]}/c"} & set(one))
    raw = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    d = Driver(raw, virtual=False)
    d.advance(0)
    prefix = d.keys.prefix.encode()
    first = use(d, *one)
    second = use(d, *two)
    assert all(key.startswith(prefix) for key in first | second)
    both = {key.removeprefix(prefix) for key in first & second}
    assert both <= SHARED
    while d.stop_session(one[1])[1]:
        pass
    assert d.forget_session(one[1])
    assert raw.exists(d.keys.state(two[1]))
    assert raw.hget(d.keys.session(two[1]), "stopped") is None


@tries(60)
@given(HOSTILE, HOSTILE)
def test_a_namespace_writes_into_no_other(one: str, two: str) -> None:
    raw = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    for namespace in ("t", "t.0", "t-1"):
        d = Driver(raw, namespace, virtual=False)
        written = use(d, one, two, one, two, one)
        assert all(key.startswith(b"{am2z:%s:0}:" % namespace.encode()) for key in written)


@tries(100)
@given(HOSTILE)
def test_a_namespace_is_plain_or_refused(name: str) -> None:
    try:
        prefix = Keys(name).prefix
    except ConfigurationError:
        return
    assert prefix == f"{{am2z:{name}:0}}:"
    assert name.isascii()
    assert not set(name) & set(":{}*?[] \n")


# --- sizes


@pytest.mark.parametrize("check", [lambda name: check_name(name, "session"), check_execution_id])
def test_names_are_bounded(check: Any) -> None:
    assert check("x" * 200)
    with pytest.raises(ConfigurationError) as caught:
        check("x" * (MAX_NAME + 1))
    assert len(str(caught.value)) < 400


class Large(AppState):
    text: str = ""


def test_a_state_is_bounded() -> None:
    with pytest.raises(PayloadTooLargeError):
        encode_state(Large(text="x" * 1_001), 1_000)


def test_the_data_of_an_event_are_bounded() -> None:
    with pytest.raises(PayloadTooLargeError):
        encode_event({"text": "x" * MAX_EVENT_BYTES})


class WordyError(AM2ZError):
    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message)
        vars(self).update(fields)


@tries(40)
@given(
    st.sampled_from(["message", "context", "field", "note", "cause"]),
    st.integers(MAX_ERROR_BYTES, 4 * MAX_ERROR_BYTES),
)
def test_an_error_on_the_wire_is_bounded(where: str, size: int) -> None:
    text = "x" * size
    error = WordyError(text if where == "message" else "m")
    if where == "context":
        error.context["text"] = text
    elif where == "field":
        error = WordyError("m", text=text)
    elif where == "note":
        error.add_note(text)
    elif where == "cause":
        error.with_cause(ValueError(text))
    packed = encode_error(error)
    assert len(packed) <= MAX_ERROR_BYTES
