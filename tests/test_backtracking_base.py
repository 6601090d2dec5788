"""The subset-sum reasoner: demonstrations, a miniature training, and the checks."""

import json

import numpy as np
import pytest

from mrt_lib.backtracking_base import NAME, TASK, build_tokenizer, demonstrations, train
from mrt_lib.backtracking_checks import grade_lines, main, true_value
from mrt_lib.finetuning import FinetuneConfig
from mrt_lib.reasoner import load_reasoner
from mrt_lib.tasks import SubsetSum
from mrt_lib.tasks.backtracking import (
    Attempt,
    chance,
    is_right,
    oracle_line,
    random_choice,
    redo,
    search_by_lines,
    write_lines,
)
from mrt_lib.tasks.backtracking_text import read_attempts
from mrt_lib.tasks.subset_sum import split_of

TOKENIZER = build_tokenizer()
PROBLEM = SubsetSum(4).problem([14, 5, 4, 2], 23)  # take take take skip
WRONG = "try Line 1 take 14 9 Line 2 skip 5 9 Line 3 take 4 5 Line 4 take 2 3"


def read(example):
    """Problem, attempts and answer of a demonstration."""
    prompt, _, rest = TOKENIZER.decode(example.ids).partition(" <think>")
    thought, _, answer = rest.partition("</think>")
    numbers, target = prompt.removeprefix("solve ").split(" make ")
    problem = TASK.problem([int(n) for n in numbers.split()], int(target))
    return problem, read_attempts(thought.replace("time up", ""), 6), answer.split()[:-1]


EXAMPLES = [e for step in range(4) for e in demonstrations(TOKENIZER, 0, step)]


def test_demonstrations_are_a_function_of_the_step_from_training_problems():
    assert demonstrations(TOKENIZER, 0, 3) == EXAMPLES[-64:] != EXAMPLES[:64]
    numbers = [[int(n) for n in read(e)[0].facts["numbers"].split()] for e in EXAMPLES]
    assert {split_of(n) for n in numbers} == {"train"}


def test_demonstrators_answer_with_what_they_have_or_the_attempt_that_comes_next():
    """Were the answers always the solution, the model would learn to solve without searching."""
    right = 0
    for problem, attempts, answer in map(read, EXAMPLES):
        last = attempts[-1] if attempts else None
        if last and is_right(problem, last):
            assert answer == problem.answer.split()
        elif last and len(last.lines) < 6:  # cut after a backtrack: the line is decided the other way
            taken = [word == "take" for word in answer]
            assert taken[: len(last.lines)] == list(last.taken)
            assert taken[last.back_to - 1] != attempts[-2].taken[last.back_to - 1]
            right += answer == problem.answer.split()
        else:
            right += answer == problem.answer.split()
    assert right / len(EXAMPLES) < 0.2


def test_only_forced_text_prompt_and_nothing_else_goes_unlearnt():
    for example in EXAMPLES:
        unlearnt = [i for i, learn in zip(example.ids, example.learn, strict=True) if not learn]
        text = TOKENIZER.decode(unlearnt)
        assert text.startswith("solve")
        assert text.endswith(("<think>", "time up </think>"))


def test_mistakes_are_seen():
    attempts = read_attempts("try Line 1 take 13 9 Line 2 skip 5 8 Line 3 take 4 4 Line 4 take 5 1", 4)
    # 13 for 14, so 23 - 13 is 10 not 9; 9 - 0 is not 8; 5 for 2, which does not fit into 4; 4 - 5 is not 1.
    assert grade_lines(PROBLEM, attempts) == {"lines": 4, "number": 2, "rule": 3, "arithmetic": 1}
    assert true_value(PROBLEM, attempts) is None


def test_true_values_by_hand():
    # 14, 5, 4 fit when the solution reaches them; 2 does not fit into the 0 that is left.
    assert [chance(PROBLEM, kept) for kept in range(5)] == [1 / 8, 1 / 4, 1 / 2, 1, 1]
    texts = {
        "": 1 / 8,
        WRONG: None,
        f"{WRONG} try Backtrack to Line 2": 1 / 2,
        f"{WRONG} try Backtrack to Line 3": 0.0,
        f"{WRONG} try Backtrack to beginning": 0.0,
        f"{WRONG} try Backtrack to Line 2 try Line 2 take 5 4 Line 3 take 4 0 Line 4 skip 2 0": 1.0,
    }
    assert {text: true_value(PROBLEM, read_attempts(text, 4)) for text in texts} == texts


def test_the_true_value_is_how_often_a_redo_is_right():
    rng = np.random.default_rng(0)
    attempt = Attempt(write_lines(PROBLEM, random_choice, np.random.default_rng(1)))
    line = oracle_line(rng, PROBLEM, attempt)
    hits = [is_right(PROBLEM, redo(PROBLEM, attempt, line, random_choice, rng)) for _ in range(4000)]
    assert np.mean(hits) == pytest.approx(chance(PROBLEM, line), abs=4 * 0.5 / 4000**0.5)
    starts = [
        is_right(PROBLEM, search_by_lines(PROBLEM, random_choice, oracle_line, 1, rng)[0])
        for _ in range(4000)
    ]
    assert np.mean(starts) == pytest.approx(1 / 8, abs=4 * 0.33 / 4000**0.5)


def test_a_miniature_is_trained_measured_and_described(tmp_path, monkeypatch):
    monkeypatch.setattr("mrt_lib.backtracking_base.EXAMPLES_PER_STEP", 4)
    monkeypatch.setattr("mrt_lib.backtracking_checks.THINKING", 40)
    train(tmp_path / NAME, tmp_path / "work", FinetuneConfig(steps=2, learning_rate=2e-3, warmup=1))
    model, tokenizer = load_reasoner(tmp_path / NAME)
    assert model.config.vocab_size == len(tokenizer) == len(TOKENIZER)
    assert json.loads((tmp_path / NAME / "training.json").read_text())["steps"] == 2

    monkeypatch.setitem(TASK.problems, "test", TASK.problems["test"][:2])
    main(["--models", str(tmp_path)])
    found = json.loads((tmp_path / NAME / "quality.json").read_text())
    assert found["thinking_budget_tokens"] == 40
    assert found["tasks"][TASK.name]["J0"]["value"] < 1e-4  # seven random tokens
    assert found["tasks"][TASK.name]["format"]["value"] == 0.0
    card = (tmp_path / NAME / "README.md").read_text()
    assert card.startswith("# backtracker: a subset-sum reasoner")
    assert "| J_4_attempts |" in card
    assert "{" not in card
