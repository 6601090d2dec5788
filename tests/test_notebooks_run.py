"""Every committed notebook runs to its end, in small sizes; nothing is written back."""

import pytest

from tools.notebook_files import NOTEBOOKS
from tools.run_notebooks import run_notebook

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.notebook
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_committed_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MRT_TIER", "smoke")
    before = path.read_bytes()
    run = run_notebook(path, tmp_path / path.name)
    assert run.error is None, f"cell {run.error['cell']}: {run.error['error']}"
    assert (tmp_path / path.name).is_file()
    assert path.read_bytes() == before
