"""The runner, on small notebooks made here."""

import base64
import io
import json
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
from PIL import Image, ImageChops
from tqdm import tqdm

from mrt_lib.provenance import ROOT
from tools import notebook_files
from tools.notebook_template import head
from tools.run_notebooks import main, run_notebook
from tools.tier import sizes


def make(path, *codes):
    text = head(path.name, "A title", "One idea. And more.", ["a thing"])
    cells = [nbformat.v4.new_markdown_cell(text), *map(nbformat.v4.new_code_cell, codes)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def run(tmp_path, *options):
    results, html = tmp_path / "out" / "notebooks.json", tmp_path / "html"
    folders = ["--notebooks", tmp_path, "--results", results, "--html", html]
    return main([*map(str, folders), *options]), results, html


def test_notebooks_are_written_back_measured_and_made_pages(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("MRT_TIER", raising=False)
    first = make(
        tmp_path / "00_a.ipynb", "import os\nprint(os.environ.get('MRT_TIER'), os.getcwd())", "1 + 1"
    )
    make(tmp_path / "01_b.ipynb", "'[a](00_a.ipynb)'", "block = bytearray(400_000_000)")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notebooks.json").write_text('{"00_renamed.ipynb": {}}')
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "00_renamed.html").touch()
    status, results, html = run(tmp_path)
    assert status == 0
    notebook = notebook_files.read(first)
    assert notebook.cells[1].outputs[0].text.split() == ["None", str(tmp_path)]
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2]
    assert notebook.metadata.kernelspec == notebook_files.KERNEL
    assert notebook.metadata.executed == {"code": notebook_files.code_digest(notebook)}
    filled = r"<!-- measured -->\d+\.\d \| 0\.\d GB \| .+<!-- /measured --> \|"
    assert re.search(filled, notebook.cells[0].source)
    measured = json.loads(results.read_text())
    assert list(measured) == ["00_a.ipynb", "01_b.ipynb"]
    assert measured["01_b.ipynb"]["peak_memory_gb"] > measured["00_a.ipynb"]["peak_memory_gb"] + 0.3
    assert {"date", "commit", "torch", "cpu_count"} <= set(measured["00_a.ipynb"]["provenance"])
    assert {path.name for path in html.glob("0*.html")} == {"00_a.html", "01_b.html"}
    assert "00 · A title" in (html / "index.html").read_text()
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["[1/2]", "00_a.ipynb", "running"]
    assert [line.split()[0] for line in lines[-4:]] == ["notebook", "00_a.ipynb", "01_b.ipynb", "all"]


def test_a_failing_cell_is_named_and_stops_everything_untouched(tmp_path, capfd):
    failing = make(tmp_path / "00_a.ipynb", "x = 1", "y = x + 1\nraise ValueError('no such budget')")
    after = make(tmp_path / "01_b.ipynb", "1")
    before = failing.read_bytes(), after.read_bytes()
    status, results, html = run(tmp_path)
    output = capfd.readouterr().out
    assert status == 1
    assert "00_a.ipynb: cell 3 failed" in output
    assert "ValueError: no such budget" in output
    assert "01_b" not in output
    assert (failing.read_bytes(), after.read_bytes()) == before
    assert not results.exists()
    assert not html.exists()


def test_a_tier_is_full_or_smoke(monkeypatch):
    monkeypatch.delenv("MRT_TIER", raising=False)
    full = sizes(problems=(200, 12), steps=(60, 3))
    assert (full.tier, full.problems, full.steps) == ("full", 200, 60)
    monkeypatch.setenv("MRT_TIER", "smoke")
    small = sizes(problems=(200, 12), steps=(60, 3))
    assert (small.tier, small.problems, small.steps) == ("smoke", 12, 3)
    monkeypatch.setenv("MRT_TIER", "gpu")
    with pytest.raises(ValueError, match="full or smoke"):
        sizes(problems=(200, 12))


def test_small_sizes_are_run_where_asked_for_but_never_kept(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MRT_TIER", "smoke")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    make(tmp_path / "00_a.ipynb", "raise SystemError")
    path = make(tmp_path / "01_b.ipynb", "from tools.tier import sizes\nassert sizes(n=(9, 1)).n == 1")
    before = path.read_bytes()
    assert run(tmp_path, "--only", "01")[0] == 1
    assert "not kept" in capfd.readouterr().out
    status, results, html = run(tmp_path, "--check", "--only", "01")
    assert status == 0
    assert path.read_bytes() == before
    assert not results.exists()
    assert not html.exists()
    assert run(tmp_path, "--check", "--only", "07")[0] == 1
    assert "starts with '07'" in capfd.readouterr().out


def test_a_folder_without_notebooks_is_an_error(tmp_path, capfd):
    assert run(tmp_path)[0] == 1
    assert "no notebooks" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("code", "timeout", "message"),
    [
        ("import os\nos._exit(3)", 60, "(?i)kernel died"),
        ("import time\ntime.sleep(60)", 1, "(?i)timed out"),
        ("raise KeyError('tagged')", 60, "KeyError: 'tagged'"),
    ],
)
def test_kernels_that_die_hang_or_raise_are_failures(tmp_path, code, timeout, message):
    path = make(tmp_path / "00_a.ipynb", code)
    notebook = notebook_files.read(path)
    notebook.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, path)
    result = run_notebook(path, tmp_path / "out.ipynb", timeout)
    assert result.error["cell"] == 2
    assert re.search(message, result.error["error"])
    assert not (tmp_path / "out.ipynb").exists()


def test_kernels_take_no_port_that_another_process_may_take(tmp_path):
    code = "from ipykernel.connect import get_connection_info\nassert '\"ipc\"' in get_connection_info()"
    path = make(tmp_path / "00_a.ipynb", code)
    assert run_notebook(path, tmp_path / "out.ipynb", 60).error is None


def test_normalising_drops_what_belongs_to_one_machine():
    widget = {notebook_files.WIDGET: {"model_id": "1"}, "text/plain": "IntSlider()"}
    outputs = [
        nbformat.v4.new_output("stream", text=f" 10%\r 50%\r100%\n{ROOT}/data/x and {ROOT}-other\n"),
        nbformat.v4.new_output("stream", name="stderr", text="/tmp/ipykernel_1234/567.py:3: UserWarning"),
        nbformat.v4.new_output("display_data", data=widget),
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs, metadata={"execution": {}, "tags": ["a"]})
    metadata = {"widgets": {}, "kernelspec": {"name": "vllm3", "display_name": "vllm3"}, "title": "x"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=metadata)
    notebook_files.normalise(notebook)
    assert cell.outputs[0].text == f"100%\n./data/x and {ROOT}-other\n"
    assert cell.outputs[1].text == "<cell>:3: UserWarning"
    assert cell.outputs[2].data == {"text/plain": notebook_files.WIDGET_NOTE}
    assert cell.metadata == {"tags": ["a"]}
    assert set(notebook.metadata) == {"kaggle", "kernelspec", "language_info"}
    nbformat.validate(notebook)


def bars(**options):
    """What tqdm writes, and the line that its widget shows at first."""
    with tqdm(file=io.StringIO(), mininterval=0, **options) as bar:
        first = str(bar)
        bar.update(2)
    return bar.fp.getvalue(), first


@pytest.mark.parametrize(
    "options",
    [
        {"total": 20},
        {"total": 2, "desc": "generate", "unit": "prompt"},
        {"unit": "prompt"},
        {"total": 4, "postfix": "speed 3 tokens/s"},
        {"total": 4, "initial": 1, "leave": False},
    ],
    ids=str,
)
def test_normalising_drops_progress_bars(options):
    written, first = bars(**options)
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text=written),
        nbformat.v4.new_output("stream", text=f"before\n{written}after\n"),
        nbformat.v4.new_output("display_data", data={notebook_files.WIDGET: {}, "text/plain": first}),
        nbformat.v4.new_output("stream", text="J 2/20 [0.1, 0.3] at 5 tokens/s\n"),
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs)
    notebook_files.normalise(nbformat.v4.new_notebook(cells=[cell]))
    assert [output.text.split() for output in cell.outputs] == [
        ["before", "after"],
        ["J", "2/20", "[0.1,", "0.3]", "at", "5", "tokens/s"],
    ]


def test_a_committed_figure_has_a_palette_and_keeps_its_colours(tmp_path):
    figure, axes = plt.subplots()
    axes.plot([3, 1, 2])
    figure.colorbar(axes.imshow([[-1, 1]], cmap="PuOr"))
    original = io.BytesIO()
    figure.savefig(original, format="png")
    plt.close(figure)
    code = f"from IPython.display import Image\nImage({original.getvalue()!r})"
    path = make(tmp_path / "00_a.ipynb", code)
    assert run_notebook(path, tmp_path / "out.ipynb").error is None
    png = notebook_files.read(tmp_path / "out.ipynb").cells[1].outputs[0].data["image/png"]
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    assert picture.mode == "P"
    difference = ImageChops.difference(picture.convert("RGB"), Image.open(original).convert("RGB"))
    assert max(high for _, high in difference.getextrema()) <= 8
