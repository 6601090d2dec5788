"""From rewards and values to advantages, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.arms import MRTOffline, Rollout
from mrt_lib.arms.credit import centre_by_episode, episode_credits, group_advantages, groups, spread
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.traces import Trace

PROBLEM = Problem("q", "some task", "why?", "because")


def rollout(group=0, lengths=(2, 1), finished=True, answer=0, values=(), **settings):
    """Episodes of these lengths after a prompt of two tokens."""
    ends = np.cumsum(lengths).tolist()
    thought = list(range(sum(lengths)))
    trace = Trace("q", [8, 9], thought, ends, finished, answer_ids=[7] * answer, values=list(values))
    return Rollout(PROBLEM, trace, group, settings.pop("reward", 0.0), **settings)


def in_groups(*names):
    return [rollout(group=name) for name in names]


def test_group_advantages_by_hand():
    rewards, rollouts = [1, 0, 0, 1], in_groups(0, 0, 0, 0)
    assert group_advantages(rewards, rollouts, scale=False).tolist() == [0.5, -0.5, -0.5, 0.5]
    scaled = 0.5 / (math.sqrt(1 / 3) + 1e-4)  # sample variance of four: 4 * 0.25 / 3
    np.testing.assert_allclose(
        group_advantages(rewards, rollouts, scale=True), [scaled, -scaled, -scaled, scaled], rtol=1e-12
    )


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_all_right_or_all_wrong_teaches_nothing(scale, reward):
    assert group_advantages([reward] * 4, in_groups(0, 0, 0, 0), scale).tolist() == [0] * 4


def test_groups_are_compared_apart_wherever_their_rollouts_stand():
    rollouts = in_groups(5, 2, 5, 2, 7)
    assert groups(rollouts) == [[0, 2], [1, 3], [4]]
    found = group_advantages([1, 10, 0, 30, 4], rollouts, scale=False)
    assert found.tolist() == [0.5, -10, -0.5, 10, 0]
    assert group_advantages([1, 10, 0, 30, 4], rollouts, scale=True)[4] == 0


@pytest.mark.parametrize(
    ("rule", "horizon", "expected"),
    [
        ("progress", 4, [0.2, -0.1]),
        ("log_progress", 4, [math.log(3), math.log(2 / 3)]),
        ("regret_to_go", 4, [(0.2 + 3 * 0.1) / 4, -0.1]),
        ("regret_to_go", 2, [(0.2 + 0.1) / 2, -0.1]),
        ("regret_to_go", 1, [0.2, 0]),  # what comes after the horizon changes nothing within it
    ],
)
def test_credits_of_episodes_and_0_for_the_end(rule, horizon, expected):
    cut, ended = (rollout(finished=f, values=(0.1, 0.3, 0.2)) for f in (False, True))
    np.testing.assert_allclose(episode_credits(cut, rule, horizon), expected, atol=1e-12)
    np.testing.assert_allclose(episode_credits(ended, rule, horizon), [*expected, 0], atol=1e-12)


@pytest.mark.parametrize("rule", ["progress", "log_progress", "regret_to_go"])
def test_ending_at_once_is_a_decision_of_its_own(rule):
    assert episode_credits(rollout(lengths=(), values=(0.1,)), rule, 4).tolist() == [0]


def test_log_progress_from_no_right_answer_at_all_is_finite():
    credits = episode_credits(rollout(lengths=(1,), finished=False, values=(0.0, 0.5)), "log_progress", 4)
    assert credits == pytest.approx([math.log(0.5 / 1e-6)])


def test_credit_needs_a_known_rule_and_values():
    with pytest.raises(ValueError, match=r"credit must be progress, .* got 'gain'"):
        episode_credits(rollout(values=(0.1, 0.3, 0.2)), "gain", 4)
    with pytest.raises(ValueError, match="non-empty"):
        episode_credits(rollout(), "progress", 4)


def test_centring_by_hand_with_thoughts_of_unequal_length():
    credits = [np.array(c) for c in ([0.4, 0.1], [0.2], [0.0, 0.3, 0.5], [9.0])]
    centred = centre_by_episode(credits, in_groups(0, 0, 0, 1))
    for found, expected in zip(centred, ([0.2, -0.1], [0.0], [-0.2, 0.1, 0.0], [0.0]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert credits[0].tolist() == [0.4, 0.1]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.floats(-1, 1), max_size=5)).map(
            lambda pair: (pair[0], np.array(pair[1], dtype=float))
        ),
        min_size=1,
        max_size=12,
    )
)
def test_centred_credits_have_mean_0_at_every_index_and_keep_their_differences(made):
    names, credits = [name for name, _ in made], [c for _, c in made]
    centred = centre_by_episode(credits, in_groups(*names))
    assert [len(c) for c in centred] == [len(c) for c in credits]
    for members in groups(in_groups(*names)):
        for index in range(5):
            reached = [i for i in members if len(credits[i]) > index]
            shifts = [credits[i][index] - centred[i][index] for i in reached]
            assert np.ptp([*shifts, *shifts[:1]] or [0]) < 1e-12
            assert abs(sum(centred[i][index] for i in reached)) < 1e-12


def test_spread_pays_episodes_end_and_answer():
    decisions = np.array([1.0, 2.0, 3.0])
    ended = rollout(lengths=(2, 1), finished=True, answer=2)
    assert spread(ended, 0.5, decisions).tolist() == [1.5, 1.5, 2.5, 3.5, 0.5, 0.5]
    cut = rollout(lengths=(2, 1), finished=False, answer=2)
    assert spread(cut, 0.5, decisions[:2]).tolist() == [1.5, 1.5, 2.5, 0.5, 0.5]
    assert spread(rollout(lengths=()), 0.5, decisions[:1]).tolist() == [1.5]


def test_spread_without_decisions_is_the_outcome_everywhere():
    for finished in (True, False):
        one = rollout(finished=finished, answer=2, given=2)
        assert spread(one, -0.5).tolist() == [-0.5] * (5 + finished)
        assert one.tokens == 5 + finished


def test_spread_refuses_a_wrong_number_of_decisions():
    for finished, number in ((True, 2), (True, 4), (False, 1)):
        with pytest.raises(ValueError, match=r"shape|broadcast"):
            spread(rollout(finished=finished), 0.0, np.zeros(number))


def offline_group(*rewards_and_stops, group=0):
    return [rollout(group, reward=r, stopped=s) for r, s in rewards_and_stops]


def test_the_termination_baseline_is_the_mean_of_the_stopped_half():
    rollouts = offline_group((1.0, True), (0.0, True), (1.0, False), (0.0, False))
    rollouts += offline_group((1.0, True), (1.0, True), (1.0, False), (0.0, False), group=1)
    found = MRTOffline("termination").credit(rollouts, 4)
    assert [set(a.tolist()) for a in found] == [{0}, {0}, {0.5}, {-0.5}, {0}, {0}, {0}, {-1}]


def test_the_group_baseline_compares_both_halves():
    rollouts = offline_group((1.0, True), (0.0, True), (0.0, False), (0.0, False))
    found = MRTOffline("group", scale=False).credit(rollouts, 4)
    assert [set(a.tolist()) for a in found] == [{0.75}, {-0.25}, {-0.25}, {-0.25}]


def test_an_unknown_baseline_is_an_error_and_not_the_other_one():
    with pytest.raises(ValueError, match="baseline must be group or termination, got 'Group'"):
        MRTOffline("Group")


def test_log_progress_refuses_what_is_no_probability_instead_of_raising_it_to_the_floor():
    with pytest.raises(ValueError, match="probabilities"):
        episode_credits(rollout(values=(0.5, 0.5, -0.5)), "log_progress", 1)
