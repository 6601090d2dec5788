"""Every arm on the shipped base reasoner: what it collects, what it credits, what it costs."""

import copy
from collections import Counter

import numpy as np
import pytest

from mrt_lib.arms import (
    GRPO,
    GRPOExact,
    LengthPenalty,
    MRTExact,
    MRTOffline,
    MRTOnline,
    Policy,
)
from mrt_lib.arms.base import stream
from mrt_lib.engines import Sampling
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.templates import decode
from recipes.controls import PrefixOutcome, ShuffledProgress

TASK = RootSearch(31)
PROBLEMS = TASK.problems["train"][:3]
GROUP, BUDGET, SEED, HORIZON = 4, 33, 11, 3
ARMS = {
    "grpo": GRPO(),
    "grpo_exact": GRPOExact(),
    "length_penalty": LengthPenalty(0.3),
    "mrt_offline": MRTOffline(),
    "mrt_online": MRTOnline(branches=4),
    "mrt_exact": MRTExact("progress", 1.0),
    "shuffled": ShuffledProgress("progress", 1.0),
    "same_prefix": PrefixOutcome(),
}
PREFIXED = ("mrt_offline", "same_prefix")
EXACT = ("grpo_exact", "mrt_exact", "shuffled")


@pytest.fixture(scope="module")
def policy():
    """The base reasoner; its stale snapshot is the weak one, so that nobody mistakes one for the other."""
    base, stale = Reasoner.load("data/models/base"), Reasoner.load("data/models/weak")
    return Policy(base, ExactProver(base, TASK), Sampling(BUDGET), Sampling(2), lambda: stale)


@pytest.fixture(scope="module")
def collected(policy):
    """By arm: its rollouts, and the tokens that they cost."""
    found = {}
    for name, arm in ARMS.items():
        policy.tokens.clear()
        found[name] = arm.collect(policy, PROBLEMS, GROUP, SEED), Counter(policy.tokens)
    return found


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_gives_a_group_for_each_problem_and_an_advantage_for_each_token(collected, name):
    rollouts, _ = collected[name]
    assert [r.problem for r in rollouts] == [p for p in PROBLEMS for _ in range(GROUP)]
    assert [r.group for r in rollouts] == [0] * 4 + [1] * 4 + [2] * 4
    for r, advantages in zip(rollouts, ARMS[name].credit(rollouts, HORIZON), strict=True):
        assert r.trace.problem_id == r.problem.id
        assert len(r.trace.thought_ids) + r.trace.finished <= BUDGET
        assert len(r.trace.thought_log_probs) == len(r.trace.thought_ids) + r.trace.finished
        assert advantages.shape == (r.tokens,)
        assert np.isfinite(advantages).all()
        assert bool(r.trace.answer_ids) is (name not in EXACT)
        assert len(r.trace.answer_log_probs) == len(r.trace.answer_ids)


@pytest.mark.parametrize("name", ["mrt_offline", "mrt_online", "mrt_exact"])
def test_the_seed_decides_every_draw(policy, collected, name):
    rollouts, _ = collected[name]
    assert ARMS[name].collect(policy, PROBLEMS, GROUP, SEED) == rollouts
    others = ARMS[name].collect(policy, PROBLEMS, GROUP, SEED + 1)
    assert [r.trace.thought_ids for r in others] != [r.trace.thought_ids for r in rollouts]


@pytest.mark.parametrize("name", ["grpo", "mrt_offline", "mrt_online"])
def test_no_two_draws_of_a_step_share_their_random_numbers(policy, name):
    seeds = []

    class Recorder:
        def __init__(self, engine):
            self.engine = engine

        def generate(self, prompts, sampling, limits=None, progress=False):
            seeds.append(sampling.seed)
            return self.engine.generate(prompts, sampling, limits, progress)

    def recorded(reasoner):
        return Reasoner(reasoner.model, reasoner.tokenizer, reasoner.template, Recorder(reasoner.engine))

    parts = (policy.prover, policy.thinking, policy.answering)
    watched = Policy(recorded(policy.reasoner), *parts, lambda: recorded(policy.stale()))
    for step_seed in (1, 2):
        ARMS[name].collect(watched, PROBLEMS[:1], 2, step_seed)
    assert len(seeds) == {"grpo": 4, "mrt_offline": 6, "mrt_online": 6}[name]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("name", ARMS)
def test_only_prefixes_come_from_a_stale_snapshot(policy, name):
    without = copy.copy(policy)
    without.stale = None
    if name in PREFIXED:
        with pytest.raises(ValueError, match="this loop holds no stale snapshot"):
            ARMS[name].collect(without, PROBLEMS, GROUP, SEED)
    else:
        assert ARMS[name].collect(without, PROBLEMS, GROUP, SEED)


@pytest.mark.parametrize("name", ARMS)
def test_policy_tokens_are_counted(policy, collected, name):
    rollouts, tokens = collected[name]
    written = sum(r.tokens - r.given for r in rollouts)
    if name in PREFIXED:
        stale = policy.think(PROBLEMS, stream(SEED, 0), stale=True)
        written += sum(len(t.thought_log_probs) for t in stale)
    assert tokens["policy"] == written
    values = sum(len(r.trace.values) for r in rollouts)
    if name == "mrt_online":
        assert 4 * values <= tokens["prover"] <= 8 * values
    else:
        assert bool(tokens["prover"]) is (name in EXACT)


def test_outcomes_are_scored_and_exact_rewards_are_the_last_value(policy, collected):
    for r in collected["grpo"][0]:
        answer = decode(policy.reasoner.tokenizer, r.trace.answer_ids).strip()
        assert r.reward == float(answer == r.problem.answer)
        assert not r.trace.values
    for name in EXACT:
        assert all(r.reward == r.trace.values[-1] for r in collected[name][0])


def test_alpha_0_is_grpo_with_exact_rewards(collected):
    rollouts, _ = collected["grpo_exact"]
    assert collected["mrt_exact"][0] == rollouts
    for rule in ("progress", "log_progress", "regret_to_go"):
        for scale in (True, False):
            found = MRTExact(rule, 0.0, scale=scale).credit(rollouts, HORIZON)
            expected = GRPOExact(scale).credit(rollouts, HORIZON)
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def decisions(arm, rollouts):
    """What each episode and each end got on top of the outcome's advantage."""
    found = []
    totals, outcomes = (one.credit(rollouts, HORIZON) for one in (arm, GRPOExact()))
    for r, total, outcome in zip(rollouts, totals, outcomes, strict=True):
        extra = total - outcome
        starts = [0, *r.trace.boundaries]
        found += [extra[start] for start in starts[: r.trace.n_episodes + r.trace.finished]]
        for start, end in zip(starts, r.trace.boundaries, strict=False):
            assert np.ptp(extra[start:end]) == 0
    return np.array(found)


def test_shuffling_moves_every_credit_and_keeps_them_all(collected):
    rollouts, _ = collected["mrt_exact"]
    paid = decisions(MRTExact("regret_to_go", 2.0), rollouts)
    shuffled = decisions(ShuffledProgress("regret_to_go", 2.0), rollouts)
    np.testing.assert_allclose(np.sort(shuffled), np.sort(paid), atol=1e-12)
    assert np.mean(np.abs(shuffled - paid) > 1e-9) > 0.5
    np.testing.assert_array_equal(decisions(ShuffledProgress("regret_to_go", 2.0), rollouts), shuffled)


def test_sampled_values_are_shares_of_branches_and_near_the_exact_ones(policy, collected):
    rollouts, _ = collected["mrt_online"]
    for r in rollouts:
        assert len(r.trace.values) == r.trace.n_episodes + 1
        assert set(np.array(r.trace.values) * 4) <= {0, 1, 2, 3, 4}
    problems, traces = [r.problem for r in rollouts[::4]], [r.trace for r in rollouts[::4]]
    exact = np.concatenate([t.values for t in policy.exact_values(problems, traces)])
    sampled = np.concatenate([t.values for t in policy.sampled_values(problems, traces, 60, seed=5)])
    error = np.sqrt(exact * (1 - exact) / 60)
    assert (np.abs(sampled - exact) <= 4.5 * error + 0.02).all()


@pytest.mark.parametrize("name", PREFIXED)
def test_prefixes_come_from_the_stale_policy_and_are_never_whole(policy, collected, name):
    stale = policy.think(PROBLEMS, stream(SEED, 0), stale=True)
    for r in collected[name][0]:
        source = stale[r.group]
        assert r.given in [0, *source.boundaries][: source.n_episodes]
        assert r.trace.thought_ids[: r.given] == source.thought_ids[: r.given]
        assert r.trace.thought_log_probs[: r.given] == source.thought_log_probs[: r.given]
        assert r.trace.prompt_ids == source.prompt_ids
    assert any(r.given for r in collected[name][0])


def test_half_of_an_offline_group_stops_at_the_prefix_and_half_goes_on(collected):
    rollouts, _ = collected["mrt_offline"]
    assert [r.stopped for r in rollouts] == [True, True, False, False] * 3
    for r in rollouts:
        if r.stopped:
            assert (len(r.trace.thought_ids), r.trace.finished) == (r.given, False)
        else:
            assert r.trace.finished or len(r.trace.thought_ids) == BUDGET
    assert {r.reward for r in rollouts} <= {0.0, 1.0}


def test_same_prefixes_control_stops_nobody(collected):
    rollouts, _ = collected["same_prefix"]
    assert not any(r.stopped for r in rollouts)
    assert all(r.trace.finished or len(r.trace.thought_ids) == BUDGET for r in rollouts)
    assert [r.given for r in rollouts] == [r.given for r in collected["mrt_offline"][0]]
    for a, b in zip(*(arm(False).credit(rollouts, HORIZON) for arm in (PrefixOutcome, GRPO)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("correct_only", [True, False])
def test_length_penalty_charges_thought_tokens(policy, collected, correct_only):
    rewards = [r.reward for r in collected["grpo"][0]]
    priced = LengthPenalty(0.5, correct_only).collect(policy, PROBLEMS, GROUP, SEED)
    for outcome, r in zip(rewards, priced, strict=True):
        price = 0.5 * len(r.trace.thought_ids) / BUDGET
        charged = outcome == 1 or not correct_only
        assert r.reward == pytest.approx(outcome - price * charged)
    assert len({r.reward for r in priced}) > 2 or correct_only
