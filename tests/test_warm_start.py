"""Warm-start data: three schemes on the same problems at equal tokens."""

import numpy as np
import pytest

from recipes.backtracking.attempts import backtracks, is_right, open_lines, right_line, solution_attempt
from recipes.backtracking.base import build_tokenizer
from recipes.backtracking.subset_sum import SubsetSum
from recipes.backtracking.text import read_attempts
from recipes.backtracking.warm_start import SCHEMES, entropy_floor, failed_attempt, failure_nats, warm_start

TASK = SubsetSum(5)
TOKENIZER = build_tokenizer()
PROBLEM = TASK.problems["test"][0]


def draw(scheme, tokens=5000, seed=0, learn_failures=True):
    return warm_start(scheme, TOKENIZER, TASK, tokens, seed, learn_failures)


def prompt_of(example):
    return TOKENIZER.decode(example.ids).partition("<think>")[0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_examples_fill_the_budget_and_repeat_with_the_seed(scheme):
    examples = draw(scheme)
    assert 5000 - 100 < sum(len(e.ids) for e in examples) <= 5000
    assert examples == draw(scheme) != draw(scheme, seed=1)
    assert examples[:10] == draw(scheme, tokens=2500)[:10]


def test_the_schemes_show_the_same_problems_in_the_same_order():
    prompts = {scheme: [prompt_of(e) for e in draw(scheme)] for scheme in SCHEMES}
    fewest = min(map(len, prompts.values()))
    assert fewest > 40
    assert prompts["star"][:fewest] == prompts["rise"][:fewest] == prompts["backtrack"][:fewest]
    assert len(prompts["star"]) > len(prompts["backtrack"]) > len(prompts["rise"])


@pytest.mark.parametrize("seed", range(20))
def test_what_each_scheme_holds(seed):
    drawn = {name: scheme(np.random.default_rng(seed), PROBLEM) for name, scheme in SCHEMES.items()}
    star, rise, backtrack = drawn["star"], drawn["rise"], drawn["backtrack"]
    assert [len(star), len(rise), len(backtrack)] == [1, 2, 2]
    assert all(is_right(PROBLEM, attempts[-1]) for attempts in (star, rise, backtrack))
    assert rise[0] == backtrack[0]
    line = right_line(PROBLEM, rise[0])
    assert backtracks(PROBLEM, rise) == []
    assert backtracks(PROBLEM, backtrack) == [(line, line)]
    assert backtrack[1].lines[: line - 1] == backtrack[0].lines[: line - 1]
    assert backtrack[1].lines == star[0].lines


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_learnt(scheme):
    """With failures: all after the prompt. Without: from the backtrack or the right attempt on."""
    for example in draw(scheme, learn_failures=True):
        learnt = TOKENIZER.decode([i for i, on in zip(example.ids, example.learn, strict=True) if on])
        thought, _, answer = learnt.partition(" </think> ")
        assert prompt_of(example) + f"<think> {learnt}" == TOKENIZER.decode(example.ids)
        assert read_attempts(thought, 5)[-1].taken == tuple(
            w == "take" for w in answer.split() if w in ("take", "skip")
        )
    opening = {"star": "try Line 1", "rise": "try Line 1", "backtrack": "try Backtrack to"}[scheme]
    for example in draw(scheme, learn_failures=False):
        learnt = TOKENIZER.decode([i for i, on in zip(example.ids, example.learn, strict=True) if on])
        assert learnt.startswith(opening)
        assert learnt.count("try") == (2 if scheme == "backtrack" else 1)


def test_probabilities_of_failed_attempts_add_up_to_one():
    small = SubsetSum(4).problem([12, 5, 4, 2], 21)
    rng = np.random.default_rng(0)
    failed = {failed_attempt(rng, small) for _ in range(300)}
    assert len(failed) == 14  # of 16 choices, one takes what does not fit and one is right
    assert sum(np.exp(-failure_nats(small, a)) for a in failed) == pytest.approx(1)


def test_first_mistakes_are_spread_over_the_lines_that_can_be_wrong():
    rng = np.random.default_rng(0)
    lines = [right_line(PROBLEM, failed_attempt(rng, PROBLEM)) for _ in range(3000)]
    open_to_mistakes = open_lines(solution_attempt(PROBLEM))
    shares = [lines.count(line) / 3000 for line in open_to_mistakes]
    assert sum(shares) == 1
    assert shares == pytest.approx([1 / len(shares)] * len(shares), abs=4 * 0.4 / 3000**0.5)


def test_only_failures_raise_the_floor():
    floors = {s: entropy_floor(s, TASK, draw(s), 0) for s in SCHEMES}
    assert floors["star"] == 0
    # The place of the mistake and about two lines of ln 2 after it, over some 65 learnt tokens.
    assert 0.02 < min(floors["rise"], floors["backtrack"]) <= max(floors["rise"], floors["backtrack"]) < 0.06


def test_bad_requests():
    with pytest.raises(ValueError, match=r"unknown scheme 'raft'; known: \['backtrack', 'rise', 'star'\]"):
        draw("raft")
    with pytest.raises(ValueError, match=r"the budget is smaller than one example of \d+ tokens"):
        draw("star", tokens=20)
