"""Exercises: every solution is Python that stands on what its notebook has defined, and it runs."""

import ast
import builtins

import nbformat
import pytest

from tools import notebook_files
from tools.run_notebooks import run_notebook

PATHS = sorted(notebook_files.NOTEBOOKS.glob("*.ipynb"))
WITH = [path for path in PATHS if notebook_files.solutions(notebook_files.read(path))]
RUN = [path for path in PATHS if path.name[:2] in ("00", "01", "02", "03")]  # the others' train models


def bound(tree):
    """Every name that the code binds at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


def unknown(notebook):
    """Names that solutions use and neither the notebook nor an earlier solution binds."""
    known = {*dir(builtins), "display", "get_ipython"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            source = "\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!")))
            known |= set(bound(ast.parse(source)))
    found = []
    for solution in notebook_files.solutions(notebook):
        tree = ast.parse(solution)
        known |= set(bound(tree))
        loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        found += sorted(loaded - known)
    return found


def test_solutions_are_the_python_inside_details():
    notebook = nbformat.v4.new_notebook()
    text = "```python\nno\n```\n<details><summary>Solution</summary>\n\n```python\nx = y\nz\n```\nand\n\n"
    notebook.cells = [
        nbformat.v4.new_markdown_cell(text + "```python\nw = 2\n```\n\n</details>\n```python\nno\n```"),
        nbformat.v4.new_code_cell("y = 1\nprint('<details>```python')"),
    ]
    assert notebook_files.solutions(notebook) == ["x = y\nz\n", "w = 2\n"]
    assert unknown(notebook) == ["z"]


def test_the_chapters_that_teach_have_solutions():
    assert len(RUN) == 4
    assert set(RUN) <= set(WITH)


@pytest.mark.parametrize("path", WITH, ids=lambda path: path.name)
def test_a_solution_uses_only_names_that_its_notebook_knows(path):
    assert unknown(notebook_files.read(path)) == []


@pytest.mark.notebook
@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_solutions_run_after_their_notebook(path, tmp_path, monkeypatch):
    """This is also the run of the notebook itself, in small sizes; nothing is written back."""
    monkeypatch.setenv("MRT_TIER", "smoke")
    before = path.read_bytes()
    run = run_notebook(path, tmp_path / path.name, solutions=True)
    assert run.error is None, f"cell {run.error['cell']}: {run.error['error']}\n{run.error['source']}"
    assert (tmp_path / path.name).is_file()
    assert path.read_bytes() == before
