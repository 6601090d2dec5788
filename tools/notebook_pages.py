"""The notebooks as a folder of web pages with an index that can be searched."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from tools import notebook_files, notebook_search
from tools.notebook_search import Section
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
label { font-weight: 600; display: block; }
input { font: inherit; color: inherit; background: none; width: 100%; box-sizing: border-box; }
input { padding: 0.4rem 0.6rem; border: 1px solid #888; border-radius: 4px; }
#keys, #state { font-size: 0.9rem; }
#found p { overflow-wrap: anywhere; }
mark { background: #ffe08a; color: #222; }
:focus-visible { outline: 2px solid #0b5394; outline-offset: 2px; }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #e6e6e6; } a { color: #8ab4f8; } p { color: #aaa; }
  :focus-visible { outline-color: #8ab4f8; }
}
"""


def build(sources: Sequence[Path], folder: Path) -> Path:
    """Write one page per notebook and an index in place of older pages; returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):
        old.unlink()
    notebooks = {source: notebook_files.read(source) for source in sources}
    sections: list[Section] = []
    for source, notebook in notebooks.items():
        name = f"{source.stem}.html"
        text = page(notebook, _around(source, notebooks))
        (folder / name).write_text(text, encoding="utf-8")
        sections += notebook_search.sections(text, name)
    path = folder / "index.html"
    path.write_text(index(notebooks, sections), encoding="utf-8")
    return path


def page(notebook: NotebookNode, around: str) -> str:
    """A notebook as HTML, with links between notebooks pointing to their pages.

    `around` is the HTML that leads to other pages; it stands at the top and at the end.
    """
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = _links(cell.source)
    ends = [nbformat.v4.new_markdown_cell(around) for _ in range(2)]
    copy.cells = [ends[0], *copy.cells, ends[1]]
    copy.metadata["title"] = notebook_files.title(notebook)
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    return HTMLExporter().from_notebook_node(copy)[0]


def index(notebooks: dict[Path, NotebookNode], sections: Sequence[Section]) -> str:
    """The index page: a search over all sections, title and first sentence of each notebook."""
    items = "\n".join(
        f'<li><a href="{path.stem}.html">{html.escape(notebook_files.title(notebook))}</a>'
        f"<p>{html.escape(notebook_files.summary(notebook))}</p></li>"
        for path, notebook in notebooks.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Notebooks</title><style>{STYLE}</style></head>\n<body><h1>Notebooks</h1>\n"
        f'{notebook_search.FORM}\n<ol id="all">\n{items}\n</ol>\n'
        f'<p><a href="{repository()}">Source</a></p>\n'
        f"{notebook_search.scripts(sections)}</body></html>\n"
    )


def _around(source: Path, notebooks: dict[Path, NotebookNode]) -> str:
    """Links to the page before, the index and the page after."""
    order = list(notebooks)
    i = order.index(source)
    links = ['<a href="index.html">All notebooks</a>']
    if i > 0:
        links.insert(0, f"← {_link(order[i - 1], notebooks)}")
    if i + 1 < len(order):
        links.append(f"{_link(order[i + 1], notebooks)} →")
    return f'<nav aria-label="Notebooks">{" | ".join(links)}</nav>'


def _link(path: Path, notebooks: dict[Path, NotebookNode]) -> str:
    return f'<a href="{path.stem}.html">{html.escape(notebook_files.title(notebooks[path]))}</a>'


def _links(markdown: str) -> str:
    """Links to notebooks become links to pages, links to other files lead to the repository."""
    markdown = re.sub(r"\]\((?!\w+:)([\w-]+)\.ipynb(#[^)]*)?\)", r"](\1.html\2)", markdown)
    return re.sub(r"\]\(\.\./([^)]+)\)", rf"]({repository()}/blob/main/\1)", markdown)
