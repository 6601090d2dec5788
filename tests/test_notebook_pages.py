"""The pages of the notebooks: how they lead to each other, and the search over their sections."""

import html
import json
import re
import shutil
import subprocess

import nbformat
import pytest

from tools import notebook_pages
from tools.notebook_search import SCRIPT

FIRST = """# 00 · Start <b>here</b> & now
One sentence.
## 1 · What `J_j` is, and isn't?
Regret *falls*. </script><script>alert("text")</script> <!-- unseen -->

| a | table |
|---|---|
| x | 1 < 2 |
"""
SECOND = """# 01 · Regret
Nothing about the other word.
## Straße (eine)
A prefix of a thought; its normalised regret.
"""
CODE = (
    "# a comment\nfrom mrt_lib.measure.regret import normalised_regret\nfor x in ['a string']:\n    print(x)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages")
    shown = nbformat.v4.new_output("display_data", {"text/markdown": "# Shown by code"})
    cells = {"00_a": [FIRST, CODE], "01_b": [SECOND], "02_c": ["# 02 · Last"]}
    for name, (text, *codes) in cells.items():
        code = [nbformat.v4.new_code_cell(source, outputs=[shown]) for source in codes]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), *code])
        nbformat.write(notebook, path / f"{name}.ipynb")
    notebook_pages.build(sorted(path.glob("*.ipynb")), path / "html")
    return path / "html"


@pytest.fixture(scope="module")
def index(folder):
    return (folder / "index.html").read_text()


@pytest.fixture(scope="module")
def sections(index):
    return json.loads(re.search(r'<script id="sections" type="application/json">(.*?)</script>', index)[1])


def test_sections_hold_headings_plain_text_and_the_names_in_code(sections):
    assert [s["heading"] for s in sections] == [
        "00 · Start here & now",
        "1 · What J_j is, and isn't?",
        "01 · Regret",
        "Straße (eine)",
        "02 · Last",
    ]
    assert [s["title"] for s in sections[:3]] == ["00 · Start here & now", "", "01 · Regret"]
    assert sections[3]["notebook"] == "01 · Regret"
    assert sections[3]["text"] == "A prefix of a thought; its normalised regret."
    assert sections[1]["text"].startswith("Regret falls.")
    assert "unseen" not in sections[1]["text"]
    assert sections[1]["text"].endswith("a table x 1 < 2")
    assert sections[1]["code"] == "mrt_lib.measure.regret normalised_regret x print"
    assert sections[0]["code"] == ""


def test_every_link_leads_to_an_anchor_that_nbconvert_made(folder, sections):
    for section in sections:
        page, _, anchor = section["link"].partition("#")
        assert f'id="{html.escape(anchor, quote=False)}"' in (folder / page).read_text()
    assert sections[1]["link"] == "00_a.html#1-%C2%B7-What-J_j-is,-and-isn't?"
    assert len({s["link"] for s in sections}) == 5


def test_no_text_of_a_notebook_becomes_a_part_of_the_index_page(index):
    assert index.count("</script>") == 2
    assert "alert(" not in index.partition('<script id="sections"')[0]
    assert "00 · Start &lt;b&gt;here&lt;/b&gt; &amp; now</a>" in index
    assert "innerHTML" not in index


def test_the_index_stands_alone(index):
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", index)
    assert "fetch(" not in index
    listed = index.partition("<script")[0]
    assert re.search('<form id="find" role="search" hidden>', listed)
    assert re.findall(r'<li><a href="(\w+\.html)">', listed) == ["00_a.html", "01_b.html", "02_c.html"]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("00_a", ["index.html", "01_b.html"]),
        ("01_b", ["00_a.html", "index.html", "02_c.html"]),
        ("02_c", ["01_b.html", "index.html"]),
    ],
)
def test_pages_lead_to_their_neighbours_at_both_ends(folder, page, names):
    text = (folder / f"{page}.html").read_text()
    around = re.findall(r"<nav aria-label=\"Notebooks\">(.*?)</nav>", text)
    assert [re.findall('href="(.*?)"', links) for links in around] == [names, names]
    heading = text.index("<h1 id=")
    assert text.index("<nav aria-label") < heading < text.rindex("<nav aria-label")


def ask(expression, sections):
    """The value of a JavaScript expression in which `sections` is the index."""
    code = f"{SCRIPT.read_text()}\nconst sections = {json.dumps(sections)};\n"
    code += f"console.log(JSON.stringify({expression}))"
    run = subprocess.run(["node"], input=code, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node here")


@needs_node
@pytest.mark.parametrize(
    ("query", "headings"),
    [
        ("REGRET", ["01 · Regret", "1 · What J_j is, and isn't?", "Straße (eine)"]),
        ("regr pref", ["Straße (eine)"]),
        ("egret", []),
        ("straße", ["Straße (eine)"]),
        ("normalised_regret()", ["1 · What J_j is, and isn't?", "Straße (eine)"]),
        ("$.*", []),
        ("", []),
    ],
)
def test_all_words_must_start_words_and_titles_come_first(query, headings, sections):
    found = ask(f"find(sections, {json.dumps(query)})", sections)
    assert sorted(s["heading"] for s in found) == sorted(headings)
    assert [s["heading"] for s in found[:1]] == headings[:1]


@needs_node
def test_a_snippet_shows_the_hit_and_whole_words(sections):
    text = "before " * 40 + "the Regret of it " + "after " * 60
    own = [{"title": "", "heading": "h", "text": text, "code": "some_name"}]
    parts = ask("snippet(sections[0], 'regret')", own)
    assert parts[1] == "Regret"
    assert parts[0].startswith("… before before")
    assert parts[0].endswith("before the ")
    assert parts[2].startswith(" of it after")
    assert parts[2].endswith("after …")
    assert ask("snippet(sections[0], 'name')", own) == ["some_", "name", ""]
    assert ask("snippet(sections[0], 'h')", own)[0].startswith("before before")
