"""Subset sum: one solution each, splits without a leak, the verifier."""

from itertools import combinations

import numpy as np
import pytest

from mrt_lib.tasks import Problem, get_task
from recipes.backtracking.subset_sum import (
    SIZES,
    SPLITS,
    SubsetSum,
    facts_of,
    solution_of,
    solutions,
    split_of,
)

TASK = SubsetSum(5)
RIGHT = "Line 1 take Line 2 take Line 3 take Line 4 skip"
EVERY = [p for split in TASK.problems.values() for p in split]


def test_a_problem_written_out_by_hand():
    # 12 + 5 + 4 = 21, and no other of the 2^4 subsets makes 21.
    assert SubsetSum(4).problem([12, 5, 4, 2], 21) == Problem(
        id="subset_sum_4:12 5 4 2:21",
        task="subset_sum_4",
        question="12 5 4 2 make 21",
        answer=RIGHT,
        facts={"numbers": "12 5 4 2", "target": 21},
    )


def test_every_shipped_problem_has_exactly_one_solution_and_it_is_the_answer():
    for problem in EVERY:
        numbers, target = facts_of(problem)
        subsets = [c for size in range(6) for c in combinations(range(5), size)]
        right = [c for c in subsets if sum(numbers[i] for i in c) == target]
        assert len(right) == 1
        assert right[0] == tuple(i for i, taken in enumerate(solution_of(problem)) if taken)
        assert 2 <= len(right[0]) <= 3


def test_splits_share_no_set_of_numbers_in_any_order():
    sets = {split: {frozenset(facts_of(p)[0]) for p in problems} for split, problems in TASK.problems.items()}
    assert all(not sets[a] & sets[b] for a, b in combinations(sets, 2))
    assert {split: len(problems) for split, problems in TASK.problems.items()} == SIZES
    assert len({p.id for p in EVERY}) == len(EVERY)
    assert split_of([3, 1, 2, 9]) == split_of([9, 3, 2, 1])


@pytest.mark.parametrize("split", SPLITS)
def test_new_problems_stay_in_their_split(split):
    rng = np.random.default_rng(0)
    drawn = [TASK.draw(rng, split) for _ in range(50)]
    assert {split_of(facts_of(p)[0]) for p in drawn} == {split}
    assert drawn[0] == TASK.draw(np.random.default_rng(0), split)


def test_sampling_repeats_with_the_seed_and_draws_shipped_problems():
    drawn = TASK.sample(np.random.default_rng(3), 20, "test")
    assert drawn == TASK.sample(np.random.default_rng(3), 20, "test")
    assert set(map(id, drawn)) <= set(map(id, TASK.problems["test"]))


def test_a_constant_answer_is_seldom_right():
    """A policy that never looks at the problem has next to nothing: answers are spread."""
    answers = [p.answer for p in EVERY]
    assert max(map(answers.count, set(answers))) / len(answers) < 0.1


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "take",
        "Line 1 take Line 2 take Line 3 take",
        f"{RIGHT} skip",
        RIGHT.upper(),
        "take take take skip",
        "12 5 4",
    ],
)
def test_the_verifier_refuses_junk_and_other_answers(junk):
    task = SubsetSum(4)
    problem = task.problem([12, 5, 4, 2], 21)
    assert task.score(problem, junk) == 0.0
    assert task.score(problem, RIGHT.replace(" ", "  ") + "\n") == 1.0
    assert task.answers(problem) == (RIGHT,)


@pytest.mark.parametrize(
    ("numbers", "target", "message"),
    [
        ([1, 2, 3, 4], 5, "2 subsets of .* make 5; a problem has one"),
        ([1, 2, 3, 4], 11, "0 subsets of .* make 11; a problem has one"),
        ([1, 2, 3, 3], 9, r"need 4 different numbers in 1\.\.12"),
        ([1, 2, 3], 6, r"need 4 different numbers in 1\.\.12"),
        ([1, 2, 3, 16], 16, r"need 4 different numbers in 1\.\.12"),
    ],
)
def test_bad_problems(numbers, target, message):
    with pytest.raises(ValueError, match=message):
        SubsetSum(4).problem(numbers, target)


def test_bad_task_and_bad_split():
    with pytest.raises(ValueError, match=r"numbers must be in 4\.\.6, got 7"):
        SubsetSum(7)
    for draw in (lambda: TASK.draw(np.random.default_rng(0), "dev"), lambda: TASK.sample(None, 1, "dev")):
        with pytest.raises(ValueError, match=r"unknown split 'dev'; known: .*'test'"):
            draw()


def test_solutions_lists_all():
    assert solutions([1, 2, 3, 4], 5) == [(False, True, True, False), (True, False, False, True)]
    assert TASK.optimal_values(4) is None
    assert get_task("subset_sum_5") == TASK
