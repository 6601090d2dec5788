"""The subset-sum reasoner: demonstrations, a miniature training, and the checks."""

import json
from pathlib import Path

import numpy as np
import pytest

from mrt_lib.files import sha256
from mrt_lib.reasoner import Reasoner
from mrt_lib.thoughts.templates import encode
from mrt_lib.training.supervised import FinetuneConfig
from recipes.backtracking.attempts import decided, guess
from recipes.backtracking.base import NAME, TASK, build_tokenizer, demonstrations, train
from recipes.backtracking.checks import grade_lines, main, true_value
from recipes.backtracking.subset_sum import SubsetSum, solution_of, split_of
from recipes.backtracking.text import read_attempts

TOKENIZER = build_tokenizer()
SHIPPED = Path("data/models") / NAME
PROBLEM = SubsetSum(4).problem([12, 5, 4, 2], 21)  # take take take skip
WRONG = "try Line 1 take 12 9 Line 2 skip 5 9 Line 3 take 4 5 Line 4 take 2 3"


def read(example):
    """Problem, attempts and answer of a demonstration."""
    prompt, _, rest = TOKENIZER.decode(example.ids).partition(" <think>")
    thought, _, answer = rest.partition("</think>")
    numbers, target = prompt.removeprefix("solve ").split(" make ")
    problem = TASK.problem([int(n) for n in numbers.split()], int(target))
    attempts = read_attempts(thought.replace("time up", ""), 5)
    return problem, attempts, [word == "take" for word in answer.split() if word in ("take", "skip")]


EXAMPLES = [e for step in range(4) for e in demonstrations(TOKENIZER, 0, step)]


def test_demonstrations_are_a_function_of_the_step_from_training_problems():
    assert demonstrations(TOKENIZER, 0, 3) == EXAMPLES[-32:] != EXAMPLES[:32]
    numbers = [[int(n) for n in read(e)[0].facts["numbers"].split()] for e in EXAMPLES]
    assert {split_of(n) for n in numbers} == {"train"}


def test_demonstrators_copy_what_is_decided_and_either_answer_is_right_for_the_rest():
    """Were the answers always the solution, the model would learn to solve without searching."""
    sides = set(encode(TOKENIZER, "take skip"))
    for example in EXAMPLES:
        _, attempts, answer = read(example)
        known = decided(attempts)
        assert answer[: len(known)] == list(known)
        start = len(example.ids) - 2 * 5 - 1
        assert sorted(example.uniform) == [start + 2 * line + 1 for line in range(len(known), 5)]
        assert all(set(tokens) == sides and example.learn[i] for i, tokens in example.uniform.items())
        assert {example.ids[i] for i in example.uniform} <= sides
    lengths = [len(decided(attempts)) for _, attempts, _ in map(read, EXAMPLES)]
    assert set(lengths) == set(range(6))


def test_a_share_of_the_examples_teaches_the_answer_alone():
    alone = [sum(e.learn) <= 2 * 5 + 2 for e in EXAMPLES]
    assert 0.4 < np.mean(alone) < 0.65


def test_prompt_and_forced_text_go_unlearnt_and_answers_never_do():
    for example in EXAMPLES:
        unlearnt = [i for i, learn in zip(example.ids, example.learn, strict=True) if not learn]
        text = TOKENIZER.decode(unlearnt)
        assert text.startswith("solve")
        assert ("time up </think>" in TOKENIZER.decode(example.ids)) == text.endswith("time up </think>")
        assert all(example.learn[-2 * 5 - 1 :])


def test_mistakes_are_seen():
    attempts = read_attempts("try Line 1 take 13 9 Line 2 skip 5 8 Line 3 take 4 4 Line 4 take 5 1", 4)
    # 13 for 12, so 21 - 13 is 8 not 9; 9 - 0 is not 8; 5 for 2, which does not fit into 4; 4 - 5 is not 1.
    assert grade_lines(PROBLEM, attempts) == {"lines": 4, "number": 2, "rule": 3, "arithmetic": 1}
    assert true_value(PROBLEM, attempts) is None


def test_true_values_by_hand():
    texts = {
        "": 1 / 16,
        WRONG: 0.0,
        f"{WRONG} try Backtrack to Line 2": 1 / 8,
        f"{WRONG} try Backtrack to Line 3": 0.0,
        f"{WRONG} try Backtrack to beginning": 1 / 16,
        f"{WRONG} try Backtrack to Line 2 try Line 2 take 5 4": 1 / 4,
        f"{WRONG} try Backtrack to Line 2 try Line 2 take 5 4 Line 3 take 4 0 Line 4 skip 2 0": 1.0,
    }
    assert {text: true_value(PROBLEM, read_attempts(text, 4)) for text in texts} == texts


def test_the_true_value_is_how_often_a_guess_is_right():
    rng, attempts = np.random.default_rng(0), read_attempts(f"{WRONG} try Backtrack to Line 2", 4)
    hits = [guess(rng, attempts, 4) == solution_of(PROBLEM) for _ in range(4000)]
    assert np.mean(hits) == pytest.approx(true_value(PROBLEM, attempts), abs=4 * 0.34 / 4000**0.5)


def test_a_miniature_is_trained_measured_and_described(tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.backtracking.base.EXAMPLES_PER_STEP", 4)
    monkeypatch.setattr("recipes.backtracking.checks.THINKING", 40)
    train(tmp_path / NAME, tmp_path / "work", FinetuneConfig(steps=2, learning_rate=2e-3, warmup=1))
    reasoner = Reasoner.load(tmp_path / NAME)
    assert reasoner.model.config.vocab_size == len(reasoner.tokenizer) == len(TOKENIZER)
    assert json.loads((tmp_path / NAME / "training.json").read_text())["steps"] == 2

    monkeypatch.setitem(TASK.problems, "test", TASK.problems["test"][:8])
    main(["--models", str(tmp_path)])
    found = json.loads((tmp_path / NAME / "quality.json").read_text())
    assert found["thinking_budget_tokens"] == 40
    assert found["tasks"][TASK.name]["J0"]["value"] < 1e-4  # seven random tokens
    assert found["tasks"][TASK.name]["format"]["value"] == 0.0
    card = (tmp_path / NAME / "README.md").read_text()
    assert card.startswith("# backtracker: a subset-sum reasoner")
    assert "| J_4_attempts |" in card
    assert "{" not in card


def test_the_shipped_reasoner_writes_and_judges_well_and_chooses_by_chance():
    quality = json.loads((SHIPPED / "quality.json").read_text())
    assert quality["provenance"]["sha256"] == sha256(SHIPPED / "model.safetensors")
    found = quality["tasks"][TASK.name]
    assert min(found[name]["low"] for name in ("number", "rule", "arithmetic", "format")) > 0.97
    assert found["judgement_error"]["high"] < 0.01
    assert found["J0"]["value"] == pytest.approx(0.5**5, abs=0.002)
    assert found["right_line"]["high"] < 0.35
    assert (
        found["J_1_attempts"]["value"] < found["J_2_attempts"]["value"] < found["J_4_attempts"]["value"] < 0.2
    )
