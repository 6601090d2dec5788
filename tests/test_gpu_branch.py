"""The branch of notebook 05 for a larger model, on the CPU: with a small model of the family, and files."""

import ast

import nbformat
import pytest

from mrt_lib.provenance import ROOT
from mrt_lib.tasks import MathTask
from tests.test_language_model import THINKING, write_model, write_sums
from tools import notebook_files
from tools.environment import requirement
from tools.run_notebooks import run_notebook

PATH = ROOT / "notebooks" / "05_your_own_model.ipynb"
NAME = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
# What a T4 would choose, in sizes for a small model; what the hub would give.
ELSEWHERE = """
from mrt_lib import models, reasoner
from dataclasses import replace
from pathlib import Path
from mrt_lib.tasks import MathTask
from mrt_lib.training.presets import get_preset
from tools import machine

T4 = get_preset("t4")
SMALL = replace(T4.config, learning_rate=1e-3, warmup=1, prompts=4, thinking_tokens={thinking})
machine.choose = lambda: replace(T4, dtype="float32", config=SMALL)
hub, find = {{"{name}": Path({model!r})}}, models.find_model
models.find_model = reasoner.find_model = lambda name: hub.get(str(name)) or find(name)
MathTask.from_dataset = classmethod(lambda cls, name: cls.from_jsonl({files}))
"""


@pytest.fixture(scope="module")
def code():
    return [cell for cell in notebook_files.read(PATH).cells if cell.cell_type == "code"]


@pytest.mark.notebook
def test_the_branch_for_a_larger_model_runs_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv("MRT_TIER", "smoke")
    file = write_sums(tmp_path / "sums.jsonl")
    model = write_model(tmp_path / "model", MathTask.from_jsonl(file))
    notebook = notebook_files.read(PATH)
    first = next(i for i, cell in enumerate(notebook.cells) if "machine.choose()" in cell.source)
    lines = file.read_text().splitlines(keepends=True)
    files = {"train": tmp_path / "train.jsonl", "test": tmp_path / "test.jsonl"}
    for path, kept in zip(files.values(), (lines[:5], lines[5:]), strict=True):
        path.write_text("".join(kept))
    given = {split: str(path) for split, path in files.items()}
    parts = {"thinking": THINKING, "name": NAME, "model": str(model), "files": given}
    chosen = notebook.cells[first]
    chosen.source = chosen.source.replace('LARGER = ""', f'LARGER = "{NAME}"')
    notebook.cells.insert(first, nbformat.v4.new_code_cell(ELSEWHERE.format(**parts)))
    path = tmp_path / PATH.name
    notebook_files.write(notebook, path)
    run = run_notebook(path, tmp_path / "done.ipynb")
    assert run.error is None, f"cell {run.error['cell']}: {run.error['error']}"
    said = "".join(str(cell.get("outputs")) for cell in notebook_files.read(tmp_path / "done.ipynb").cells)
    assert f"{NAME.partition('/')[2]}, 5 problems to train on, 2 to measure on" in said
    assert "million parameters in float32" in said
    assert "on this machine: 8 steps of" in said  # an arm and its control


def test_what_the_branch_needs_is_asked_for_before_anything_of_it_begins(code):
    (chosen,) = [cell.source for cell in code if "machine.choose()" in cell.source]
    (branch,) = [node for node in ast.parse(chosen).body if isinstance(node, ast.If) and node.orelse][:1]
    assert ast.unparse(branch.orelse[0]) == "environment.prepare(hosted, environment.MATHEMATICS)"
    loading = next(i for i, cell in enumerate(code) if "PRESET.load(" in cell.source)
    assert code.index(next(cell for cell in code if cell.source == chosen)) < loading


def test_the_hours_are_said_before_the_first_report_and_the_first_step(code):
    sources = [cell.source for cell in code]
    said = next(i for i, source in enumerate(sources) if "machine.forecast(" in source)
    assert all(
        "mrt_lib.report(" not in source and "loop.run(" not in source for source in sources[: said + 1]
    )


def test_what_mathematics_needs_has_bounds():
    assert {str(requirement(name)) for name in ("math-verify", "datasets")} == {
        "math-verify>=0.9",
        "datasets>=4",
    }
