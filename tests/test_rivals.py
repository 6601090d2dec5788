"""The rivals as arms: advantages by hand, what they have in common, and that they learn."""

from dataclasses import replace

import numpy as np
import pytest

from mrt_lib import TrainConfig
from mrt_lib.arms import BRPO, DLER, GRPO, IGPO, MIG, SGRPO, GRPOExact, Policy
from mrt_lib.engines import Sampling
from mrt_lib.measure.progress import regret_to_go
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.training.loop import Trainer
from tests.small_training import TASK
from tests.test_credit import rollout

VALUES = (0.1, 0.2, 0.6), (0.1, 0.4, 0.4)


@pytest.fixture(scope="module")
def policy():
    reasoner = Reasoner.load("data/models/strong")
    thinking, answering = Sampling(44, 1.0, seed=0), Sampling(2, 1.0, seed=0)
    return Policy(reasoner, ExactProver(reasoner, TASK, 1.0), thinking, answering)


def pair(**settings):
    """Two thoughts of two episodes, of two tokens and one, that ended themselves."""
    return [rollout(values=own, **settings) for own in VALUES]


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        # R = (.4, .3) and (.4, .2); V2 = (.4, .25); V1 = (0, .2/2) and (0, .4/2)
        ({}, (0.0, 0.3 - (0.1 + 0.25) / 2), (0.0, 0.2 - (0.2 + 0.25) / 2)),
        ({"baseline": "v2only"}, (0.0, 0.05), (0.0, -0.05)),
        ({"baseline": "v1only"}, (0.4, 0.2), (0.4, 0.0)),
        ({"baseline": "none"}, (0.4, 0.3), (0.4, 0.2)),
        # P = (1/3, 2/3): R = (1.4/3, 1.2/3) and (.4, .8/3)
        ({"prior": "linear", "baseline": "none"}, (1.4 / 3, 0.4), (0.4, 0.8 / 3)),
        ({"prior": "base", "baseline": "none"}, (0.6, 0.6), (0.4, 0.4)),
    ],
)
def test_brpo_by_hand(settings, first, second):
    # The end comes after the last budget, so no budget is left that it could change.
    for own, (a, b) in zip(BRPO(**settings).credit(pair(), 2), (first, second), strict=True):
        np.testing.assert_allclose(own, [a, a, b, 0], atol=1e-12)


def test_brpo_weighs_later_values_of_the_own_past_twice_and_pays_an_early_end():
    long = rollout(lengths=(1, 1, 1), values=(0.0, 0.1, 0.4, 0.7), finished=False)
    ended = rollout(lengths=(1,), values=(0.0, 0.9), finished=True)
    first, second = BRPO(baseline="v1only").credit([long, ended], 3)
    # R = (.4, 1.1/3, .7/3); V1 = (0, .1 * 2/3, (.1 + 2 * .4)/3 * 1/3)
    np.testing.assert_allclose(first, [0.4, 1.1 / 3 - 0.2 / 3, 0.7 / 3 - 0.1], atol=1e-12)
    # The end is the second segment: R_1 = .9 * 2/3, and the own past is .9 as well.
    np.testing.assert_allclose(second, [0.9, 0.0], atol=1e-12)


def test_brpo_pays_the_answer_against_the_others_at_its_prefix():
    right, wrong = (rollout(values=(0.1, 0.2, 0.6), answer=2, reward=r) for r in (1.0, 0.0))
    for own, expected in zip(BRPO(branches=5).credit([right, wrong], 2), (0.4, -0.6), strict=True):
        np.testing.assert_allclose(own[-2:], [expected] * 2)


@pytest.mark.parametrize("finished", [True, False])
def test_brpo_with_all_weight_on_the_last_budget_is_grpo_without_division(finished):
    rollouts = [replace(r, reward=r.trace.values[-1]) for r in pair(finished=finished)]
    ours, theirs = BRPO("base", "v2only").credit(rollouts, 3), GRPOExact(scale=False).credit(rollouts, 3)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_regret_to_go_is_brpos_return_over_the_horizon_left_minus_the_own_last_value():
    """With a uniform prior R_e = sum_{j>e} J_j / K, so regret-to-go = K / (K - e) R_e - J_e."""
    horizon = 5
    for values in VALUES:
        own = rollout(lengths=(1, 1), values=values, finished=False)
        to_go = BRPO(baseline="none").credit([own], horizon)[0]
        left = horizon / (horizon - np.arange(2))
        np.testing.assert_allclose(left * to_go - values[:-1], regret_to_go(values, horizon), atol=1e-12)


def test_igpo_by_hand():
    one, other = (replace(r, reward=reward) for r, reward in zip(pair(answer=1), (1.0, 0.0), strict=True))
    # To go: (.5 + 1, .4 + 1, 1) and (.3, 0, 0)
    for own, sign in zip(IGPO(branches=4).credit([one, other], 4), (1, -1), strict=True):
        np.testing.assert_allclose(own, sign * np.array([0.6, 0.6, 0.7, 0.5, 0.5]), atol=1e-12)


def test_igpo_compares_a_turn_with_those_that_had_one():
    short = rollout(lengths=(1,), values=(0.1, 0.3), finished=True, reward=0.3)
    long = rollout(lengths=(1, 1), values=(0.1, 0.3, 0.5), finished=True, reward=0.5)
    # To go: (.5, .3) and (.9, .7, .5)
    first, second = IGPO().credit([short, long], 4)
    np.testing.assert_allclose(first, [-0.2, -0.2], atol=1e-12)
    np.testing.assert_allclose(second, [0.2, 0.2, 0.0], atol=1e-12)


def test_mig_pays_new_heights_alone():
    fell = rollout(lengths=(1, 1, 1), values=(0.5, 0.2, 0.4, 0.7), finished=False)
    flat = rollout(lengths=(1, 1, 1), values=(0.5, 0.5, 0.5, 0.5), finished=False)
    first, second = MIG(alpha=2.0, scale=False).credit([fell, flat], 4)
    np.testing.assert_allclose(first, [0, 0, 0.2], atol=1e-12)
    np.testing.assert_allclose(second, [0, 0, -0.2], atol=1e-12)


def test_dler_divides_by_the_deviation_of_the_mixed_groups():
    rewards, names = [1.0, 0.0, 1.0, 1.0, 1.0, 0.0], [0, 0, 1, 1, 2, 2]
    rollouts = [rollout(group=g, reward=r) for g, r in zip(names, rewards, strict=True)]
    assert [own[0] for own in DLER().credit(rollouts, 4)] == [1, -1, 0, 0, 1, -1]
    silent = [rollout(reward=1.0), rollout(reward=1.0)]
    assert all(not own.any() for own in DLER().credit(silent, 4))


def test_dler_pays_nothing_for_a_thought_that_was_cut(policy):
    rollouts = DLER().collect(policy, TASK.problems["train"][:8], 8, seed=3)
    plain = GRPO().collect(policy, TASK.problems["train"][:8], 8, seed=3)
    assert [r.reward for r in rollouts] == [r.reward * r.trace.finished for r in plain]
    assert sum(r.reward for r in plain) > sum(r.reward for r in rollouts) > 0


@pytest.mark.parametrize(
    ("counts", "expected"), [("exits", [0, 0.5, 0, 0.125, 0.125]), ("right", [0, 1.0, 0, 0.5, 0.25])]
)
def test_s_grpo_halves_the_pay_from_exit_to_exit(counts, expected):
    rights, stops = (0.0, 1.0, 0.0, 1.0, 1.0), (True, True, True, False, False)
    rollouts = [rollout(reward=r, stopped=s) for r, s in zip(rights, stops, strict=True)]
    assert [r.reward for r in SGRPO(counts).decayed(rollouts)] == expected


def test_s_grpo_answers_one_thought_at_exits_in_order_and_at_its_end(policy):
    problems, spent, group = TASK.problems["train"][:8], policy.tokens["policy"], 4
    rollouts = SGRPO().collect(policy, problems, group, seed=5)
    thoughts = 0
    for members in (rollouts[i : i + group] for i in range(0, len(rollouts), group)):
        traces, whole = [r.trace for r in members], members[-1].trace
        exits = min(group - 1, max(0, whole.n_episodes - 1))
        assert [r.stopped for r in members] == [True] * exits + [False] * (group - exits)
        ends = [t.n_episodes for t in traces]
        assert ends[:exits] == sorted(set(ends[:exits]))
        assert all(0 < k < whole.n_episodes for k in ends[:exits])
        assert all(t.thought_ids == whole.thought_ids[: len(t.thought_ids)] for t in traces)
        thoughts += len(whole.thought_log_probs)
    answers = sum(len(r.trace.answer_ids) for r in rollouts)
    assert policy.tokens["policy"] - spent == thoughts + answers
    assert all(len(a) == r.tokens for a, r in zip(SGRPO().credit(rollouts, 4), rollouts, strict=True))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BRPO("late"), "prior must be one of uniform, linear, base"),
        (lambda: BRPO(baseline="both"), "baseline one of mixed, v1only, v2only, none"),
        (lambda: IGPO(branches=0), "branches must be a whole number of at least 1, got 0"),
        (lambda: BRPO(branches=-1), "branches must be a whole number of at least 1, got -1"),
        (lambda: MIG(float("nan")), "alpha must be a number of at least 0, got nan"),
        (lambda: SGRPO("all"), "counts must be exits or right, got 'all'"),
    ],
)
def test_unknown_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


SLOW = [BRPO(branches=1), IGPO(), MIG(2.0), DLER()]


@pytest.mark.parametrize(
    "arm", [BRPO(), SGRPO("right"), *(pytest.param(arm, marks=pytest.mark.slow) for arm in SLOW)], ids=repr
)
def test_every_rival_is_ahead_of_its_own_start_after_20_steps(arm):
    prompts = 32 if isinstance(arm, SGRPO) else 16  # it samples one thought for a whole group
    config = TrainConfig(steps=20, prompts=prompts, group=4, thinking_tokens=44, learning_rate=1e-3, warmup=2)
    trainer = Trainer(Reasoner.load("data/models/strong"), TASK, TASK.problems["train"], arm, config)
    held_out = TASK.problems["validation"]

    def value():
        traces = trainer.policy.think(held_out, seed=9)
        return np.array([t.values[-1] for t in trainer.policy.exact_values(held_out, traces)])

    before = value()
    for _ in range(20):
        trainer.step()
    gains = value() - before
    assert gains.mean() > 2 * gains.std(ddof=1) / np.sqrt(len(gains))
