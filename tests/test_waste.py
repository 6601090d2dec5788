"""Where the answer is known and where the last gain was: by hand, and by trying every cut."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.measure.progress import known_from, piecewise_constant, useful_until

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("values", "known", "useful"),
    [
        ([0.1, 0.2, 0.9, 0.9, 0.92], 2, 2),
        ([0.9, 0.3, 0.9], 2, 0),  # a recovery is no gain
        ([0.1, 0.14, 0.18, 0.22], None, 2),  # small steps count together
        ([0.6, 0.7, 0.4], None, 1),
        ([0.5], 0, 0),
        ([0.5, 0.55], 0, 0),  # the margin itself is not worth it
    ],
)
def test_by_hand(values, known, useful):
    assert known_from(values) == known
    assert useful_until(values, margin=0.05 + 1e-12) == useful


@given(probabilities, st.floats(0, 0.99), st.floats(0.01, 1))
def test_places_are_the_first_of_their_kind(values, margin, threshold):
    useful, known = useful_until(values, margin), known_from(values, threshold)
    good = [j for j in range(len(values)) if max(values[j:]) <= values[j] + margin]
    assert useful == good[0]
    stays = [j for j in range(len(values)) if min(values[j:]) >= threshold]
    assert known == (stays[0] if stays else None)


@given(probabilities)
def test_a_larger_margin_stops_no_later_and_a_lower_threshold_knows_no_later(values):
    assert useful_until(values, 0.2) <= useful_until(values, 0.1)
    strict, lax = known_from(values, 0.8), known_from(values, 0.3)
    assert strict is None or (lax is not None and lax <= strict)


def cost(right, cuts, answers):
    """Negative log-likelihood with the penalty, for given stretches."""
    total = len(cuts) - 1
    score = total * math.log(answers * len(right)) / 2
    for a, b in itertools.pairwise(cuts):
        n, s = answers * (b - a), sum(right[a:b])
        score -= sum(x * math.log(x / n) for x in (s, n - s) if x)
    return score


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n), min_size=1, max_size=8))
    )
)
def test_no_other_cut_is_more_plausible(case):
    answers, right = case
    found = piecewise_constant(np.array(right) / answers, answers)
    inner = [c for c in range(1, len(right)) if found[c] != found[c - 1]]
    chosen = cost(right, [0, *inner, len(right)], answers)
    rivals = (
        cost(right, [0, *cuts, len(right)], answers)
        for size in range(len(right))
        for cuts in itertools.combinations(range(1, len(right)), size)
    )
    assert chosen <= min(rivals) + 1e-6
    assert found.mean() == pytest.approx(np.mean(right) / answers)


def test_a_clear_step_is_kept_and_a_lucky_answer_is_not():
    assert piecewise_constant([0, 0, 1, 1], 8).tolist() == [0, 0, 1, 1]
    flat = piecewise_constant([0, 0, 0.125, 0, 0, 0, 0, 0], 8)
    assert flat == pytest.approx(np.full(8, 1 / 64))


def test_places_from_samples_are_closer_to_the_truth_with_stretches():
    rng = np.random.default_rng(0)
    errors = {"raw": [], "stretches": []}
    for _ in range(200):
        step = rng.integers(1, 20)
        drawn = rng.binomial(8, np.where(np.arange(25) < step, 0.2, 0.8)) / 8
        for name, values in {"raw": drawn, "stretches": piecewise_constant(drawn, 8)}.items():
            known = known_from(values)
            errors[name].append(abs((24 if known is None else known) - step))
    assert np.mean(errors["stretches"]) < 0.5 * np.mean(errors["raw"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: known_from([0.1, 1.2]), "probabilities"),
        (lambda: known_from([0.1], 0), "threshold must be a probability"),
        (lambda: useful_until([]), "values"),
        (lambda: useful_until([0.1], 1.0), "margin must be a difference"),
        (lambda: piecewise_constant([0.5], 0), "answers must be an integer"),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()
