"""Problem files: written, read and refused."""

import json
from pathlib import Path

import pytest

from mrt_lib.tasks import Problem, read_problems, write_problems
from recipes.problems import TASKS, shipped_splits, write_splits


@pytest.mark.parametrize("task", [TASKS[0], TASKS[-1]], ids=lambda task: task.name)
def test_problems_come_back_as_they_were_written(task, tmp_path):
    write_splits(task, tmp_path)
    for split, problems in task.problems.items():
        assert read_problems(tmp_path / task.name / f"{split}.jsonl") == problems
    names = sorted(path.name for path in tmp_path.rglob("*.*"))
    assert names == ["test.jsonl", "train.jsonl", "validation.jsonl"]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_shipped_files_hold_the_problems_of_the_task(task):
    files = {path.stem: read_problems(path) for path in Path("data/problems", task.name).iterdir()}
    assert files == shipped_splits(task)
    assert files["test"] == task.problems["test"]


def test_text_beyond_ascii_and_line_breaks_inside_a_question_come_back(tmp_path):
    problem = Problem("π\u2028", "any", "Was ist\n\n√2 · √8?", "4")
    write_problems(tmp_path / "one.jsonl", [problem])
    assert read_problems(tmp_path / "one.jsonl") == [problem]


def test_missing_problem_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no problem file at .*none\.jsonl"):
        read_problems(tmp_path / "none.jsonl")


GOOD = {"id": "1", "task": "t", "question": "q", "answer": "a", "facts": {}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "not JSON"),
        ('{"id": "1"', "not JSON"),
        ("[1, 2]", "expected one JSON object per line, got list"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "answer"}), "field 'answer' is missing"),
        (json.dumps(GOOD | {"answer": 19}), "field 'answer' must be a non-empty string, got 19"),
        (json.dumps(GOOD | {"question": ""}), "field 'question' must be a non-empty string, got ''"),
        (json.dumps(GOOD | {"facts": [1]}), r"field 'facts' must map names to numbers or strings, got \[1\]"),
        (json.dumps(GOOD | {"facts": {"b": [1]}}), "field 'facts' must map names to numbers or strings"),
        (json.dumps(GOOD), "field 'id' repeats"),
        (json.dumps(GOOD | {"level": 5}), "unknown field 'level'; the fields are .*'question'"),
    ],
)
def test_bad_lines_are_named_with_file_line_and_field(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"bad\.jsonl:3: {message}"):
        read_problems(path)
