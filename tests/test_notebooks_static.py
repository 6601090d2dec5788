"""Every committed notebook, looked at without running it."""

import json
import re

import nbformat
import pytest

from mrt_lib.provenance import ROOT
from recipes.pictures import ROADMAP
from tools import notebook_checks, notebook_files, notebook_template
from tools.notebook_template import SETUP, VERSIONS, head

PATHS = sorted(notebook_files.NOTEBOOKS.glob("*.ipynb"))
NAMES = [path.name for path in PATHS]


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_a_committed_notebook_has_no_problem(path):
    assert notebook_checks.problems(path, notebook_files.read(path), NAMES) == []


def test_the_notebooks_that_the_readme_and_the_measurements_name_exist():
    readme, measured = ROOT / "README.md", ROOT / "data" / "results" / "notebooks.json"
    named = set(re.findall(r"\b\d\d_\w+\.ipynb", readme.read_text() if readme.is_file() else ""))
    named |= set(json.loads(measured.read_text()) if measured.is_file() else {})
    if not named and not PATHS:
        pytest.skip("no notebooks yet")
    assert named == set(NAMES)


def sound(tmp_path):
    """A notebook with nothing wrong, second of three."""
    names = ["00_start.ipynb", "01_middle.ipynb", "02_end.ipynb"]
    for name in names:
        (tmp_path / name).touch()
    text = head(names[1], "Middle", "One idea.", ["a thing"], names[0], names[2])
    codes = [SETUP, VERSIONS, "from mrt_lib import regret\n%matplotlib inline"]
    cells = [nbformat.v4.new_markdown_cell(text), *map(nbformat.v4.new_code_cell, codes)]
    for count, cell in enumerate(cells[1:], start=1):
        cell.execution_count = count
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook_files.normalise(notebook)
    notebook.metadata["executed"] = {"code": notebook_files.code_digest(notebook)}
    return tmp_path / names[1], notebook, names


def test_a_sound_notebook_has_no_problem(tmp_path):
    assert notebook_checks.problems(*sound(tmp_path)) == []


def test_a_function_by_hand_may_stand_beside_the_librarys(tmp_path):
    path, notebook, names = sound(tmp_path)
    by_hand = "from mrt_lib.tasks import get_task\n\n\ndef get_task_by_hand(name):\n    return get_task(name)"
    notebook.cells[3].source = by_hand
    notebook.metadata["executed"] = {"code": notebook_files.code_digest(notebook)}
    assert notebook_checks.problems(path, notebook, names) == []


def set_source(i, text):
    return lambda nb: nb.cells[i].update(source=text)


def replace(i, old, new):
    return lambda nb: nb.cells[i].update(source=nb.cells[i].source.replace(old, new))


def add_output(text, name="stdout"):
    output = nbformat.v4.new_output("stream", name=name, text=text)
    return lambda nb: nb.cells[3].outputs.append(output)


def add_error(nb):
    nb.cells[3].outputs.append(nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[]))


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (replace(0, "# 01", "# 07"), "title"),
        (
            replace(0, "One idea.", "One idea. [![Open](x.svg)](https://colab.research.google.com/x)"),
            "badges",
        ),
        (replace(0, "<!-- measured -->", ""), "measured row"),
        (replace(0, "02_end", "00_start"), "before and after"),
        (replace(0, "a thing", "[a thing](../nowhere.md)"), "does not exist"),
        (replace(1, "depth=1", "depth=2"), "template.setup"),
        (set_source(2, "environment.versions( )"), "VERSIONS"),
        (lambda nb: nb.metadata.update(widgets={}), "widgets"),
        (lambda nb: nb.metadata.kernelspec.update(name="vllm3"), "kernelspec"),
        (lambda nb: nb.metadata.update(accelerator="GPU"), "Colab and Kaggle"),
        (lambda nb: nb.metadata.kaggle.update(isInternetEnabled=False), "Colab and Kaggle"),
        (replace(0, "| not needed |", "| used if there is one |"), "Colab and Kaggle"),
        (replace(3, "regret", "stats"), "the code has changed"),
        (lambda nb: nb.metadata.pop("executed"), "the code has changed"),
        (lambda nb: nb.cells[3].update(execution_count=7), "execution counts"),
        (lambda nb: nb.cells[3].update(execution_count=None), "execution counts"),
        (add_error, "error: ValueError"),
        (add_output("read /home/ann/x"), "local path"),
        (add_output("INFO: 2 threads", "stderr"), "stderr: INFO: 2 threads"),
        (add_output("<cell>:3: UserWarning: empty\n  mean(x)"), "warning: UserWarning: empty"),
        (set_source(3, "from mrt_lib import stats\nx = ("), "does not parse"),
        (set_source(3, "import mrt_lib\n!pip install trl"), "installs"),
        (set_source(3, "import mrt_lib\nrun(['python', '-m', 'pip', 'install', 'trl'])"), "installs"),
        (set_source(3, "import mrt_lib\n!uv pip install --system trl"), "installs"),
        (set_source(3, "import mrt_lib\n!python -m http.server &"), "background"),
        (set_source(3, "1 + 1"), "uses mrt_lib"),
        (set_source(3, "from mrt_lib import stats\ndef get_task(x):\n    return x"), "defines get_task"),
        (set_source(3, " "), "empty"),
        (add_output("x" * 1_100_000), "bytes"),
    ],
)
def test_each_problem_is_found(tmp_path, breaking, message):
    path, notebook, names = sound(tmp_path)
    breaking(notebook)
    nbformat.write(notebook, path)
    found = notebook_checks.problems(path, notebook, names)
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (replace(0, "01_middle.ipynb) ", "01_other.ipynb) "), "badges"),
        (replace(0, "owner/name", "other/name"), "badges"),
        (replace(1, "owner/name", "other/name"), "template.setup"),
    ],
)
def test_where_the_project_has_a_repository_everything_leads_there(tmp_path, monkeypatch, breaking, message):
    monkeypatch.setattr(notebook_template, "repository", lambda: "https://github.com/owner/name")
    monkeypatch.setattr(notebook_checks, "repository", notebook_template.repository)
    path, notebook, names = sound(tmp_path)
    notebook.cells[1].source = notebook_template.setup(notebook_template.repository())
    nbformat.write(notebook, path)
    assert notebook_checks.problems(path, notebook, names) == []
    breaking(notebook)
    (found,) = notebook_checks.problems(path, notebook, names)
    assert message in found


def test_a_task_of_ones_own_takes_at_most_fifteen_lines():
    notebook = notebook_files.read(ROOT / "notebooks" / "05_your_own_model.ipynb")
    (cell,) = [c.source for c in notebook.cells if c.cell_type == "code" and "= from_callable(" in c.source]
    assert "mrt_lib.report(" in cell
    assert len([line for line in cell.splitlines() if line.strip()]) <= 15


def test_the_roadmap_has_every_notebook():
    assert sorted(ROADMAP) == [name[:2] for name in NAMES]
