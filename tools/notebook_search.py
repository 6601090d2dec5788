"""Search over the notebook pages, offline: the index of their sections and the form that asks it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from bs4 import BeautifulSoup, Tag

SCRIPT = Path(__file__).with_suffix(".js")
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# Hidden until the script runs, so that nobody without it sees a box that does nothing.
FORM = """<form id="find" role="search" hidden>
<label for="query">Search all notebooks</label>
<input id="query" type="search" autocomplete="off" aria-describedby="keys">
<p id="keys">Enter goes to the first section, Escape clears.</p>
</form>
<p id="state" role="status"></p>
<ol id="found"></ol>"""

Section = dict[str, str]


def sections(page: str, name: str) -> list[Section]:
    """The sections of a page that nbconvert wrote, each from its heading to the next.

    Args:
        page: the HTML.
        name: its file name.

    Returns:
        For each section: "link" with the anchor that its heading has on the page; "notebook", the page's
        first heading; "title", the heading if it is of the first level, else empty; "heading"; "text", what
        the markdown says under it; "code", the names in its code cells.
    """
    found: list[Section] = []
    for cell in BeautifulSoup(page, "html.parser").select(".jp-Cell"):
        for block in cell.select(".jp-MarkdownOutput > *"):
            if block.name in HEADINGS:
                found.append(_section(block, name))
            elif found and block.name != "nav":
                found[-1]["text"] = f"{found[-1]['text']} {_plain(block.get_text())}".strip()
        for name_in_code in cell.select('.jp-InputArea pre span[class^="n"]') if found else ():
            found[-1]["code"] += f" {name_in_code.get_text()}"
    return [{**section, "notebook": found[0]["heading"], "code": _once(section["code"])} for section in found]


def scripts(index: Sequence[Section]) -> str:
    """The index and the script that searches it; no text of a notebook can end the element."""
    data = json.dumps(index, ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<script id="sections" type="application/json">{data}</script>\n'
        f"<script>\n{SCRIPT.read_text(encoding='utf-8')}</script>"
    )


def _section(heading: Tag, name: str) -> Section:
    anchor = str(heading.get("id", ""))
    for link in heading.select("a.anchor-link"):
        link.extract()
    text = _plain(heading.get_text())
    title = text if heading.name == "h1" else ""
    return {"link": f"{name}#{anchor}", "title": title, "heading": text, "text": "", "code": ""}


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _once(words: str) -> str:
    return " ".join(dict.fromkeys(words.split()))
