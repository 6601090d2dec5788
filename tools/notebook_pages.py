"""The notebooks as a folder of web pages with an index."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from tools import notebook_files
from tools.notebook_template import repository

STYLE = """
body { font: 17px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
body { color: #222; background: #fff; }
h1 { font-size: 1.6rem; }
li { margin: 0 0 1rem; }
ol { list-style: none; padding: 0; }
a { color: #0b5394; text-decoration: none; font-weight: 600; }
a:hover { text-decoration: underline; }
p { margin: 0.1rem 0; color: #555; }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #e6e6e6; } a { color: #8ab4f8; } p { color: #aaa; }
}
"""


def build(sources: Sequence[Path], folder: Path) -> Path:
    """Write one page per notebook and an index in place of older pages; returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):
        old.unlink()
    notebooks = {source: notebook_files.read(source) for source in sources}
    for source, notebook in notebooks.items():
        (folder / f"{source.stem}.html").write_text(page(notebook), encoding="utf-8")
    path = folder / "index.html"
    path.write_text(index(notebooks), encoding="utf-8")
    return path


def page(notebook: NotebookNode) -> str:
    """A notebook as HTML, with links between notebooks pointing to their pages."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = _links(cell.source)
    copy.cells.insert(0, nbformat.v4.new_markdown_cell("[All notebooks](index.html)"))
    copy.metadata["title"] = notebook_files.title(notebook)
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    return HTMLExporter().from_notebook_node(copy)[0]


def index(notebooks: dict[Path, NotebookNode]) -> str:
    """The index page: title and first sentence of each notebook."""
    items = "\n".join(
        f'<li><a href="{path.stem}.html">{html.escape(notebook_files.title(notebook))}</a>'
        f"<p>{html.escape(notebook_files.summary(notebook))}</p></li>"
        for path, notebook in notebooks.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Notebooks</title><style>{STYLE}</style></head>\n<body><h1>Notebooks</h1>\n"
        f'<ol>\n{items}\n</ol>\n<p><a href="{repository()}">Source</a></p></body></html>\n'
    )


def _links(markdown: str) -> str:
    """Links to notebooks become links to pages, links to other files lead to the repository."""
    markdown = re.sub(r"\]\((?!\w+:)([\w-]+)\.ipynb(#[^)]*)?\)", r"](\1.html\2)", markdown)
    return re.sub(r"\]\(\.\./([^)]+)\)", rf"]({repository()}/blob/main/\1)", markdown)
