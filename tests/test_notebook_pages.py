"""The pages of the notebooks: every figure is there, links lead on, and the search needs no server."""

import base64
import json
import re

import nbformat
import pytest

from mrt_lib.provenance import ROOT
from tools import notebook_pages
from tools.notebook_template import repository

FIRST = """# 00 · Start <b>here</b> & now

One sentence about $J_j$, and a link to [the next](01_b.ipynb) and to [a file](../docs/claims.md#c1).

## What it is

Regret *falls*. </script><script>alert("text")</script>
"""
SECOND = "# 01 · Nothing\n\n## Progress\n\nA prefix of a thought; its regret.\n"
CODE = "from mrt_lib.measure.regret import normalised_regret"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def make(path, text, *outputs):
    code = nbformat.v4.new_code_cell(CODE, outputs=list(outputs))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), code])
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages")
    table = nbformat.v4.new_output(
        "display_data", data={"text/html": "<table><tr><td>0.25</td></tr></table>"}
    )
    make(path / "00_a.ipynb", FIRST, nbformat.v4.new_output("display_data", data={"image/png": PNG}), table)
    make(path / "01_b.ipynb", SECOND)
    (path / "html").mkdir()
    (path / "html" / "00_renamed.html").touch()
    assert notebook_pages.build(sorted(path.glob("*.ipynb")), path / "html") == path / "html" / "index.html"
    return path / "html"


def test_there_is_a_page_per_notebook_and_none_of_older_ones(folder):
    pages = {path.name for path in folder.glob("*.html")}
    assert pages == {"00_a.html", "01_b.html", "index.html", "search.html", "genindex.html", "explorer.html"}
    assert (folder / "explorer.html").read_bytes() == (ROOT / "docs" / "explorer.html").read_bytes()
    index = (folder / "index.html").read_text()
    assert [index.index(f'href="{page}.html"') for page in ("00_a", "01_b", "explorer")]


def test_figures_and_tables_are_shown(folder):
    page = (folder / "00_a.html").read_text()
    (name,) = re.findall(r'<img[^>]*src="(_images/\w+\.png)"', page)
    assert (folder / name).read_bytes() == base64.b64decode(PNG)
    assert "<td>0.25</td>" in page


def test_links_lead_to_pages_and_other_files_to_the_disk(folder):
    page = (folder / "00_a.html").read_text()
    assert 'href="01_b.html"' in page
    if not repository():
        found = re.search(r"<a href='([^']+)/docs/claims.md#c1'>a file</a>", page)[1]
        assert (folder / found).resolve() == ROOT


def test_where_there_is_a_repository_other_files_are_there(folder, monkeypatch):
    monkeypatch.setattr(notebook_pages, "repository", lambda: "https://github.com/owner/name")
    text = notebook_pages._links("[a file](../docs/claims.md#c1), [next](01_b.ipynb)", folder)
    assert text == "[a file](https://github.com/owner/name/blob/main/docs/claims.md#c1), [next](01_b.ipynb)"


def test_the_search_reads_nothing_but_scripts_and_finds_text_code_and_headings(folder):
    page = (folder / "search.html").read_text()
    scripts = re.findall(r'<script src="([^"?]+)', page)
    assert "searchindex.js" in scripts
    assert all((folder / script).is_file() for script in scripts)
    index = json.loads(re.search(r"Search\.setIndex\((.*)\)", (folder / "searchindex.js").read_text())[1])
    found = {
        word: {index["docnames"][i] for i in ([places] if isinstance(places, int) else places)}
        for word, places in index["terms"].items()
    }
    assert found["regret"] == {"00_a", "01_b"}
    assert found["prefix"] == {"01_b"}
    assert found["normalised_regret"] == {"00_a", "01_b"}
    assert "Progress" in index["alltitles"]


def test_a_link_to_no_notebook_is_an_error(tmp_path):
    make(tmp_path / "00_a.ipynb", "# 00 · A\n\n[gone](07_gone.ipynb)\n")
    with pytest.raises(RuntimeError, match="07_gone"):
        notebook_pages.build([tmp_path / "00_a.ipynb"], tmp_path / "html")
