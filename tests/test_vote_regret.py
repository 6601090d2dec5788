"""Regret against the model's own best: to stop and vote."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.measure.regret import vote_regret

probabilities = st.floats(0, 1)


def test_vote_regret_by_hand():
    majorities = [[0.2, 0.4, 0.6, 0.8], [0.2, 0.2, 0.2, 0.2]]
    # abscissae 1 2 4 6: vote .2 .4 .6 .7 is the optimum, think stays at .2
    optimum = 0.3 + 1.0 + 1.3
    assert vote_regret(majorities, 1) == pytest.approx((optimum - 1.0) / optimum)


def released_areas(trace, budget):
    """`get_all_areas` of `analysis/code/regret_additional.ipynb`, for one trace."""
    total = red = 0
    for i in range(min(len(trace) - 1, budget)):
        maj, x = list(trace[i]), [1, 2, 4, 6]
        green = [maj[0], maj[1], maj[2], (maj[2] + maj[3]) / 2]
        blue = [maj[0] + (at - 1) / (6 - 1) * (trace[i + 1][0] - maj[0]) for at in x]
        best = [max(pair) for pair in zip(green, blue, strict=True)]
        red += np.trapezoid(best, x) - np.trapezoid(blue, x)
        total += np.trapezoid(best, x)
    return red / total if total else math.nan


@given(st.lists(st.tuples(*[probabilities] * 4), min_size=1, max_size=9), st.integers(1, 12))
def test_vote_regret_is_that_of_the_released_code(majorities, boundaries):
    ours, theirs = vote_regret(majorities, boundaries), released_areas(np.array(majorities), boundaries)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gap", range(1, 8))
def test_vote_regret_is_zero_where_thinking_is_best_and_undefined_where_nothing_can_be_won(gap):
    thinking = [[0.0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1]]
    assert vote_regret(thinking, 2, gap) == 0
    assert math.isnan(vote_regret(np.zeros((3, 4)), 2, gap))
    assert math.isnan(vote_regret([[0.5, 0.5, 0.5, 0.5]], 2, gap))  # one boundary has no gap
    assert vote_regret([[0, 1, 1, 1], [0, 0, 0, 0]], 1, gap) == 1


@pytest.mark.parametrize(
    ("majorities", "boundaries", "gap", "message"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1, 5, "2 dimension"),
        ([[0.1, 0.2, 0.3]], 1, 5, "columns"),
        ([[0.1, 0.2, 0.3, 1.4]], 1, 5, "probabilities"),
        ([[0.1] * 4], 0, 5, "boundaries must be an integer"),
        ([[0.1] * 4], 1, 0, "gap must be an integer"),
        ([[0.1] * 4], 1, 8, "gap must be at most 7"),
    ],
)
def test_bad_votes(majorities, boundaries, gap, message):
    with pytest.raises(ValueError, match=message):
        vote_regret(majorities, boundaries, gap)
