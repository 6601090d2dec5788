"""Problem files: written, read and refused."""

import json

import pytest

from mrt_lib.tasks import Problem, RootSearch, read_problems, write_problems
from mrt_lib.tasks.root_search import SPLITS, write_splits


def test_problems_come_back_as_they_were_written(tmp_path):
    write_splits(RootSearch(31), tmp_path)
    for split, problems in RootSearch(31).problems.items():
        assert read_problems(tmp_path / "root_search_31" / f"{split}.jsonl") == problems
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == sorted(f"{split}.jsonl" for split in SPLITS)


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
