"""Thoughts that ended are reopened; real tiny model for the bookkeeping, scripted texts for the rules."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mrt_lib.engines import Generation, Sampling
from mrt_lib.measure.evaluation import assess, evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.templates import TESTBED, encode
from recipes.root_search.base import build_model, build_tokenizer
from recipes.streams import force_on

TOKENIZER = build_tokenizer()
REASONER = Reasoner(build_model(TOKENIZER, 0), TOKENIZER)
TASK = RootSearch(31)
PROBLEMS = TASK.sample(np.random.default_rng(0), 4)
EPISODE = "try 5 : 0 0 5 5 low in 6 31"


class Scripted:
    """Writes one text for each call, to every prompt: the only way to know when a thought ends."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.prompts: list[list[str]] = []

    def generate(self, prompts, sampling, limits=None, progress=False):
        self.prompts.append([TOKENIZER.decode(p) for p in prompts])
        ids = encode(TOKENIZER, self.texts.pop(0))[: sampling.max_new_tokens]
        stopped = any(tuple(ids[-len(s) :]) == s for s in sampling.stop)
        return [Generation(ids, [-0.5] * len(ids), "stop" if stopped else "length") for _ in prompts]


def scripted(*texts, template=TESTBED):
    return Reasoner(REASONER.model, TOKENIZER, template, Scripted(*texts))


def ended(n: int = 1, budget: int = 40):
    return scripted(f"{EPISODE} </think>").think(PROBLEMS[:n], Sampling(budget))


def test_each_extension_replaces_the_end_by_a_marker():
    reasoner = scripted("7 : 0 </think>", "9 : 0 </think>")
    (forced,) = force_on(reasoner, ended(), Sampling(40), 2)
    assert TOKENIZER.decode(forced.thought_ids) == f"{EPISODE} try 7 : 0 try 9 : 0"
    assert [p.endswith("try") for (p,) in reasoner.engine.prompts] == [True, True]
    assert (forced.n_episodes, forced.finished) == (3, True)
    unsampled = [i for i, x in enumerate(forced.thought_log_probs) if math.isnan(x)]
    assert unsampled == [11, 15]
    assert len(forced.thought_log_probs) == len(forced.thought_ids) + 1


def test_a_thought_that_the_budget_cut_is_left_alone():
    (cut,) = scripted(EPISODE).think(PROBLEMS[:1], Sampling(11))
    assert force_on(scripted(), [cut], Sampling(40), 3) == [cut]


def test_a_thought_without_room_for_marker_and_token_is_left_alone():
    (full,) = force_on(scripted(), ended(), Sampling(12), 1)
    assert full.finished


def test_no_answer_survives_and_one_can_be_had_after_the_cut():
    traces = scripted("7 <eos>").answer(ended(), Sampling(2))
    (forced,) = force_on(scripted("9 : 0 0"), traces, Sampling(15), 1)
    assert (forced.answer_ids, forced.values, forced.finished) == ([], [], False)
    reasoner = scripted("8 <eos>")
    (answered,) = reasoner.answer([forced], Sampling(2))
    assert reasoner.engine.prompts[0][0].endswith("try 9 : 0 time up </think>")
    assert answered.answer_ids == encode(TOKENIZER, "8 <eos>")


def test_markers_come_in_rotation():
    two = replace(TESTBED, continue_markers=("try", "low"))
    reasoner = scripted("7 </think>", "8 </think>", "9 </think>", template=two)
    force_on(reasoner, ended(), Sampling(40), 3)
    assert [p.split()[-1] for (p,) in reasoner.engine.prompts] == ["try", "low", "try"]


def test_forced_thoughts_of_a_model_keep_their_start_and_stay_within_the_budget():
    traces = REASONER.think(PROBLEMS * 4, Sampling(60, seed=3))
    forced = force_on(REASONER, traces, Sampling(60, seed=3), 4)
    assert any(t.finished for t in traces)
    for before, after in zip(traces, forced, strict=True):
        n = len(before.thought_ids)
        assert after.thought_ids[:n] == before.thought_ids
        assert len(after.thought_ids) <= 60
        assert (len(after.thought_ids) > n) == (before.finished and n < 59)


def test_assessed_traces_are_the_evaluation_of_the_same_traces():
    prover = ExactProver(REASONER, TASK)
    found = evaluate(REASONER, prover, PROBLEMS, 2, Sampling(30, seed=1), 2.0)
    again = assess(REASONER, prover, PROBLEMS, found.traces, 2.0)
    assert again.traces == found.traces
    assert np.array_equal(again.regret(50), found.regret(50))


def test_bad_input():
    with pytest.raises(ValueError, match="extensions must be at least 0, got -1"):
        force_on(REASONER, [], Sampling(4), -1)
    with pytest.raises(ValueError, match="no continue markers"):
        force_on(scripted(template=replace(TESTBED, continue_markers=())), [], Sampling(4), 1)
    with pytest.raises(ValueError, match="3 traces are no whole number of rollouts of 2 problems"):
        assess(REASONER, ExactProver(REASONER, TASK), PROBLEMS[:2], ended(3), 2.0)
