"""Explorers: what they try, and the thoughts that their trials make."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.tasks import SHIPPED, RootSearch
from recipes.root_search.explorers import (
    bisect,
    explore,
    forced_values,
    mixture,
    random_guess,
    stay_inside,
    thought_text,
)

EXPLORERS = [random_guess, stay_inside, bisect, mixture(0.5)]


@given(
    st.sampled_from(SHIPPED),
    st.sampled_from(EXPLORERS),
    st.integers(1, 31),
    st.integers(0, 31),
    st.integers(0, 99),
)
def test_trials_tell_the_truth_and_never_lose_the_root(task, explorer, root, b, seed):
    trials = explore(task, task.problem(root, b), explorer, 6, np.random.default_rng(seed))
    low, high = 1, task.candidates
    for trial in trials:
        assert trial.value == task.evaluate(trial.guess, b)
        assert trial.verdict == {-1: "low", 0: "hit", 1: "high"}[int(np.sign(trial.guess - root))]
        assert low <= trial.interval[0] <= root <= trial.interval[1] <= high
        assert (trial.guess == root) or not trial.interval[0] <= trial.guess <= trial.interval[1]
        low, high = trial.interval
    assert "hit" not in [trial.verdict for trial in trials[:-1]]
    assert len(trials) == 6 or trials[-1].verdict == "hit"


@pytest.mark.parametrize("explorer", [stay_inside, bisect, mixture(1.0)])
def test_careful_explorers_guess_inside_the_interval_that_is_left(explorer):
    rng = np.random.default_rng(0)
    guesses = [explorer(rng, (14, 23), 31) for _ in range(200)]
    assert all(14 <= guess <= 23 for guess in guesses)


@pytest.mark.parametrize("explorer", [random_guess, mixture(0.0)])
def test_careless_explorers_guess_anywhere_in_the_range(explorer):
    rng = np.random.default_rng(0)
    assert {explorer(rng, (14, 23), 31) for _ in range(1000)} == set(range(1, 32))


def test_bisection_written_out_by_hand():
    # The root is 19 and b is 6: 16 * 22 = 352, 24 * 30 = 720, 20 * 26 = 520, 18 * 24 = 432, 19 * 25 = 475.
    task = RootSearch(31)
    trials = explore(task, task.problem(19, 6), bisect, 9, np.random.default_rng(0))
    assert thought_text(task, trials) == (
        "try 16 : 0 3 5 2 low in 17 31 "
        "try 24 : 0 7 2 0 high in 17 23 "
        "try 20 : 0 5 2 0 high in 17 19 "
        "try 18 : 0 4 3 2 low in 19 19 "
        "try 19 : 0 4 7 5 hit in 19 19"
    )
    assert forced_values(trials, 31) == pytest.approx([1 / 31, 1 / 15, 1 / 7, 1 / 3, 1, 1])
