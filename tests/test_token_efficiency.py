"""Tokens needed for an accuracy, and the ratio of two such needs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.measure.regret import token_efficiency, tokens_to_accuracy


def test_tokens_to_accuracy_by_hand():
    curve = ([10, 20, 40], [0.2, 0.6, 0.4])
    assert tokens_to_accuracy(*curve, 0.4) == pytest.approx(15)
    assert tokens_to_accuracy(*curve, 0.6) == pytest.approx(20)
    assert tokens_to_accuracy(*curve, 0.1) == 10
    assert tokens_to_accuracy(*curve, 0.7) == math.inf


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 1))
def test_the_curve_is_at_the_target_where_it_first_reaches_it(accuracy, target):
    x = 10.0 * np.arange(1, len(accuracy) + 1)
    needed = tokens_to_accuracy(x, accuracy, target)
    if needed == math.inf:
        assert max(accuracy) < target
    else:
        assert all(a < target for a, at in zip(accuracy, x, strict=True) if at < needed - 1e-6)
        assert accuracy[0] >= target or math.isclose(np.interp(needed, x, accuracy), target, abs_tol=1e-6)


def test_token_efficiency_of_a_curve_stretched_threefold():
    budgets = np.arange(1, 31)
    slopes = np.random.default_rng(0).uniform(0.5, 1.5, size=(20, 1)) / 30
    fast, slow = np.minimum(slopes * budgets, 1), np.minimum(slopes * budgets / 3, 1)
    found = token_efficiency(budgets, fast, slow, target=0.2, seed=0)
    assert (found.value, found.low, found.high) == pytest.approx((3, 3, 3))
    assert found.n == 20
    assert found == token_efficiency(budgets, fast, slow, target=0.2, seed=0)
    assert token_efficiency(budgets, slow, fast, target=0.2, seed=0).value == pytest.approx(1 / 3)


def test_token_efficiency_has_open_ends_where_a_target_is_not_reached():
    reaches, never = np.full((5, 3), 0.5), np.zeros((5, 3))
    only_a = token_efficiency([1, 2, 3], reaches, never, target=0.4, seed=0)
    assert (only_a.value, only_a.low, only_a.high) == (math.inf, math.inf, math.inf)
    only_b = token_efficiency([1, 2, 3], never, reaches, target=0.4, seed=0)
    assert (only_b.value, only_b.low, only_b.high) == (0, 0, 0)
    neither = token_efficiency([1, 2, 3], never, never, target=0.4, seed=0)
    assert math.isnan(neither.value)
    assert (neither.low, neither.high) == (0, math.inf)


def test_token_efficiency_at_the_edge_of_reach_is_open_above():
    rng = np.random.default_rng(0)
    a = np.sort(rng.random((30, 6)), axis=1)
    b = a - 0.1 * a
    found = token_efficiency(np.arange(1, 7), a, b, target=b.mean(axis=0)[-1], seed=0)
    assert found.high == math.inf
    assert 0 < found.low <= found.value < math.inf


@pytest.mark.parametrize(
    ("budgets", "accuracy", "target", "message"),
    [
        ([2, 1], [0.1, 0.2], 0.5, "rise strictly"),
        ([1, 1], [0.1, 0.2], 0.5, "rise strictly"),
        ([0, 1], [0.1, 0.2], 0.5, "above 0"),
        ([1, math.inf], [0.1, 0.2], 0.5, "finite"),
        ([1, 2, 3], [0.1, 0.2], 0.5, "one accuracy per budget"),
        ([1, 2], [0.1, 1.2], 0.5, "accuracy"),
        ([], [], 0.5, "accuracy"),
        ([1, 2], [0.1, 0.2], 0, "target"),
        ([1, 2], [0.1, 0.2], 60, "target"),
        ([1, 2], [0.1, 0.2], math.nan, "target"),
    ],
)
def test_bad_accuracy_curves(budgets, accuracy, target, message):
    with pytest.raises(ValueError, match=message):
        tokens_to_accuracy(budgets, accuracy, target)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones(3), np.ones(3), "accuracy_a"),
        (np.ones((4, 3)), np.full((4, 3), 2), "accuracy_b"),
        (np.ones((4, 3)), np.ones((5, 3)), "share the axes"),
        (np.ones((1, 3)), np.ones((1, 3)), "at least 2"),
        (np.ones((4, 3)), np.ones((4, 2)), "one accuracy per budget"),
    ],
)
def test_bad_problem_accuracies(a, b, message):
    with pytest.raises(ValueError, match=message):
        token_efficiency([1, 2, 3], a, b, target=0.5, seed=0)
