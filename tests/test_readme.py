"""The README's computed parts are up to date; its code and that of CONTRIBUTING runs, and is short."""

import re
from pathlib import Path

import pytest

from mrt_lib.tasks import read_problems, write_problems
from tools.readme import README, ROOT, filled


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


EXAMPLE, OWN_TASK = blocks(README)
(OWN_ARM,) = blocks(ROOT / "CONTRIBUTING.md")


@pytest.mark.parametrize(("code", "most"), [(EXAMPLE, 8), (OWN_TASK, 8), (OWN_ARM, 20)])
def test_examples_are_short(code, most):
    assert len([line for line in code.splitlines() if line.strip()]) <= most


def test_computed_parts_are_up_to_date():
    text = README.read_text()
    assert filled(text) == text, "run `python -m tools.readme`"
    assert "not measured" not in text


@pytest.mark.parametrize("code", [EXAMPLE, OWN_TASK, OWN_ARM], ids=["example", "own task", "own arm"])
def test_code_runs(code, tmp_path):
    """As it stands, but for fewer problems, fewer steps and another place for what it writes."""
    for path in re.findall(r'"(data/problems/[^"]+)"', code):
        write_problems(tmp_path / "few.jsonl", read_problems(path)[:3])
        code = code.replace(path, str(tmp_path / "few.jsonl"))
    code = code.replace('"build/', f'"{tmp_path}/').replace("steps=20", "steps=2")
    exec(compile(code, "README.md", "exec"), {})
    for folder in re.findall(rf'"({re.escape(str(tmp_path))}/[^".]+)"', code):
        assert any(Path(folder).iterdir())
