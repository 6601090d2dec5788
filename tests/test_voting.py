import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.measure import voting
from mrt_lib.measure.voting import majority_at_k, pass_at_k

answer_lists = st.lists(st.sampled_from(["7", "8", "9", ""]), min_size=1, max_size=9)


def test_pass_at_k_by_hand():
    assert pass_at_k(4, 1, 1) == 0.25
    assert pass_at_k(5, 1, 1) == 0.2
    assert pass_at_k(4, 1, 2) == 0.5
    assert pass_at_k(4, 2, 2) == pytest.approx(5 / 6)
    assert pass_at_k(4, 0, 4) == 0
    assert pass_at_k(4, 1, 4) == 1
    assert pass_at_k(4, 3, 2) == 1


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n, data):
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([True] * right + [False] * (n - right), k))
    assert math.isclose(pass_at_k(n, right, k), sum(map(any, subsets)) / len(subsets), abs_tol=1e-12)


def test_pass_at_k_of_large_counts_is_finite():
    assert pass_at_k(100_000, 10, 5_000) == pytest.approx(1 - 0.95**10, rel=1e-3)


def test_majority_by_hand():
    assert majority_at_k(["7", "7", "8"], "7", 3) == 1
    assert majority_at_k(["7", "8", "8"], "7", 3) == 0
    assert majority_at_k(["7", "8"], "7", 2) == 0.5  # a tie
    assert majority_at_k(["7", "8", "9"], "7", 3) == 0.5  # a tie of three
    assert majority_at_k(["7", "7", "8"], "7", 2) == pytest.approx(2 / 3)  # one win, two ties


def test_unreadable_answers_are_no_rivals():
    assert majority_at_k(["7", "", ""], "7", 3) == 1
    assert majority_at_k(["", ""], "7", 2) == 0
    assert majority_at_k(["7", "", ""], "7", 1) == pytest.approx(1 / 3)


def test_weights_are_powers_of_two():
    # weights 1 and 1/2 + 1/2: a tie; any more confidence in 7 breaks it
    assert majority_at_k(["7", "8", "8"], "7", 3, [0, -1, -1]) == 0.5
    assert majority_at_k(["7", "8", "8"], "7", 3, [0, -1.1, -1.1]) == 1
    assert majority_at_k(["7", "8", "8"], "7", 3, [0, -0.9, -0.9]) == 0


@given(answer_lists)
def test_majority_of_one_is_accuracy(answers):
    assert math.isclose(majority_at_k(answers, "7", 1), answers.count("7") / len(answers), abs_tol=1e-12)


@given(answer_lists, st.data())
def test_majority_ignores_order_and_equal_weights(answers, data):
    k, shuffled = data.draw(st.integers(1, len(answers))), data.draw(st.permutations(answers))
    found = majority_at_k(answers, "7", k)
    assert majority_at_k(shuffled, "7", k) == found
    assert majority_at_k(answers, "7", k, [-2.0] * len(answers)) == found
    assert 0 <= found <= pass_at_k(len(answers), answers.count("7"), k)


@given(answer_lists, st.data())
def test_one_more_right_answer_instead_of_a_wrong_one_never_hurts(answers, data):
    at, k = data.draw(st.integers(0, len(answers) - 1)), data.draw(st.integers(1, len(answers)))
    better = [*answers[:at], "7", *answers[at + 1 :]]
    assert majority_at_k(better, "7", k) >= majority_at_k(answers, "7", k)


def test_two_answers_divide_the_votes():
    answers = ["7", "7", "7", "8", "8", "8", "8", ""]
    total = sum(majority_at_k(answers, gold, 3) for gold in ("7", "8"))
    assert total == pytest.approx(1)  # three votes always hold at least two readable ones


def test_draws_agree_with_enumeration_and_repeat(monkeypatch):
    answers = ["7"] * 5 + ["8"] * 4 + ["9", ""]
    exact = majority_at_k(answers, "7", 4)
    monkeypatch.setattr(voting, "ENUMERATE", 0)
    drawn = majority_at_k(answers, "7", 4, seed=1)
    assert drawn == pytest.approx(exact, abs=0.02)
    assert drawn == majority_at_k(answers, "7", 4, seed=1)
    assert drawn != majority_at_k(answers, "7", 4, seed=2)


def test_many_answers_are_drawn():
    assert majority_at_k(["7"] * 40 + ["8"] * 24, "7", 33) > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 5, 1), "right"),
        ((4, -1, 1), "right"),
        ((4, 1, 0), "k must"),
        ((4, 1, 5), "k must"),
        ((0, 0, 1), "k must"),
    ],
)
def test_bad_counts(arguments, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k(*arguments)


@pytest.mark.parametrize(
    ("answers", "gold", "k", "options", "message"),
    [
        ([], "7", 1, {}, "k must"),
        (["7"], "7", 2, {}, "k must"),
        (["7"], "7", 0, {}, "k must"),
        (["7"], "", 1, {}, "gold is empty"),
        (["7"], "7", 1, {"mean_log_probs": []}, "mean_log_probs"),
        (["7"], "7", 1, {"mean_log_probs": [-1, -2]}, "mean_log_probs"),
        (["7"], "7", 1, {"mean_log_probs": [math.nan]}, "mean_log_probs"),
    ],
)
def test_bad_votes(answers, gold, k, options, message):
    with pytest.raises(ValueError, match=message):
        majority_at_k(answers, gold, k, **options)
