"""Notebook files: which there are, and the form in which they are committed."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from mrt_lib.provenance import ROOT
from tools.notebook_template import MEASURED, SETUP, hosts
from tools.pictures import smaller_png

NOTEBOOKS = ROOT / "notebooks"
MAX_BYTES = 1_000_000
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = "(Controls appear here when the notebook runs.)"
DETAILS = re.compile(r"<details>.*?</details>", re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# A line like "generate:  10%|#         | 2/20 [00:01<00:09, 1.94prompt/s]", or "2it [00:01, 1.94it/s]".
BAR = re.compile(r"^.*\d\S* \[[\d:]+(<[\d:?]+)?, [^\]\n]*(/s|s/)[^\]\n]*\][^\S\n]*\n?", re.MULTILINE)


def find(folder: Path = NOTEBOOKS, only: Sequence[str] = ()) -> list[Path]:
    """The notebooks in order, or those whose names start with one of `only`.

    Raises:
        FileNotFoundError: there is none, or an item of `only` matches none.
    """
    paths = sorted(folder.glob("*.ipynb"))
    for start in only:
        if not any(path.name.startswith(start) for path in paths):
            raise FileNotFoundError(f"no notebook in {folder} starts with {start!r}")
    if not paths:
        raise FileNotFoundError(f"no notebooks in {folder}")
    return [path for path in paths if not only or path.name.startswith(tuple(only))]


def read(path: Path) -> NotebookNode:
    """A notebook of format 4; nbformat's own errors say what is wrong with others."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """Write whole or not at all."""
    from mrt_lib.files import whole  # loads torch, which nothing else here needs

    with whole(path) as temporary:
        nbformat.write(notebook, temporary)


def normalise(notebook: NotebookNode) -> None:
    """Drop, in place, what differs between machines or does not show on GitHub.

    Kernel and widget state, cell metadata other than tags, live widgets, tqdm's bars and local
    paths go; figures keep at most 256 colours, which makes them a third of the size. What Colab and
    Kaggle read follows from the head cell.
    """
    kernel = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.metadata = nbformat.from_dict({**hosts(notebook.cells[0].source), **kernel})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_only_bars(output)]
            for output in cell.outputs:
                _normalise_output(output)


def fill_measured(notebook: NotebookNode, minutes: float, memory_gb: float, machine: str) -> None:
    """Put what was measured into the head cell's row, in place; without a row, do nothing."""
    row = f"{MEASURED[0]}{minutes:.1f} | {memory_gb:.1f} GB | {machine}{MEASURED[1]}"
    cell = notebook.cells[0]
    cell.source = re.sub(f"{MEASURED[0]}.*?{MEASURED[1]}", lambda _: row, cell.source)


def code_digest(notebook: NotebookNode) -> str:
    """Sixteen hex digits of the sources of the code cells: outputs belong to them and to no others.

    The set-up cell is not among them: it is held to the template, and only finds what the others run with.
    """
    from mrt_lib.files import digest  # loads torch, which nothing else here needs

    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return digest(*(source for source in sources if not is_setup(source)))


def is_setup(source: str) -> bool:
    """Whether a code cell is a set-up cell, of whatever repository."""
    return source.partition("\n")[0] == SETUP.partition("\n")[0]


def solutions(notebook: NotebookNode) -> list[str]:
    """The Python of the solutions of exercises, folded away in Markdown, in their order."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [code for text in texts for details in DETAILS.findall(text) for code in PYTHON.findall(details)]


def _is_only_bars(output: NotebookNode) -> bool:
    """Nothing but tqdm's bars, as a widget, which shows nothing once the kernel is gone, or as text."""
    data = output.get("data", {})
    text = data.get("text/plain", "") if WIDGET in data else output.get("text", "")
    return bool(BAR.search(text)) and not _without_bars(text).strip()


def _normalise_output(output: NotebookNode) -> None:
    if WIDGET in output.get("data", {}):
        output.data = nbformat.from_dict({"text/plain": WIDGET_NOTE})
    if "text" in output:
        output.text = _neutral(_without_bars(output.text))
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(value, str):
            output.data[kind] = _neutral(value)
        if kind == "image/png":
            output.data[kind] = _smaller(value)


def _smaller(png: str) -> str:
    """The picture in base64 with a palette, unless that is no smaller."""
    found = base64.b64encode(smaller_png(base64.b64decode(png))).decode()
    return min(found, png, key=len)


def _without_bars(text: str) -> str:
    """The text without tqdm's bars and without what a terminal would have overwritten."""
    return BAR.sub("", re.sub(r"[^\n]*\r(?=[^\n])", "", text))


def _neutral(text: str) -> str:
    """The text without this machine's paths."""
    text = re.sub(r"/\S*/ipykernel_\d+/\d+\.py", "<cell>", text)
    homes = {str(ROOT): ".", sys.prefix: "<venv>", str(Path.home()): "~"}
    for path in sorted(homes, key=len, reverse=True):
        if len(path) > 1:
            text = re.sub(rf"{re.escape(path)}(?![\w.-])", homes[path], text)
    return text
