"""The house: rooms import downwards only, nothing in a circle, few rooms and lines."""

import ast
import importlib
from pathlib import Path

import pytest

# From the ground up; a room may import from itself and from those before it.
ROOMS = [
    "files",
    "provenance",
    "thoughts",
    "engines",
    "tasks",
    "models",
    "adapters",
    "reasoner",
    "measure",
    "arms",
]
ROOMS += ["plots", "training", "reporting", "test_time", "integrations"]
LIBRARY = sorted(Path("mrt_lib").rglob("*.py"))
OUTSIDE = {"recipes", "experiments", "tools", "benchmarks", "tests"}
# recipes and experiments stand on the library, tools help all; nothing stands on experiments.
ALLOWED = {
    "mrt_lib": set(),
    "tools": {"mrt_lib"},
    "recipes": {"mrt_lib", "tools"},
    "experiments": {"mrt_lib", "recipes", "tools"},
    "benchmarks": {"mrt_lib", "recipes", "tools"},
}
MOST_LINES, MOST_FILES, MOST_ENTRIES = 8000, 60, 16


def imports(path):
    """Every module that a file names in an import, `from package import module` included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path):
    return path.relative_to("mrt_lib").parts[0].removesuffix(".py")


def modules(folder):
    """Module name to file."""
    files = sorted(Path(folder).rglob("*.py"))
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_imports_point_downwards(path):
    names = {name.split(".")[1] for name in imports(path) if name.startswith("mrt_lib.")}
    if room(path) == "__init__":
        assert not names, "the face names its modules and imports none"
        return
    below = ROOMS[: ROOMS.index(room(path)) + 1]
    assert names & set(ROOMS) <= set(below), f"{path} imports from above"
    assert {path.name for path in Path("mrt_lib").iterdir()} - {"__pycache__", "__init__.py"} == {
        name if Path("mrt_lib", name).is_dir() else f"{name}.py" for name in ROOMS
    }


@pytest.mark.parametrize("folder", ALLOWED)
def test_folders_stand_on_each_other_in_one_direction(folder):
    for path in sorted(Path(folder).rglob("*.py")):
        tops = {name.split(".")[0] for name in imports(path)} & (OUTSIDE | {"mrt_lib"})
        assert tops <= ALLOWED[folder] | {folder}, path


@pytest.mark.parametrize("folder", ALLOWED)
def test_nothing_imports_itself_in_a_circle(folder):
    own = modules(folder)
    graph = {name: imports(path) & own.keys() - {name} for name, path in own.items()}
    # A package's own __init__ is imported before its modules; what it gathers is no circle.
    done, path = set(), []

    def visit(name):
        assert name not in path, f"circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for other in graph[name]:
            visit(other)
        done.add(path.pop())

    for name in graph:
        visit(name)


def test_the_library_is_small():
    lines = sum(len(path.read_text().splitlines()) for path in LIBRARY)
    assert lines <= MOST_LINES, f"{lines} lines"
    assert len(LIBRARY) <= MOST_FILES, f"{len(LIBRARY)} files"
    entries = [path for path in Path("mrt_lib").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES


@pytest.mark.parametrize("name", [path.stem for path in sorted(Path("benchmarks").glob("*.py"))])
def test_every_benchmark_can_be_started(name):
    """Nothing else runs them, so settings that the library no longer takes would stay unseen."""
    importlib.import_module(f"benchmarks.{name}")
