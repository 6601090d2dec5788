"""Thinking, answering and evaluating with a real (tiny, random) model."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from recipes.root_search.base import build_model, build_tokenizer
from mrt_lib.engines import Generation, Sampling, TransformersEngine
from mrt_lib.measure.evaluation import evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.rollouts import answer, closing_ids, extend, think
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.templates import R1, TESTBED, encode
from mrt_lib.thoughts.traces import Trace

TOKENIZER = build_tokenizer()
TASK = RootSearch(31)
PROBLEMS = TASK.sample(np.random.default_rng(0), 3)
EPISODE = "try 5 : 0 0 5 5 low in 6 31"


class Scripted:
    """An engine that writes what it is told: the only way to know a thought beforehand."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.prompts: list[str] = []

    def generate(self, prompts, sampling, progress=False):
        self.prompts = [TOKENIZER.decode(p) for p in prompts]
        generations = []
        for text in self.texts:
            ids = encode(TOKENIZER, text)[: sampling.max_new_tokens]
            stopped = any(tuple(ids[-len(s) :]) == s for s in sampling.stop)
            generations.append(Generation(ids, [-0.5] * len(ids), "stop" if stopped else "length"))
        return generations


def test_think_cuts_episodes_and_knows_who_ended_the_thought():
    engine = Scripted(f"{EPISODE} {EPISODE} </think>", f"{EPISODE} {EPISODE}", "</think>")
    finished, cut, empty = think(engine, TOKENIZER, TESTBED, PROBLEMS, Sampling(22 + 1))
    assert (finished.finished, finished.boundaries, len(finished.thought_log_probs)) == (True, [11, 22], 23)
    assert (cut.finished, cut.boundaries, len(cut.thought_log_probs)) == (False, [11, 22], 22)
    assert (empty.finished, empty.boundaries, empty.thought_ids) == (True, [], [])
    assert engine.prompts[0] == f"solve {PROBLEMS[0].question} <think>"


def test_answer_closes_the_thought_by_force_only_where_the_budget_cut_it():
    traces = think(
        Scripted(f"{EPISODE} </think>", EPISODE, "</think>"), TOKENIZER, TESTBED, PROBLEMS, Sampling(12)
    )
    engine = Scripted("7 <eos>", "8 <eos>", "9 9")
    answered = answer(engine, TOKENIZER, TESTBED, traces, Sampling(2))
    assert [t.answer_ids for t in answered] == [encode(TOKENIZER, a) for a in ("7 <eos>", "8 <eos>", "9 9")]
    ends = [p.split("31 <think>")[-1].strip() for p in engine.prompts]
    assert ends == [f"{EPISODE} </think>", f"{EPISODE} time up </think>", "</think>"]


def test_closing_text_at_earlier_prefixes_is_always_forced():
    trace = think(Scripted(f"{EPISODE} </think>"), TOKENIZER, TESTBED, PROBLEMS[:1], Sampling(12))[0]
    texts = [TOKENIZER.decode(closing_ids(TOKENIZER, TESTBED, trace, j)) for j in (0, 1)]
    assert texts == ["time up </think>", "</think>"]


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
    started = think(Scripted(EPISODE), TOKENIZER, TESTBED, PROBLEMS[:1], Sampling(11))
    engine = Scripted(f"{EPISODE} </think>")
    longer = extend(engine, TOKENIZER, TESTBED, started, Sampling(budget))[0]
    assert engine.prompts[0] == f"solve {PROBLEMS[0].question} <think> {EPISODE}"
    assert (longer.boundaries, longer.finished, len(longer.thought_log_probs)) == (
        boundaries,
        finished,
        log_probs,
    )
    assert longer.thought_ids == encode(TOKENIZER, f"{EPISODE} {EPISODE}")[: boundaries[-1]]


@pytest.mark.parametrize("budget", [9, 11])
def test_extending_a_thought_that_fills_its_budget_changes_nothing(budget):
    started = think(Scripted(EPISODE), TOKENIZER, TESTBED, PROBLEMS[:1], Sampling(11))
    for text in (EPISODE, "</think>"):
        assert extend(Scripted(text), TOKENIZER, TESTBED, started, Sampling(budget)) == started


def test_model_without_the_think_tokens():
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")), unk_token="?"
    )
    with pytest.raises(ValueError, match=r"lacks \['</think>', '<eos>', 'try'\]"):
        think(Scripted("</think>"), plain, TESTBED, PROBLEMS, Sampling(4))


def test_evaluation_by_hand():
    """Two scripted traces with values of a uniform judge: curves and regret from known numbers."""

    class Judge:
        def values(self, problems, traces):
            from mrt_lib.measure.prover import PrefixValues

            numbers = [np.linspace(0.2, 0.2 + 0.1 * t.n_episodes, t.n_episodes + 1) for t in traces]
            return [PrefixValues(v, np.log(v), np.zeros(len(v)), 0) for v in numbers]

    engine = Scripted(f"{EPISODE} {EPISODE} </think>", EPISODE + " </think>")
    found = evaluate(engine, Judge(), TOKENIZER, TESTBED, PROBLEMS[:1], 2, Sampling(23), answer_tokens=2)
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
    model = build_model(TOKENIZER, 0).eval()
    prover = ExactProver(model, TOKENIZER, TESTBED, TASK)
    engine = TransformersEngine(model)
    found = evaluate(engine, prover, TOKENIZER, TESTBED, PROBLEMS, 2, Sampling(30, seed=1), answer_tokens=2)
    assert found.by_episode(4).shape == (3, 2, 5)
    assert ((found.regret(100) > 0.9) & (found.regret(100) <= 1)).all()  # random weights know nothing


def test_evaluation_needs_problems_and_rollouts():
    for problems, rollouts in (([], 1), (PROBLEMS, 0)):
        with pytest.raises(ValueError, match="need problems and rollouts"):
            evaluate(Scripted(), None, TOKENIZER, TESTBED, problems, rollouts, Sampling(2), 2)


def test_r1_forced_text_follows_exactly_one_blank_line():
    """None at the empty prefix, one after an episode, and one where the budget cut inside a paragraph."""
    bytes_only = Tokenizer(models.BPE({c: i for i, c in enumerate(ByteLevel.alphabet())}, []))
    bytes_only.pre_tokenizer, bytes_only.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only)
    prompt, thought = encode(tokenizer, "<think>\n"), encode(tokenizer, "A\n\nWait b")
    trace = Trace("q", prompt, thought, [3, len(thought)], finished=False)
    closings = [tokenizer.decode(closing_ids(tokenizer, R1, trace, j)) for j in range(3)]
    assert closings == [R1.forced_answer, R1.forced_answer, f"\n\n{R1.forced_answer}"]
    assert R1.forced_answer.startswith("Time is up.")
