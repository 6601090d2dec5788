"""Regret over episodes, and over tokens: the area above a curve."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.measure.regret import area, cumulative_regret, normalised_regret, value_at

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
