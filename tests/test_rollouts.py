"""Thinking, thinking on, answering and evaluating; scripted texts for the rules, a small model beside."""

from collections import Counter

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from mrt_lib.arms import MRTOffline
from mrt_lib.arms.base import Policy
from mrt_lib.engines import Generation, Sampling, TransformersEngine, transformers_engine
from mrt_lib.measure.evaluation import evaluate
from mrt_lib.measure.prover import ExactProver, PrefixValues
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.templates import R1, encode
from mrt_lib.thoughts.traces import Trace
from recipes.root_search.base import build_model, build_tokenizer

TOKENIZER = build_tokenizer()
MODEL = build_model(TOKENIZER, 0).eval()
TASK = RootSearch(31)
PROBLEMS = TASK.sample(np.random.default_rng(0), 3)
EPISODE = "try 5 : 0 0 5 5 low in 6 31"


class Scripted:
    """An engine that writes what it is told: the only way to know a thought beforehand."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.prompts: list[str] = []

    def generate(self, prompts, sampling, limits=None, progress=False):
        self.prompts = [TOKENIZER.decode(p) for p in prompts]
        limits = limits or [sampling.max_new_tokens] * len(prompts)
        generations = []
        for text, limit in zip(self.texts, limits, strict=True):
            ids = encode(TOKENIZER, text)[:limit]
            stopped = any(tuple(ids[-len(s) :]) == s for s in sampling.stop)
            generations.append(Generation(ids, [-0.5] * len(ids), "stop" if stopped else "length"))
        return generations


def scripted(*texts):
    return Reasoner(MODEL, TOKENIZER, engine=Scripted(*texts))


def test_think_cuts_episodes_and_knows_who_ended_the_thought():
    reasoner = scripted(f"{EPISODE} {EPISODE} </think>", f"{EPISODE} {EPISODE}", "</think>")
    finished, cut, empty = reasoner.think(PROBLEMS, Sampling(22 + 1))
    assert (finished.finished, finished.boundaries, len(finished.thought_log_probs)) == (True, [11, 22], 23)
    assert (cut.finished, cut.boundaries, len(cut.thought_log_probs)) == (False, [11, 22], 22)
    assert (empty.finished, empty.boundaries, empty.thought_ids) == (True, [], [])
    assert reasoner.engine.prompts[0] == f"solve {PROBLEMS[0].question} <think>"


def test_answer_closes_the_thought_by_force_only_where_the_budget_cut_it():
    traces = scripted(f"{EPISODE} </think>", EPISODE, "</think>").think(PROBLEMS, Sampling(12))
    reasoner = scripted("7 <eos>", "8 <eos>", "9 9")
    answered = reasoner.answer(traces, Sampling(2))
    assert [t.answer_ids for t in answered] == [encode(TOKENIZER, a) for a in ("7 <eos>", "8 <eos>", "9 9")]
    ends = [p.split("31 <think>")[-1].strip() for p in reasoner.engine.prompts]
    assert ends == [f"{EPISODE} </think>", f"{EPISODE} time up </think>", "</think>"]
    assert [reasoner.read(t.answer_ids) for t in answered] == ["7", "8", "9 9"]


def test_closing_text_at_earlier_prefixes_is_always_forced():
    reasoner = scripted(f"{EPISODE} </think>")
    (trace,) = reasoner.think(PROBLEMS[:1], Sampling(12))
    assert [TOKENIZER.decode(reasoner.close(trace, j)) for j in (0, 1)] == ["time up </think>", "</think>"]


@pytest.mark.parametrize(
    ("budget", "boundaries", "finished", "log_probs"),
    [
        (30, [11, 22], True, 23),
        (23, [11, 22], True, 23),
        (22, [11, 22], False, 22),
        (12, [11, 12], False, 12),
    ],
)
def test_extending_stays_within_the_budget_of_the_whole_thought(budget, boundaries, finished, log_probs):
    started = scripted(EPISODE).think(PROBLEMS[:1], Sampling(11))
    reasoner = scripted(f"{EPISODE} </think>")
    longer = reasoner.extend(started, Sampling(budget))[0]
    assert reasoner.engine.prompts[0] == f"solve {PROBLEMS[0].question} <think> {EPISODE}"
    assert (longer.boundaries, longer.finished, len(longer.thought_log_probs)) == (
        boundaries,
        finished,
        log_probs,
    )
    assert longer.thought_ids == encode(TOKENIZER, f"{EPISODE} {EPISODE}")[: boundaries[-1]]


@pytest.mark.parametrize("budget", [9, 11])
def test_extending_a_thought_that_fills_its_budget_changes_nothing(budget):
    started = scripted(EPISODE).think(PROBLEMS[:1], Sampling(11))
    for text in (EPISODE, "</think>"):
        assert scripted(text).extend(started, Sampling(budget)) == started


def test_each_thought_has_an_end_of_its_own():
    started = scripted(EPISODE, EPISODE, EPISODE).think(PROBLEMS, Sampling(11))
    longer = scripted(*[f"{EPISODE} </think>"] * 3).extend(started, Sampling(1), ends=[30, 14, 11])
    assert [t.boundaries for t in longer] == [[11, 22], [11, 14], [11]]
    assert [t.finished for t in longer] == [True, False, False]
    with pytest.raises(ValueError, match="shorter"):
        scripted().extend(started, Sampling(1), ends=[30])
    assert scripted().extend([], Sampling(1)) == []


def test_model_without_the_think_tokens():
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")), unk_token="?"
    )
    with pytest.raises(ValueError, match=r"no template of .* fits this tokenizer"):
        Reasoner(MODEL, plain)


def test_evaluation_by_hand():
    """Two scripted traces with given values: curves and regret from known numbers."""

    class Given:
        def values(self, problems, traces):
            numbers = [np.linspace(0.2, 0.2 + 0.1 * t.n_episodes, t.n_episodes + 1) for t in traces]
            return [PrefixValues(v, np.log(v), 0) for v in numbers]

    reasoner = scripted(f"{EPISODE} {EPISODE} </think>", EPISODE + " </think>")
    found = evaluate(reasoner, Given(), PROBLEMS[:1], 2, Sampling(23), answer_tokens=2)
    np.testing.assert_allclose(found.by_episode(3)[0], [[0.2, 0.3, 0.4, 0.4], [0.2, 0.3, 0.3, 0.3]])
    prompt = len(encode(TOKENIZER, f"solve {PROBLEMS[0].question} <think>"))
    # prompt + "time up </think>" + answer, then 11 tokens an episode; the model's own end is 2 shorter
    assert found.tokens[0].tolist() == [prompt + 5, prompt + 16, prompt + 25]
    assert found.tokens[1].tolist() == [prompt + 5, prompt + 14]
    assert found.episode_tokens == 11
    assert found.by_tokens([10_000])[0, 0] == pytest.approx(0.35)
    assert found.by_tokens([prompt + 5])[0, 0] == pytest.approx(0.2)
    assert found.regret(prompt + 5)[0] == pytest.approx(1 - 0.1)
    assert found.regret(prompt + 5, np.array([1.0]))[0] == pytest.approx(0.5 - 0.1)


def test_real_model_end_to_end():
    reasoner = Reasoner(MODEL, TOKENIZER)
    prover = ExactProver(reasoner, TASK)
    found = evaluate(reasoner, prover, PROBLEMS, 2, Sampling(30, seed=1), answer_tokens=2)
    assert found.by_episode(4).shape == (3, 2, 5)
    assert ((found.regret(100) > 0.9) & (found.regret(100) <= 1)).all()  # random weights know nothing


def test_evaluation_needs_problems_and_rollouts():
    for problems, rollouts in (([], 1), (PROBLEMS, 0)):
        with pytest.raises(ValueError, match="need problems and rollouts"):
            evaluate(scripted(), None, problems, rollouts, Sampling(2), 2)


def test_tokens_are_counted_when_they_are_sampled(monkeypatch):
    """Thoughts thought on from prefixes of several lengths: what the policy counts is what was drawn."""
    draws, own_draw = Counter(), transformers_engine._Sampler.__call__

    def draw(sampler, ids, scores):
        draws["rows"] += len(ids)
        return own_draw(sampler, ids, scores)

    monkeypatch.setattr(transformers_engine._Sampler, "__call__", draw)
    reasoner = Reasoner.load("data/models/strong")

    def counted(batch_tokens):
        reasoner.engine = TransformersEngine(reasoner.model, batch_tokens)
        policy = Policy(reasoner, ExactProver(reasoner, TASK), Sampling(60), Sampling(2), lambda: reasoner)
        return policy.tokens, MRTOffline().collect(policy, PROBLEMS, 4, seed=5)

    tokens, rollouts = counted(batch_tokens=1)  # one row at a time: nothing is drawn beside it
    assert len({r.given for r in rollouts}) > 1
    assert len({r.trace.finished for r in rollouts}) == 2
    assert tokens["policy"] == draws["rows"]
    assert counted(batch_tokens=65_536)[0] == tokens


def test_r1_forced_text_follows_exactly_one_blank_line():
    """None at the empty prefix, one after an episode, and one where the budget cut inside a paragraph."""
    bytes_only = Tokenizer(models.BPE({c: i for i, c in enumerate(ByteLevel.alphabet())}, []))
    bytes_only.pre_tokenizer, bytes_only.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only)
    prompt, thought = encode(tokenizer, "<think>\n"), encode(tokenizer, "A\n\nWait b")
    trace = Trace("q", prompt, thought, [3, len(thought)], finished=False)
    closings = [tokenizer.decode(R1.closing_ids(tokenizer, trace, j)) for j in range(3)]
    assert closings == [R1.forced_answer, R1.forced_answer, f"\n\n{R1.forced_answer}"]
    assert R1.forced_answer.startswith("Time is up.")
