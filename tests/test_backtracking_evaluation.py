"""What backtracks are worth, the arm that pays them, and one stream through a window of one attempt."""

from functools import partial

import numpy as np
import pytest

from mrt_lib.arms import GRPO, Rollout
from mrt_lib.arms.base import Policy
from mrt_lib.engines import Generation, Sampling
from mrt_lib.measure.evaluation import Evaluation
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.test_time import Solver
from mrt_lib.thoughts.templates import TESTBED, encode
from mrt_lib.thoughts.traces import Trace
from recipes.backtracking.arm import MRTBacktrack, information_gains
from recipes.backtracking.base import build_model, build_tokenizer
from recipes.backtracking.evaluation import Backtrack, by_attempt, valued_backtracks
from recipes.backtracking.subset_sum import SubsetSum
from recipes.backtracking.text import is_backtrack, newest_in_full
from recipes.streams import Linearised

TASK, TOKENIZER = SubsetSum(4), build_tokenizer()
MODEL = build_model(TOKENIZER, 0)  # random weights
PROBLEM = TASK.problem([12, 5, 4, 2], 21)  # take take take skip
WRONG = "try Line 1 take 12 9 Line 2 skip 5 9 Line 3 take 4 5 Line 4 take 2 3"
BACK, REDO = "try Backtrack to Line 2", "try Line 2 take 5 4 Line 3 take 4 0 Line 4 skip 2 0"
WHOLE = "try Line 1 take 12 9 Line 2 take 5 4 Line 3 take 4 0 Line 4 skip 2 0"


def trace(text, values=(), finished=False):
    """A thought about PROBLEM."""
    prompt, ids = TESTBED.prompt_ids(TOKENIZER, PROBLEM.question), encode(TOKENIZER, text)
    log_probs = [-0.1] * (len(ids) + finished)
    ends = TESTBED.cut(TOKENIZER, ids)
    return Trace(PROBLEM.id, prompt, ids, ends, finished, [], log_probs, values=list(values))


def evaluation(*traces):
    return Evaluation([PROBLEM], len(traces), list(traces), [])


def test_a_backtrack_is_worth_what_it_adds_to_j():
    found = valued_backtracks(evaluation(trace(f"{WRONG} {BACK} {REDO}", [1 / 16, 0, 1 / 8, 1])), TOKENIZER)
    assert found == [Backtrack(problem=0, line=2, right=2, before=0, after=1 / 8, redone=1)]


def test_backtracks_from_right_attempts_and_cut_ones_are_left_out_and_the_last_has_no_redo():
    late = trace(f"{WRONG} {BACK} {REDO} try Backtrack to beginning", [0, 0, 0, 1, 0])
    assert [b.line for b in valued_backtracks(evaluation(late), TOKENIZER)] == [2]
    cut = trace(f"{WRONG} {BACK} try Line 2 take 5", [0, 0, 0.2, 0.1])
    assert [b.redone for b in valued_backtracks(evaluation(cut), TOKENIZER)] == [0.1]
    (last,) = valued_backtracks(evaluation(trace(f"{WRONG} {BACK}", [0, 0, 0.2])), TOKENIZER)
    assert np.isnan(last.redone)
    assert valued_backtracks(evaluation(trace(f"{WRONG} try Backtrack to", [0, 0, 0])), TOKENIZER) == []


def test_values_by_attempt_skip_the_backtracks():
    two = trace(f"{WRONG} {BACK} {REDO}", [1 / 16, 0, 1 / 8, 1])
    afresh = trace(f"{WRONG} {WHOLE}", [1 / 16, 0, 1])
    found = by_attempt(evaluation(two, afresh), TOKENIZER, 3)
    assert found.tolist() == [[[1 / 16, 0, 1, 1], [1 / 16, 0, 1, 1]]]


def test_the_gain_of_a_backtrack_is_paid_on_top_of_the_outcome():
    own = trace(f"{WRONG} {BACK} {REDO}", [1 / 16, 0, 1 / 8, 1])
    assert information_gains(TOKENIZER, own) == [1 / 8]
    assert information_gains(TOKENIZER, trace(f"{WRONG} {WHOLE}", [1 / 16, 0, 1])) == []
    assert not is_backtrack(WRONG)
    rollouts = [Rollout(PROBLEM, own, 0, reward, given=17) for reward in (1 + 1 / 8, 0)]
    credited = MRTBacktrack(scale=False).credit(rollouts, 3)
    assert [a[0] for a in credited] == [9 / 16, -9 / 16]
    assert [a.tolist() for a in credited] == [a.tolist() for a in GRPO(scale=False).credit(rollouts, 3)]


@pytest.fixture(scope="module")
def policy():
    """Random weights: they write anything, which no arm may trip over."""
    reasoner = Reasoner(MODEL, TOKENIZER)
    return Policy(reasoner, ExactProver(reasoner, TASK), Sampling(30), Sampling(9))


def test_a_group_shares_its_first_attempt_and_learns_what_comes_after(policy):
    problems = [PROBLEM, TASK.problem([9, 7, 3, 1], 12)]
    rollouts = MRTBacktrack().collect(policy, problems, 3, seed=0)
    assert [r.group for r in rollouts] == [0, 0, 0, 1, 1, 1]
    for group in (rollouts[:3], rollouts[3:]):
        given = group[0].given
        assert {r.given for r in group} == {given}
        assert len({tuple(r.trace.thought_ids[:given]) for r in group}) == 1
        assert all(len(r.trace.values) == r.trace.n_episodes + 1 for r in group)
        assert all(r.trace.answer_ids for r in group)
    again = MRTBacktrack().collect(policy, problems, 3, seed=0)
    assert [r.trace for r in again] == [r.trace for r in rollouts]
    assert all(len(a) == r.tokens for a, r in zip(MRTBacktrack().credit(rollouts, 3), rollouts, strict=True))


def test_the_newest_attempt_stands_alone():
    assert newest_in_full(f"{WRONG} {BACK} {REDO}", 4) == WHOLE
    assert newest_in_full(f"{WRONG} {BACK} {REDO} {BACK} try Line 2 skip 5", 4) == WHOLE
    assert newest_in_full("try Line 1 take 12", 4) == ""
    assert newest_in_full(newest_in_full(f"{WRONG} {BACK} {REDO}", 4), 4) == WHOLE


class Scripted:
    """Writes the given texts one after the other."""

    def __init__(self, *texts):
        self.texts, self.prompts = list(texts), []

    def generate(self, prompts, sampling, limits=None, progress=False):
        self.prompts += [TOKENIZER.decode(prompt) for prompt in prompts]
        limits = limits or [sampling.max_new_tokens] * len(prompts)
        rows = [encode(TOKENIZER, self.texts.pop(0))[:limit] for limit in limits]
        ends = {stop[0] for stop in sampling.stop}
        return [Generation(ids, [-0.5] * len(ids), "stop" if ids[-1] in ends else "length") for ids in rows]


def test_a_stream_goes_on_from_the_newest_attempt_and_counts_what_was_sampled():
    redo = "try Line 2 skip 5 9 Line 3 take 4 5 Line 4 skip 2 5"
    answer = "Line 1 take Line 2 take Line 3 take Line 4 skip <eos>"
    engine = Scripted(f"{WRONG} {BACK} {redo}", f"{BACK} {REDO} </think>", answer)
    solver = Solver(Reasoner(MODEL, TOKENIZER, TESTBED, engine), TASK, Sampling(34), Sampling(9))
    found = Linearised(100, 1, 36, partial(newest_in_full, lines=4)).solve(solver, [PROBLEM], 0)
    newest = "try Line 1 take 12 9 Line 2 skip 5 9 Line 3 take 4 5 Line 4 skip 2 5"
    assert [p.split("<think> ")[1:] for p in engine.prompts[1:2]] == [[newest]]
    assert found.right.tolist() == [1]
    assert found.policy.tolist() == [34 + 4 + 13 + 1 + 9]
    assert found.reread.tolist() == [len(TESTBED.prompt_ids(TOKENIZER, PROBLEM.question)) + 17]


def test_a_stream_without_a_whole_attempt_is_an_error():
    engine = Scripted("try Line 1 take 12 9 Line 2")
    solver = Solver(Reasoner(MODEL, TOKENIZER, TESTBED, engine), TASK, Sampling(9), Sampling(9))
    with pytest.raises(ValueError, match="a window must be longer than one episode"):
        Linearised(40, 1, 6, partial(newest_in_full, lines=4)).solve(solver, [PROBLEM], 0)
