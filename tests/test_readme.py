"""What is computed in README and docs is up to date; the code in them runs, and is short; links lead on."""

import re
from pathlib import Path

import pytest

from mrt_lib.tasks import read_problems, write_problems
from tools.readme import PAGES, README, ROOT, filled


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


(EXAMPLE,) = blocks(README)
(OWN_TASK,) = blocks(ROOT / "docs" / "your_model.md")
(OWN_ARM,) = blocks(ROOT / "CONTRIBUTING.md")


@pytest.mark.parametrize(("code", "most"), [(EXAMPLE, 8), (OWN_TASK, 8), (OWN_ARM, 20)])
def test_examples_are_short(code, most):
    assert len([line for line in code.splitlines() if line.strip()]) <= most


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_computed_parts_are_up_to_date(page):
    text = page.read_text()
    assert filled(text) == text, "run `python -m tools.readme`"
    assert "not measured" not in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [("evidence.gain_ratio", r"\d\.\d\d \[\d\.\d\d, \d\.\d\d\]"), ("house.none", "not measured")],
)
def test_a_record_named_in_a_page_becomes_its_number(name, shown):
    assert re.fullmatch(f"by <!--.*?-->{shown}<!--.*?-->", filled(f"by <!-- {name} -->9<!-- /{name} -->"))


def test_the_readme_is_one_screen():
    assert len(README.read_bytes()) <= 7168


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"], ids=str)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


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
