"""What must be true of every committed notebook, found without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from mrt_lib.provenance import ROOT
from tools.notebook_files import KERNEL, MAX_BYTES, code_digest, is_setup
from tools.notebook_template import (
    APPENDIX,
    COLAB,
    MEASURED,
    VERSIONS,
    badges,
    hosts,
    links,
    repository,
    setup,
)

HOST_KEYS = ("accelerator", "colab", "kaggle")
LOCAL_PATH = re.compile(r"(?<![\w.])(/home/\w|/root/|/Users/\w|[A-Z]:\\Users)")
INSTALL = re.compile(r"\b(pip3?|conda|mamba|apt|apt-get)\W+install\b")
BACKGROUND = re.compile(r"^\s*!.*[^&]&\s*$", re.MULTILINE)
WARNING = re.compile(r"\b\w*Warning: .*")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def problems(path: Path, notebook: NotebookNode, folder: Sequence[str]) -> list[str]:
    """Everything that is wrong with a notebook, one line each; empty if nothing is.

    Args:
        path: where it lies.
        notebook: its content.
        folder: the names of all notebooks in order, for the links between them.
    """
    found = [*_head(path.name, notebook, folder), *_template(notebook), *_metadata(notebook)]
    found += [*_code(notebook), *_outputs(notebook), *_links(path, notebook)]
    if (size := path.stat().st_size) > MAX_BYTES:
        found.append(f"{size} bytes, more than {MAX_BYTES}: GitHub may not show it")
    return found


@cache
def library_names() -> set[str]:
    """Public functions and classes at the top level of every module of mrt_lib, read from source."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "mrt_lib").rglob("*.py"))
    return {name for tree in trees for name in _defined(tree) if not name.startswith("_")}


def _head(name: str, notebook: NotebookNode, folder: Sequence[str]) -> Iterator[str]:
    source = notebook.cells[0].source
    order = [None, *(other for other in folder if not other.startswith(APPENDIX)), None]
    i = order.index(name) if name in order else None
    previous, following = (None, None) if i is None else (order[i - 1], order[i + 1])
    expected = {
        f"# {name[:2]} · ": "the title with the notebook's number",
        badges(name): "the badges for this file",
        MEASURED[0]: "the measured row",
        MEASURED[1]: "the measured row's end",
        links(previous, following): "the links to the notebooks before and after",
    }
    for text, what in expected.items():
        if text not in source:
            yield f"cell 1: {what} is missing: {text}"
    if not repository() and f"]({COLAB}" in source:
        yield "cell 1: badges, but the project has no repository; run `make publish REPO=none`"


def _template(notebook: NotebookNode) -> Iterator[str]:
    sources = [cell.source for cell in _code_cells(notebook)]
    if sources[:1] != [setup(repository())]:
        yield "the first code cell is not that of tools.notebook_template.setup"
    if sources[1:2] != [VERSIONS]:
        yield "the second code cell is not tools.notebook_template.VERSIONS"


def _metadata(notebook: NotebookNode) -> Iterator[str]:
    if "widgets" in notebook.metadata:
        yield "metadata.widgets keeps the notebook from showing on GitHub"
    if notebook.metadata.get("kernelspec") != KERNEL:
        yield f"the kernelspec is {notebook.metadata.get('kernelspec')}, not {KERNEL}"
    asked = {key: notebook.metadata[key] for key in HOST_KEYS if key in notebook.metadata}
    if asked != (wanted := hosts(notebook.cells[0].source)):
        yield f"Colab and Kaggle are asked for {asked}, the head wants {wanted}; run `make notebooks`"


def _code(notebook: NotebookNode) -> Iterator[str]:
    library, uses = library_names(), False
    for i, cell in enumerate(notebook.cells, start=1):
        if not cell.source.strip():
            yield f"cell {i} is empty"
        if cell.cell_type != "code" or is_setup(cell.source):
            continue
        if INSTALL.search(cell.source):
            yield f"cell {i} installs packages; only the set-up cell may"
        if BACKGROUND.search(cell.source):
            yield f"cell {i} starts a background command, which only Colab accepts"
        try:
            tree = ast.parse(TransformerManager().transform_cell(cell.source))
        except SyntaxError as error:
            yield f"cell {i} does not parse: {error.msg} (line {error.lineno})"
            continue
        uses |= cell.source != VERSIONS and _uses_library(tree)
        for name in _defined(tree) & library:
            yield f"cell {i} defines {name}, which mrt_lib has"
    if not uses:
        yield "no cell uses mrt_lib"


def _outputs(notebook: NotebookNode) -> Iterator[str]:
    counts = [cell.execution_count for cell in _code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}; run `make notebooks`"
    if notebook.metadata.get("executed") != {"code": code_digest(notebook)}:
        yield "the code has changed since it was executed; run `make notebooks`"
    for i, cell in enumerate(notebook.cells, start=1):
        outputs = cell.get("outputs", [])
        for output in outputs:
            if output.output_type == "error":
                yield f"cell {i} holds an error: {output.ename}"
            if output.get("name") == "stderr":
                yield f"cell {i} wrote to stderr: {output.text.strip()}"
            elif found := WARNING.search(_text(output)):
                yield f"cell {i} shows a warning: {found[0]}"
        if found := LOCAL_PATH.search("\n".join([cell.source, *map(_text, outputs)])):
            yield f"cell {i} names a local path: {found[0]}"


def _links(path: Path, notebook: NotebookNode) -> Iterator[str]:
    for i, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown":
            for target in LINK.findall(cell.source):
                if not (path.parent / target).exists():
                    yield f"cell {i} links to {target}, which does not exist"


def _text(output: NotebookNode) -> str:
    data = (str(v) for k, v in output.get("data", {}).items() if not k.startswith("image/"))
    return "\n".join([output.get("text", ""), *data])


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _defined(tree: ast.Module) -> set[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in tree.body if isinstance(node, kinds)}


def _uses_library(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mrt_lib":
            return True
        if isinstance(node, ast.Import) and any(a.name.split(".")[0] == "mrt_lib" for a in node.names):
            return True
        if isinstance(node, ast.Name) and node.id == "environment":
            return True
    return False
