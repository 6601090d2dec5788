import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.regret import (
    area,
    cumulative_regret,
    normalised_regret,
    token_efficiency,
    tokens_to_accuracy,
    value_at,
    vote_regret,
)

probabilities = st.floats(0, 1)
budgets = st.integers(1, 60)
curves = st.lists(st.tuples(st.integers(0, 9), probabilities), min_size=1, max_size=10).map(
    lambda points: (np.cumsum([steps for steps, _ in points]), np.array([value for _, value in points]))
)


# Cumulative regret over episodes


def test_cumulative_regret_by_hand():
    assert cumulative_regret([0.25, 0.5, 1], 3) == 1.25
    assert cumulative_regret([0.25, 0.5], 4) == 2.25  # keeps .5
    assert cumulative_regret([0.25, 0.5, 1], 1) == 0.75
    assert cumulative_regret([0.25, 0.5], 2, comparator=0.5) == 0.25
    assert cumulative_regret([0.25, 0.5, 0.5], 2, comparator=[0.5, 1, 1]) == 0.75


def test_cumulative_regret_grows_at_the_rate_of_what_is_missing():
    assert cumulative_regret([0], 7) == 7
    assert cumulative_regret([1], 7) == 0
    assert cumulative_regret([0.75], 8) == 2


@given(st.lists(probabilities, min_size=1, max_size=8), st.integers(1, 12), st.data())
def test_an_episode_without_progress_never_lowers_cumulative_regret(values, episodes, data):
    values = sorted(values)
    at = data.draw(st.integers(0, len(values) - 1))
    idle = [*values[: at + 1], *values[at:]]
    assert cumulative_regret(idle, episodes) >= cumulative_regret(values, episodes) - 1e-12


# Area and normalised regret over tokens


@pytest.mark.parametrize("budget", [1, 3, 10, 1000])
def test_closed_forms(budget):
    assert normalised_regret([0], [0.25], budget) == 0.75  # constant
    assert normalised_regret([0, 5], [0, 0], budget) == 1  # never
    assert normalised_regret([0, 5], [1, 1], budget) == 0  # perfect from the start


def test_the_curve_starts_at_zero_and_climbs_to_its_first_point():
    assert normalised_regret([4], [1], 10) == 0.2  # half of the first 4 tokens
    assert normalised_regret([20], [1], 10) == 0.75  # cut at value 1/2


def test_step_and_linear_curves():
    assert area([0, 6, 6], [0, 0, 1], 10) == 4  # step at 6
    assert area([0, 6, 6], [0, 0, 1], 6) == 0  # cut at the step: its height has no width yet
    assert area([10], [1], 10) == 5
    assert area([10], [1], 5) == 1.25
    assert area([10], [1], 20) == 15  # flat extension


def test_area_by_hand():
    # (0,0) (2,.5) (4,.25) (8,.75), cut at 6 where the line is at .5
    assert area([2, 4, 8], [0.5, 0.25, 0.75], 6) == 0.5 + 0.75 + 0.75
    assert normalised_regret([2, 4, 8], [0.5, 0.25, 0.75], 6) == pytest.approx(2 / 3)


def released_code(tokens, values, cutoff):
    """`analysis/code/regret.ipynb`, up to the training budget; np.trapz under its present name."""
    y, x = [0, *values], np.array([0, *tokens])
    filtered = list(x[x < cutoff])
    if len(filtered) == len(x):
        return 1 - np.trapezoid([*y, y[-1]], [*x, cutoff]) / cutoff
    i = len(filtered) - 1
    last = y[i] + (cutoff - x[i]) / (x[i + 1] - x[i]) * (y[i + 1] - y[i])
    return 1 - np.trapezoid([*y[: i + 1], last], [*filtered, cutoff]) / cutoff


@given(curves, budgets)
def test_normalised_regret_is_that_of_the_released_code(curve, budget):
    assert math.isclose(normalised_regret(*curve, budget), released_code(*curve, budget), abs_tol=1e-12)


@given(curves, budgets, st.integers(2, 50))
def test_scaling_tokens_and_budget_leaves_normalised_regret(curve, budget, factor):
    scaled = normalised_regret(curve[0] * factor, curve[1], budget * factor)
    assert math.isclose(scaled, normalised_regret(*curve, budget), abs_tol=1e-9)


@given(curves, budgets, st.integers(1, 20))
def test_a_last_episode_without_progress_leaves_normalised_regret(curve, budget, length):
    tokens, values = curve
    longer = normalised_regret([*tokens, tokens[-1] + length], [*values, values[-1]], budget)
    assert math.isclose(longer, normalised_regret(tokens, values, budget), abs_tol=1e-12)


@given(curves, budgets, st.integers(1, 20), st.data())
def test_an_episode_without_progress_never_lowers_regret_of_a_rising_curve(curve, budget, length, data):
    tokens, values = curve[0], np.sort(curve[1])
    at = data.draw(st.integers(0, len(values) - 1))
    idle_tokens = [*tokens[: at + 1], *(tokens[at:] + length)]
    idle = normalised_regret(idle_tokens, [*values[: at + 1], *values[at:]], budget)
    assert idle >= normalised_regret(tokens, values, budget) - 1e-12


@given(curves, curves, budgets)
def test_regret_against_another_curve(curve, best, budget):
    against = normalised_regret(*curve, budget, comparator=best)
    difference = normalised_regret(*curve, budget) - normalised_regret(*best, budget)
    assert math.isclose(against, difference, abs_tol=1e-12)
    assert normalised_regret(*curve, budget, comparator=curve) == 0


@given(curves, budgets)
def test_area_is_the_integral_of_the_curve(curve, budget):
    """Every corner is at a whole number, so unit trapezoids are exact where there is no step."""
    tokens, values = curve[0] + np.arange(1, 1 + len(curve[0])), curve[1]
    heights = value_at(tokens, values, np.arange(budget + 1))
    assert math.isclose(area(tokens, values, budget), np.trapezoid(heights), abs_tol=1e-9)


def test_value_at_by_hand():
    at = value_at([2, 4, 4, 8], [0.5, 0.25, 0.5, 1], [[0, 1, 2], [4, 6, 99]])
    assert at.tolist() == [[0, 0.25, 0.5], [0.5, 0.75, 1]]
    assert value_at([0, 4], [0.5, 1], 0) == 0.5


@given(curves, st.lists(st.integers(0, 99), min_size=1))
def test_value_at_is_a_probability(curve, at):
    heights = value_at(*curve, at)
    assert np.all((heights >= 0) & (heights <= 1))


@pytest.mark.parametrize(
    ("tokens", "values", "message"),
    [
        ([], [], "non-empty"),
        ([1, 2], [0.5], "one token count per value"),
        ([2, 1], [0.5, 0.5], "never fall"),
        ([-1], [0.5], "at least 0"),
        ([math.nan], [0.5], "finite"),
        ([math.inf], [0.5], "finite"),
        ([1], [1.5], "probabilities"),
        ([1], [math.nan], "probabilities"),
        ([[1]], [[0.5]], "1 dimension"),
    ],
)
def test_bad_curves(tokens, values, message):
    good = ([1], [0.5])
    for call in (
        lambda: area(tokens, values, 5),
        lambda: value_at(tokens, values, 5),
        lambda: normalised_regret(tokens, values, 5),
        lambda: normalised_regret(*good, 5, comparator=(tokens, values)),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("budget", [0, -3, 10.0, 2.5, True, None, "9", math.inf])
def test_bad_budgets(budget):
    for function in (area, normalised_regret):
        with pytest.raises(ValueError, match="budget must be an integer of at least 1, got"):
            function([1], [0.5], budget)
    with pytest.raises(ValueError, match="episodes must be an integer of at least 1, got"):
        cumulative_regret([0.5], budget)


def test_numpy_integers_are_integers():
    assert area([1], [1], np.int64(2)) == 1.5
    assert cumulative_regret([0.5], np.int32(2)) == 1


@pytest.mark.parametrize("at", [-1, math.nan, [1, math.inf]])
def test_bad_points_to_read(at):
    with pytest.raises(ValueError, match="budgets must be finite and at least 0"):
        value_at([1], [0.5], at)


@pytest.mark.parametrize(
    ("comparator", "message"),
    [
        ([1, 1], "at least 3"),
        ([[1, 1, 1]], "dimension"),
        (2, "probabilities"),
        ([1, math.nan, 1], "nan"),
        ([], "non-empty"),
    ],
)
def test_bad_comparators(comparator, message):
    with pytest.raises(ValueError, match=message):
        cumulative_regret([0.5], 3, comparator)


# Regret against the model's own best


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


# Tokens needed for an accuracy


def test_tokens_to_accuracy_by_hand():
    curve = ([10, 20, 40], [0.2, 0.6, 0.4])
    assert tokens_to_accuracy(*curve, 0.4) == pytest.approx(15)
    assert tokens_to_accuracy(*curve, 0.6) == pytest.approx(20)
    assert tokens_to_accuracy(*curve, 0.1) == 10
    assert tokens_to_accuracy(*curve, 0.7) == math.inf


@given(st.lists(probabilities, min_size=1, max_size=8), st.floats(0.01, 1))
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
