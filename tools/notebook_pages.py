"""The notebooks as a folder of web pages with a search that works from the disk, made by Sphinx.

The trace explorer stands beside them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools import explorer
from tools.notebook_template import ROOT, repository

CONFIGURATION = """
project = html_title = "Meta reinforcement fine-tuning"
extensions = ["myst_nb"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_copy_source = False
html_show_search_summary = False  # a page on the disk may not fetch the text of others
"""
INDEX = f"""# Notebooks

```{{{{toctree}}}}
:maxdepth: 1

{{names}}
```

<a href="{explorer.PAGE}">Trace explorer</a>: step through thoughts of the shipped reasoners, with no kernel.
"""


def build(sources: Sequence[Path], folder: Path) -> Path:
    """Write one page per notebook, an index, a search and the explorer in place of older pages; the index.

    Raises:
        RuntimeError: Sphinx has something to complain about, such as a link to a notebook that is not there.
    """
    for old in folder.glob("*.html"):
        old.unlink()
    shutil.rmtree(folder / "_images", ignore_errors=True)
    texts = {source.name: _links(source.read_text(encoding="utf-8"), folder) for source in sources}
    texts["index.md"] = INDEX.format(names="\n".join(source.stem for source in sources))
    texts["conf.py"] = CONFIGURATION
    with tempfile.TemporaryDirectory() as around:
        for name, text in texts.items():
            (Path(around) / name).write_text(text, encoding="utf-8")
        flags = ["--quiet", "--fail-on-warning", "--keep-going", "--no-color"]
        command = [sys.executable, "-m", "sphinx", *flags, "-d", f"{around}/.doctrees", around, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the pages in {folder} are not sound: {done.stderr}")
    explorer.build(folder)
    return folder / "index.html"


def _links(notebook: str, folder: Path) -> str:
    """Links to files that are no notebooks lead to the repository; while there is none, to the disk."""
    if repository():
        return re.sub(r"\]\(\.\./([^)]+)\)", rf"]({repository()}/blob/main/\1)", notebook)
    here = os.path.relpath(ROOT, folder)
    return re.sub(r"\[([^\[\]]+)\]\(\.\./([^)]+)\)", rf"<a href='{here}/\2'>\1</a>", notebook)
