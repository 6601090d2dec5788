"""What STaR arms keep, on toy traces with filters worked out by hand and on a real reasoner."""

from dataclasses import replace

import pytest

from mrt_lib.arms import MRTSTaR, Policy, Rollout, STaR
from mrt_lib.arms.star import best_prefix, best_traces, stopped_at
from mrt_lib.engines import Sampling
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import Problem, RootSearch
from mrt_lib.thoughts.traces import Trace
from recipes.controls import ImitateAll
from tests.small_training import IMITATING, TASK, trainer

PROBLEM = Problem("p", "toy", "?", "7")


def rollout(values, reward=1.0, group=0, length=2):
    """A trace of `length` tokens per episode with these J_0 .. J_k."""
    k = len(values) - 1
    thought = list(range(10, 10 + length * k))
    ends = [length * (j + 1) for j in range(k)]
    return Rollout(PROBLEM, Trace("p", [1], thought, ends, True, [7], values=values), group, reward)


TOYS = [
    rollout([0.1, 0.3, 0.5]),  # right, progress .4
    rollout([0.1, 0.9, 0.6]),  # right, progress .5
    rollout([0.1, 0.2, 0.9], reward=0.0),  # most progress, but wrong
    rollout([0.2, 0.1], group=1),  # right by luck, without progress
    rollout([0.2, 0.5, 0.8], group=2),  # right, progress .6 in two episodes
    rollout([0.2, 0.8], group=2),  # as much in one
]


def test_star_keeps_what_ended_right_and_the_control_keeps_all():
    assert STaR().keep(None, TOYS, seed=0) == [TOYS[i] for i in (0, 1, 3, 4, 5)]
    assert ImitateAll().keep(None, TOYS, seed=0) == TOYS


def test_rank_keeps_each_problems_right_trace_with_most_progress_the_shorter_of_equals():
    assert MRTSTaR("rank").keep(None, TOYS, seed=0) == [TOYS[1], TOYS[5]]
    assert best_traces(TOYS[::-1]) == [TOYS[5], TOYS[1]]


def test_rank_is_a_part_of_star():
    kept = STaR().keep(None, TOYS, seed=0)
    assert all(r in kept for r in best_traces(TOYS))


@pytest.mark.parametrize(
    ("values", "j"), [([0.1, 0.9, 0.6], 1), ([0.3, 0.2], 0), ([0.1, 0.5, 0.5], 1), ([0.4], 0)]
)
def test_the_best_prefix_is_the_first_of_the_highest_values(values, j):
    assert best_prefix(values) == j


class Answers:
    """A policy whose answer is how many thought tokens it sees; 0 and 2 are right."""

    def __init__(self):
        self.asked = []

    def answer(self, traces, seed):
        self.asked += traces
        return [replace(t, answer_ids=[len(t.thought_ids)]) for t in traces]

    def score(self, problem, trace):
        return float(trace.answer_ids[0] in (0, 2))


def test_cut_ends_every_trace_at_its_best_prefix_and_keeps_it_if_the_answer_there_is_right():
    policy = Answers()
    kept = MRTSTaR("cut").keep(policy, TOYS, seed=0)
    # The second toy is cut after one episode and answered anew; the others are best at their end but for the
    # fourth, which is best unthought and not kept. The third is still wrong.
    cut_toy = Trace("p", [1], [10, 11], [2], finished=False, answer_ids=[2])
    assert [r.trace for r in kept] == [TOYS[0].trace, cut_toy, TOYS[4].trace, TOYS[5].trace]
    assert [len(t.thought_ids) for t in policy.asked] == [2]


def test_a_cut_whose_answer_is_wrong_is_not_kept():
    long = rollout([0.1, 0.9, 0.6], length=3)
    assert MRTSTaR("cut").keep(Answers(), [long], seed=0) == []


@pytest.fixture(scope="module")
def imitating():
    return trainer(MRTSTaR("cut"), **IMITATING)


@pytest.mark.parametrize("branches", [None, 2])
def test_collected_traces_have_answers_and_values_of_every_prefix(imitating, branches):
    rollouts = MRTSTaR("rank", branches).collect(imitating.policy, imitating.problems, 2, seed=1)
    assert len(rollouts) == 2 * len(imitating.problems)
    assert all(len(r.trace.values) == r.trace.n_episodes + 1 and r.trace.answer_ids for r in rollouts)
    if branches:
        assert {value * branches for r in rollouts for value in r.trace.values} <= {0, 1, 2}


def test_all_arms_see_the_same_thoughts_and_answers(imitating):
    arms = STaR(), ImitateAll(), MRTSTaR("rank"), MRTSTaR("cut", branches=2)
    seen = [arm.collect(imitating.policy, imitating.problems, 2, seed=1) for arm in arms]
    assert all([replace(r.trace, values=[]) for r in own] == [r.trace for r in seen[0]] for own in seen)


def test_a_cut_trace_of_a_real_policy_is_its_prefix_with_a_forced_answer(imitating):
    rollouts = MRTSTaR("cut").collect(imitating.policy, imitating.problems, 2, seed=1)
    for old, new in zip(
        rollouts, stopped_at(imitating.policy, rollouts, [1] * len(rollouts), 5), strict=True
    ):
        assert new.trace.thought_ids == old.trace.episode(0)
        assert len(new.trace.thought_log_probs) == new.trace.boundaries[0] + new.trace.finished
        assert new.trace.finished == (old.trace.finished and old.trace.n_episodes == 1)
        assert new.reward == imitating.policy.score(new.problem, new.trace)


class Unlisted(RootSearch):
    """Root search that does not list its right answers."""

    def answers(self, problem):
        return None


def test_exact_values_need_a_finite_set_of_answers():
    reasoner = Reasoner.load("data/models/strong")
    prover = ExactProver(reasoner, Unlisted(TASK.candidates))
    policy, problems = Policy(reasoner, prover, Sampling(24), Sampling(2)), TASK.problems["train"][:5]
    with pytest.raises(ValueError, match=r"lists no finite set of right answers.* branches=8"):
        MRTSTaR("rank").collect(policy, problems, 2, seed=1)
    assert MRTSTaR("rank", branches=1).collect(policy, problems, 2, seed=1)


def test_an_unknown_reading_is_an_error():
    with pytest.raises(ValueError, match="reading must be one of rank, cut, got 'best'"):
        MRTSTaR("best")
