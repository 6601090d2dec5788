"""Test-time methods: counted by hand on scripted texts, compared on shipped reasoners."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.engines import Generation, Sampling
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.test_time import (
    BestOfN,
    MajorityAtK,
    OracleValue,
    Outcome,
    OwnValue,
    PassAtK,
    Scores,
    Solver,
    StopAndVote,
    draw,
    stopped,
)
from mrt_lib.test_time.base import sampled_tokens
from mrt_lib.test_time.samples import expected_best
from mrt_lib.thoughts.templates import TESTBED, decode, encode
from mrt_lib.thoughts.traces import Trace
from recipes.beam import Beam
from recipes.streams import BudgetForcing, Linearised

TASK = RootSearch(31)
PROBLEM = TASK.problem(7, 3)
PROBLEMS = TASK.problems["test"][:6]
REASONER = Reasoner.load("data/models/strong")
TOKENIZER = REASONER.tokenizer
SOLVER = Solver(REASONER, TASK, Sampling(44), Sampling(2))
GREEDY = replace(SOLVER, thinking=Sampling(60, temperature=0.0), answering=Sampling(2, temperature=0.0))
KINDS = ("right", "unanswered", "policy", "prover", "verifier", "reread")
LOW, HIGH = "try 5 : 0 0 4 0 low in 6 31", "try 9 : 0 1 0 8 high in 6 8"  # 11 tokens each


class Scripted:
    """Writes the given texts one after the other, whatever the prompt: the way to count by hand."""

    def __init__(self, *texts, log_probs=()):
        self.texts, self.log_probs, self.prompts = list(texts), list(log_probs), []

    def generate(self, prompts, sampling, limits=None, progress=False):
        generations = []
        for i, prompt in enumerate(prompts):
            self.prompts.append(TOKENIZER.decode(prompt))
            for _ in range(sampling.n):
                ids = encode(TOKENIZER, self.texts.pop(0))[: limits[i] if limits else sampling.max_new_tokens]
                log_prob = self.log_probs.pop(0) if self.log_probs else -0.5
                ended = any(tuple(ids[-len(s) :]) == s for s in sampling.stop)
                generations.append(Generation(ids, [log_prob] * len(ids), "stop" if ended else "length"))
        return generations


def scripted(*texts, thinking=44, log_probs=(), template=TESTBED):
    engine = Scripted(*texts, log_probs=log_probs)
    reasoner = Reasoner(REASONER.model, TOKENIZER, template, engine)
    return replace(SOLVER, reasoner=reasoner, thinking=Sampling(thinking))


def prompts(solver):
    return solver.reasoner.engine.prompts


def numbers(outcome):
    return {kind: getattr(outcome, kind).tolist() for kind in KINDS}


def by_hand(right, policy, prover=0, verifier=0, unanswered=0, reread=0):
    return dict(zip(KINDS, ([x] for x in (right, unanswered, policy, prover, verifier, reread)), strict=True))


def solved(method, solver, seed=0):
    return numbers(method.solve(solver, PROBLEMS, seed))


class ByLength:
    """A score that can be read off a trace: fewer thought tokens are better."""

    def score(self, solver, problems, traces):
        value = np.array([1 / (1 + len(t.thought_ids)) for t in traces])
        return Scores(value, np.full(len(traces), 3.0), np.full(len(traces), 5.0))


# --- parallel -------------------------------------------------------------------------------------------


def three():
    """Two right answers and a wrong one, 12 + 2, 1 + 2 and 23 + 2 tokens."""
    thoughts = (f"{LOW} </think>", "</think>", f"{LOW} {HIGH} </think>")
    return scripted(*thoughts, "7 <eos>", "7 <eos>", "8 <eos>", log_probs=[-0.5] * 3 + [-1.0, -1.0, -0.1])


def test_parallel_samples_by_hand():
    samples = draw(three(), [PROBLEM], 3, 0)
    assert samples.answers.tolist() == [["7", "7", "8"]]
    assert samples.tokens.tolist() == [[14, 3, 25]]
    assert numbers(PassAtK(1).grade(samples)) == by_hand(pytest.approx(2 / 3), 14)
    assert numbers(PassAtK(2).grade(samples)) == by_hand(1, 28)
    assert numbers(MajorityAtK(3).grade(samples)) == by_hand(1, 42)
    assert numbers(MajorityAtK(2).grade(samples)) == by_hand(pytest.approx(2 / 3), 28)
    # 2^-1 against 2^-0.1 in two of three pairs
    assert numbers(MajorityAtK(2, weighted=True).grade(samples)) == by_hand(pytest.approx(1 / 3), 28)


def test_majority_of_one_is_accuracy_and_so_is_pass_at_1_and_best_of_1():
    samples = draw(SOLVER, PROBLEMS, 4, 0)
    scores = OwnValue().score(SOLVER, [p for p in PROBLEMS for _ in range(4)], samples.traces)
    accuracy = numbers(PassAtK(1).grade(samples))
    assert accuracy["right"] == samples.right.mean(1).tolist()
    for method in (MajorityAtK(1), MajorityAtK(1, weighted=True)):
        assert numbers(method.grade(samples)) == accuracy
    assert numbers(BestOfN(1, OwnValue()).grade(samples, scores)) == accuracy


def test_more_votes_or_samples_than_there_are():
    samples = draw(three(), [PROBLEM], 3, 0)
    for method in (PassAtK(4), MajorityAtK(4), PassAtK(0)):
        with pytest.raises(ValueError, match=r"k must be in 1\.\.3"):
            method.grade(samples)
    with pytest.raises(ValueError, match=r"N must be in 1\.\.3, the number of samples; got 4"):
        BestOfN(4, OwnValue()).grade(samples, OwnValue().score(SOLVER, [PROBLEM] * 3, samples.traces))
    with pytest.raises(ValueError, match="at least 1 sample"):
        BestOfN(0, OwnValue()).solve(SOLVER, PROBLEMS, 0)


# --- best of N ------------------------------------------------------------------------------------------


def test_own_value_is_the_confidence_in_the_own_answer_and_costs_nothing():
    solver = three()
    samples = draw(solver, [PROBLEM], 3, 0)
    scores = OwnValue().score(solver, [PROBLEM] * 3, samples.traces)
    assert scores.value == pytest.approx(np.exp([-1, -1, -0.1]))
    assert numbers(BestOfN(3, OwnValue()).grade(samples, scores)) == by_hand(0, 42)
    # of two, the wrong one is chosen whenever it is there
    assert BestOfN(2, OwnValue()).grade(samples, scores).right == pytest.approx(1 / 3)


def test_own_value_does_not_look_at_the_gold_answer():
    traces = SOLVER.think(PROBLEMS, 0)
    other = [replace(p, answer="1") for p in PROBLEMS]
    ours, theirs = (OwnValue().score(SOLVER, p, traces) for p in (PROBLEMS, other))
    assert np.array_equal(ours.value, theirs.value)
    oracle = OracleValue(ExactProver(REASONER, TASK))
    assert not np.allclose(*(oracle.score(SOLVER, p, traces).value for p in (PROBLEMS, other)))


def test_an_unanswered_prefix_is_worth_its_forced_greedy_answer():
    traces = [stopped(t, 1) for t in SOLVER.think(PROBLEMS, 0)]
    scores = OwnValue().score(SOLVER, PROBLEMS, traces)
    greedy = GREEDY.answer(traces, 0)
    assert scores.value == pytest.approx([math.exp(np.mean(t.answer_log_probs)) for t in greedy])
    assert scores.prover.tolist() == [2] * 6
    assert all(not t.answer_ids for t in traces)


def test_the_oracle_picks_a_right_one_where_there_is_one():
    samples = draw(SOLVER, PROBLEMS, 4, 0)
    oracle = OracleValue(ExactProver(REASONER, TASK))
    scores = oracle.score(SOLVER, [p for p in PROBLEMS for _ in range(4)], samples.traces)
    for n in (1, 3):
        best, bound = BestOfN(n, oracle).grade(samples, scores), PassAtK(n).grade(samples)
        assert best.right == pytest.approx(bound.right)
        assert BestOfN(n, OwnValue()).grade(samples, scores).right == pytest.approx(bound.right)


def test_the_oracles_value_of_a_prefix_is_its_exact_j():
    traces = SOLVER.think(PROBLEMS, 0)
    prover = ExactProver(REASONER, TASK)
    found = OracleValue(prover).score(SOLVER, PROBLEMS, traces)
    exact = prover.values(PROBLEMS, traces)
    assert found.value == pytest.approx([v.value[-1] for v in exact], abs=1e-5)
    assert (found.prover > [len(t.thought_ids) for t in traces]).all()


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.3])), min_size=1, max_size=6), st.data()
)
def test_expected_best_is_the_mean_over_all_subsets(items, data):
    n = data.draw(st.integers(1, len(items)))
    right, scores = np.array([r for r, _ in items], dtype=float), np.array([s for _, s in items])
    shares = []
    for chosen in itertools.combinations(range(len(items)), n):
        own = list(chosen)
        shares.append(right[own][scores[own] == scores[own].max()].mean())
    assert math.isclose(expected_best(right, scores, n), np.mean(shares), abs_tol=1e-12)


def test_scorers_tokens_are_charged_for_every_sample():
    outcome = BestOfN(3, ByLength()).solve(three(), [PROBLEM], 0)
    assert numbers(outcome) == by_hand(1, 42, prover=9, verifier=15)
    assert outcome.tokens.tolist() == [66]


# --- beam -----------------------------------------------------------------------------------------------


def test_a_beam_of_one_without_choice_is_plain_thinking():
    beam = solved(Beam(1, 1, OwnValue(), 60), GREEDY)
    traces = GREEDY.answer(GREEDY.think(PROBLEMS, 0), 0)
    assert beam["policy"] == [sampled_tokens(t) for t in traces]
    assert beam["right"] == [
        float(GREEDY.read(p, t) == p.answer) for p, t in zip(PROBLEMS, traces, strict=True)
    ]
    assert len({len(t.thought_ids) for t in traces}) > 1


def test_short_expansions_of_one_beam_write_the_same():
    one, other = (solved(Beam(1, 1, OwnValue(), n), GREEDY) for n in (60, 4))
    assert (one["right"], one["policy"]) == (other["right"], other["policy"])
    assert min(np.subtract(other["prover"], one["prover"])) > 0


def test_beam_by_hand():
    # one token to begin with; the first of two expansions ends at once and is the shorter one
    solver = scripted("try", "5 : 0 </think>", "6 : 0 0 4 0 low in 6 31 try", "7 <eos>")
    assert numbers(Beam(1, 2, ByLength(), 20).solve(solver, [PROBLEM], 0)) == by_hand(
        1, 1 + 4 + 11 + 2, prover=6, verifier=10
    )
    assert prompts(solver)[-1].endswith("<think> try 5 : 0 </think>")


def test_a_beam_goes_on_from_the_best():
    solver = scripted("try", "5 : 0 try", "6 : try", "7 </think>", "8 : 0 0 try", "7 <eos>")
    found = Beam(1, 2, ByLength(), 9).solve(solver, [PROBLEM], 0)
    # "try 6 :" is shorter than "try 5 : 0"; the marker after it is not sampled again
    assert prompts(solver)[2].endswith("<think> try 6 : try")
    assert prompts(solver)[-1].endswith("<think> try 6 : try 7 </think>")
    assert numbers(found) == by_hand(1, 1 + 4 + 3 + 2 + 5 + 2, prover=12, verifier=20)


def test_what_has_ended_keeps_its_place():
    solver = scripted("try", "5 </think>", "6 : try", "7 7 try", "8 </think>", "7 <eos>", thinking=30)
    Beam(2, 2, ByLength(), 9).solve(solver, [PROBLEM], 0)
    assert [p.split("<think>")[1].strip() for p in prompts(solver)[2:]] == [
        "try 6 : try",
        "try 5 </think>",
    ]


def test_beams_stay_within_their_budget_and_repeat():
    method = Beam(2, 3, OwnValue(), 16)
    found = solved(method, SOLVER)
    assert found == solved(method, SOLVER)
    assert found != solved(method, SOLVER, seed=1)
    most = 1 + 3 * 16 + 3 * 2 * 44
    assert max(found["policy"]) <= most
    assert min(found["prover"]) > 0


def test_a_wider_search_is_better_than_thinking_once():
    problems = TASK.problems["test"][::6]
    plain = PassAtK(1).solve(SOLVER, problems, 0).right.mean()
    assert Beam(2, 4, OwnValue(), 16).solve(SOLVER, problems, 0).right.mean() > plain + 0.2


def test_a_beam_cuts_episodes_that_open_with_words():
    words = replace(TESTBED, episode_marker="", openers=("Wait",))
    solver = scripted("try", "5 : 0 0 </think>", "7 <eos>", template=words)
    assert numbers(Beam(1, 1, ByLength(), 20).solve(solver, [PROBLEM], 0)) == by_hand(
        1, 8, prover=3, verifier=5
    )


# --- budget forcing -------------------------------------------------------------------------------------

FOUR = replace(TESTBED, continue_markers=("try", "low in", "high", "hit"))


def test_forcing_rotates_four_phrases_and_counts_what_was_sampled():
    texts = [f"{LOW} </think>", *["7 </think>"] * 5, "7 <eos>"]
    solver = scripted(*texts, thinking=60, template=FOUR)
    found = BudgetForcing(5).solve(solver, [PROBLEM], 0)
    assert prompts(solver)[-1].endswith(f"{LOW} try 7 low in 7 high 7 hit 7 try 7 </think>")
    assert numbers(found) == by_hand(1, 12 + 5 * 2 + 2)


def test_ends_right_after_a_marker_are_counted_too():
    solver = scripted(f"{LOW} </think>", *["</think>"] * 3, "7 <eos>", template=FOUR)
    assert numbers(BudgetForcing(3).solve(solver, [PROBLEM], 0)) == by_hand(1, 12 + 3 + 2)


def test_no_answer_after_the_cut():
    solver = scripted(f"{LOW} </think>", "7 : 0 0 7 0", "<eos>", thinking=15)
    assert numbers(BudgetForcing(1).solve(solver, [PROBLEM], 0)) == by_hand(0, 12 + 3 + 1, unanswered=1)
    assert prompts(solver)[-1].endswith("try 7 : 0 time up </think>")


def test_no_extension_is_plain_thinking():
    traces = SOLVER.answer(SOLVER.think(PROBLEMS, 5), 5)
    found = solved(BudgetForcing(0), SOLVER, seed=5)
    assert found["policy"] == [sampled_tokens(t) for t in traces]
    assert found == solved(StopAndVote(99, 1), SOLVER, seed=5)


# --- stop and vote --------------------------------------------------------------------------------------


def test_stop_and_vote_by_hand():
    solver = scripted(f"{LOW} {HIGH} </think>", "7 <eos>", "8 <eos>", "7 <eos>")
    assert numbers(StopAndVote(1, 3).solve(solver, [PROBLEM], 0)) == by_hand(1, 11 + 6)
    assert prompts(solver)[-1].endswith(f"{LOW} time up </think>")
    solver = scripted(f"{LOW} {HIGH} </think>", "7 <eos>", "<eos>")
    assert numbers(StopAndVote(2, 2).solve(solver, [PROBLEM], 0)) == by_hand(1, 23 + 3, unanswered=0.5)
    assert prompts(solver)[-1].endswith(f"{HIGH} </think>")


def test_stopped_thoughts_are_prefixes():
    ids = encode(TOKENIZER, f"{LOW} {HIGH}")
    trace = Trace("p", [1], ids, [11, 22], True, [5], [-0.1] * 23, [-0.2])
    cut = stopped(trace, 1)
    assert (cut.thought_ids, cut.boundaries, cut.finished, cut.answer_ids) == (ids[:11], [11], False, [])
    assert cut.thought_log_probs == [-0.1] * 11
    assert stopped(trace, 0).thought_ids == []
    assert stopped(trace, 3) == replace(trace, answer_ids=[], answer_log_probs=[])


# --- linearised -----------------------------------------------------------------------------------------


def test_a_window_that_is_never_exceeded_is_plain_thinking():
    solver = replace(SOLVER, thinking=Sampling(150))
    traces = solver.answer(solver.think(PROBLEMS, 3), 3)
    found = solved(Linearised(150, 1, 150), solver, seed=3)
    assert found["policy"] == [sampled_tokens(t) for t in traces]
    assert found["reread"] == [0] * 6
    assert found == solved(BudgetForcing(0), solver, seed=3)


def test_a_sliding_window_by_hand():
    third, end = "try 6 : 0 0 5 4 low in 7 8", "</think>"
    solver = scripted(f"{LOW} {HIGH}", third, end, "7 <eos>")
    found = Linearised(60, 1, 22).solve(solver, [PROBLEM], 0)
    prompt = len(encode(TOKENIZER, f"solve {PROBLEM.question} <think>"))
    assert [p.split("<think>")[1].strip() for p in prompts(solver)] == [
        "",
        HIGH,
        third,
        f"{third} </think>",
    ]
    assert numbers(found) == by_hand(1, 22 + 11 + 1 + 2, reread=2 * (prompt + 11))


def test_a_budget_that_ends_within_the_context_is_kept_and_the_answer_is_forced():
    solver = scripted(f"{LOW} {HIGH}", "try 6 : 0 0 5 4 low", "7 <eos>")
    found = Linearised(27, 1, 22).solve(solver, [PROBLEM], 0)
    assert found.policy.tolist() == [27 + 2]
    assert prompts(solver)[-1].endswith(f"{HIGH} try 6 : 0 0 time up </think>")


def test_episodes_that_do_not_fit_leave_the_window():
    solver = scripted(f"{LOW} {HIGH}", "0 </think>", "7 <eos>")
    Linearised(60, 2, 15).solve(solver, [PROBLEM], 0)
    assert prompts(solver)[1].endswith("<think> try 9 : 0")


def test_a_stream_that_has_lost_its_format_ends_and_the_others_go_on():
    endless = "try " + "5 " * 30
    solver = scripted(endless, f"{LOW} {HIGH}", "</think>", "8 <eos>", "7 <eos>")
    found = Linearised(60, 1, 22).solve(solver, [PROBLEM, PROBLEM], 0)
    assert (found.right.tolist(), found.policy.tolist()) == ([0, 1], [22 + 2, 22 + 1 + 2])
    assert prompts(solver)[3].endswith("5 5 time up </think>")


def test_a_model_goes_on_beyond_its_context_and_gets_better():
    problems = TASK.problems["test"][::6]
    short, long = (Linearised(n * 22, 1, 22).solve(SOLVER, problems, 0) for n in (1, 8))
    assert long.right.mean() > short.right.mean() + 0.2
    assert short.policy.max() <= 22 + 2
    assert 22 + 2 < long.policy.max() <= 8 * 22 + 2


def test_a_stream_repeats_with_its_seed():
    method = Linearised(88, 1, 22)
    assert solved(method, SOLVER) == solved(method, SOLVER)
    assert solved(method, SOLVER) != solved(method, SOLVER, seed=1)


# --- input ----------------------------------------------------------------------------------------------


def test_a_window_shorter_than_an_episode():
    with pytest.raises(ValueError, match="at least one episode, got 0"):
        Linearised(100, 0, 44)
    with pytest.raises(ValueError, match=r"fills the whole context of 8 tokens; a window must be longer"):
        Linearised(100, 1, 8).solve(scripted(LOW), [PROBLEM], 0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Linearised(0, 1, 44), "budget and context"),
        (lambda: Beam(0, 1, OwnValue(), 20), "width and expansion"),
        (lambda: Beam(1, 0, OwnValue(), 20), "width and expansion"),
        (lambda: Beam(1, 1, OwnValue(), 1), "episode_tokens"),
        (lambda: StopAndVote(-1, 1), "episodes >= 0"),
        (lambda: StopAndVote(1, 0), "votes >= 1"),
    ],
)
def test_knobs_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_right_answer_in_other_words_votes_with_the_gold_answer():
    assert SOLVER.read(PROBLEM, Trace("p", [1], [], [], True, encode(TOKENIZER, "7 <eos>"))) == "7"
    assert decode(TOKENIZER, encode(TOKENIZER, "<eos>")).strip() == ""


def test_tokens_are_what_policy_prover_and_verifier_spent():
    parts = [np.array([float(i)]) for i in range(6)]
    assert Outcome(*parts).tokens.tolist() == [2 + 3 + 4]
