"""Every committed notebook runs to its end, in small sizes; nothing is written back.

The first four do so in tests/test_solutions.py, followed by the solutions of their exercises.
"""

import pytest

from tests.test_solutions import RUN as WITH_SOLUTIONS
from tools.notebook_files import NOTEBOOKS
from tools.run_notebooks import run_notebook

PATHS = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path not in WITH_SOLUTIONS]


@pytest.mark.notebook
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_committed_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MRT_TIER", "smoke")
    before = path.read_bytes()
    run = run_notebook(path, tmp_path / path.name)
    assert run.error is None, f"cell {run.error['cell']}: {run.error['error']}"
    assert (tmp_path / path.name).is_file()
    assert path.read_bytes() == before
