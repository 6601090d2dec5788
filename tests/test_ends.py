"""The model's own ends of text: they end thoughts and answers, marked so, and nothing comes after them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import Gemma3Config, GenerationConfig

from mrt_lib.arms import GRPO, MRTExact, MRTOffline, MRTOnline, STaR
from mrt_lib.arms.base import Rollout
from mrt_lib.engines import Sampling
from mrt_lib.engines.base import eos_ids
from mrt_lib.measure.prover import ExactProver, SampledProver, right_answer_ids
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.test_time import OwnValue, Solver
from mrt_lib.test_time.base import sampled_tokens
from mrt_lib.thoughts.templates import R1_SHORT, TESTBED, encode, token_id
from mrt_lib.thoughts.traces import Trace, load_traces, save_traces
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.loop import Trainer, run
from mrt_lib.training.updates import token_log_probs, token_row
from recipes.beam import Beam
from recipes.reference import SeparateProver
from recipes.streams import force_on
from tests.small_training import SETTINGS, trainer
from tests.test_prover import SeveralAnswers, some_traces

TASK = RootSearch(31)
PROBLEMS = TASK.problems["test"][:6]
OFTEN = ["1", "0", "odd"]  # words that thoughts are full of


def ids_of(tokenizer, words):
    known = (tokenizer.convert_tokens_to_ids(word) for word in words)
    return [i for i in known if i not in (None, tokenizer.unk_token_id)]


def ending(reasoner, ids):
    """The reasoner whose checkpoint says that these end a text."""
    reasoner.model.generation_config = GenerationConfig(eos_token_id=ids)
    return Reasoner(reasoner.model, reasoner.tokenizer)


@pytest.fixture
def reasoner():
    """Of the words that its thoughts are full of, some are its ends of text."""
    own = Reasoner.load("data/models/base")
    ends = ids_of(own.tokenizer, OFTEN)
    assert len(ends) > 1
    return ending(own, ends)


def ended(reasoner, n=12):
    """Traces of thoughts that were ended so, with their problems."""
    problems = TASK.problems["test"][:n]
    traces = reasoner.think(problems, Sampling(40, seed=1))
    found = [(p, t) for p, t in zip(problems, traces, strict=True) if t.eos_id >= 0]
    assert len(found) > 3
    return map(list, zip(*found, strict=True))


def test_all_that_are_named_anywhere_are_ends():
    model = Reasoner.load("data/models/base").model
    tokenizer = Reasoner.load("data/models/base").tokenizer
    own = {tokenizer.eos_token_id}
    model.generation_config = GenerationConfig(eos_token_id=[30, 31])
    assert eos_ids(model, tokenizer) == tuple(sorted({30, 31, model.config.eos_token_id} | own))
    model.config.eos_token_id = [33, 32, 10**6, -1]
    model.generation_config.eos_token_id = None
    assert eos_ids(model, tokenizer) == tuple(sorted({32, 33} | own))
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "eos_token_id": [35, 36]}
    model.config = Gemma3Config(text_config=text, eos_token_id=34)
    assert eos_ids(model, tokenizer) == tuple(sorted({34, 35, 36} | own))


def test_a_thought_ends_at_any_of_them_and_is_marked(reasoner):
    plain = Reasoner.load("data/models/base")
    asked = Sampling(40, seed=1)
    stops = {*ids_of(plain.tokenizer, OFTEN), plain.tokenizer.eos_token_id}
    for free, trace in zip(plain.think(PROBLEMS, asked), reasoner.think(PROBLEMS, asked), strict=True):
        ids = [*free.thought_ids, *[token_id(plain.tokenizer, "</think>")] * free.finished]
        first = next((place for place, i in enumerate(ids) if i in stops), None)
        if first is None:
            assert trace == free
            continue
        assert (trace.thought_ids, trace.eos_id, trace.finished) == (ids[:first], ids[first], True)
        assert len(trace.thought_log_probs) == first + 1
        assert not set(trace.thought_ids) & stops


def test_it_is_answered_as_a_thought_that_was_cut_and_without_the_end(reasoner):
    _, traces = ended(reasoner)
    forced = encode(reasoner.tokenizer, TESTBED.forced_answer)
    for trace in traces:
        assert reasoner.close(trace, trace.n_episodes) == forced
        assert trace.prefix(trace.n_episodes) == trace.prompt_ids + trace.thought_ids
    as_cut = [replace(t, finished=False, eos_id=-1) for t in traces]
    sampling = Sampling(2, seed=3)
    assert [t.answer_ids for t in reasoner.answer(traces, sampling)] == [
        t.answer_ids for t in reasoner.answer(as_cut, sampling)
    ]


def test_its_values_are_those_of_the_thought_cut_there(reasoner):
    problems, traces = ended(reasoner)
    as_cut = [replace(t, finished=False, eos_id=-1) for t in traces]
    prover = ExactProver(reasoner, TASK)
    for a, b in zip(prover.values(problems, traces), prover.values(problems, as_cut), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_an_answer_ends_there_and_is_read_without_it(reasoner):
    ends = set(reasoner.eos_ids)
    traces = [Trace(p.id, reasoner.prompt(p.question), [], [], False) for p in PROBLEMS]
    answers = [t.answer_ids for t in reasoner.answer(traces, Sampling(30, temperature=8.0, seed=2))]
    assert all(not ends & set(ids[:-1]) for ids in answers)
    assert {ids[-1] for ids in answers} & set(ids_of(reasoner.tokenizer, OFTEN))
    seven, eos = token_id(reasoner.tokenizer, "7"), min(ends)
    assert [reasoner.read(ids) for ids in ([seven, eos], [seven], [eos], [])] == ["7", "7", "", ""]


def test_a_box_is_closed_by_its_brace_alone(reasoner):
    template = replace(R1_SHORT, think_end="</think>", answer_end="try")
    boxed = Reasoner(reasoner.model, reasoner.tokenizer, template)
    end = token_id(reasoner.tokenizer, "try")
    assert {ids[-1] for ids in right_answer_ids(boxed, TASK, PROBLEMS[0])} == {end}
    open_ended = {ids[-1] for ids in right_answer_ids(reasoner, TASK, PROBLEMS[0])}
    assert open_ended == {*ids_of(reasoner.tokenizer, OFTEN), reasoner.tokenizer.eos_token_id}


def test_an_answer_is_right_with_whatever_end_exact_values_say_so_too(reasoner):
    problems, traces = some_traces(3)
    task = SeveralAnswers()
    exact, slow = (p(reasoner, task).values(problems, traces) for p in (ExactProver, SeparateProver))
    sampled = SampledProver(reasoner, task, 400, Sampling(6)).values(problems, traces)
    for a, b, c in zip(exact, slow, sampled, strict=True):
        np.testing.assert_allclose(a.log_value, b.log_value, atol=1e-4)
        error = np.sqrt(a.value * (1 - a.value) / 400)
        assert (np.abs(a.value - c.value) <= 4 * error + 1 / 400).all()


def test_the_end_is_learnt_and_nothing_after_it(reasoner):
    problems, traces = ended(reasoner)
    for problem, trace in zip(problems, reasoner.answer(traces, Sampling(2)), strict=True):
        rollout = Rollout(problem, trace, 0, 1.0)
        row = token_row(reasoner, rollout, np.arange(1.0, rollout.tokens + 1))
        assert row.ids.tolist() == [*trace.prompt_ids, *trace.thought_ids, trace.eos_id]
        n = len(trace.thought_ids) + 1
        assert row.generated.tolist() == [False] * len(trace.prompt_ids) + [True] * n
        assert row.advantages[row.generated].tolist() == list(range(1, n + 1))
        with torch.inference_mode():
            again = token_log_probs(reasoner.model, torch.tensor(row.ids)[None], 1.0)[0, -n:]
        np.testing.assert_allclose(row.log_probs[row.generated], again, atol=1e-4)


@pytest.mark.parametrize("arm", [GRPO(), MRTExact("regret_to_go", 1.0), MRTOnline(branches=2), MRTOffline()])
def test_arms_train_on_such_thoughts(arm):
    own = Reasoner.load("data/models/strong")
    made = Trainer(ending(own, ids_of(own.tokenizer, OFTEN)), TASK, PROBLEMS, arm, TrainConfig(**SETTINGS))
    row = made.step()
    assert np.isfinite(row["loss"])
    assert any(r.trace.eos_id >= 0 for r in made.rollouts)


def test_arms_that_imitate_do_too():
    made = trainer(STaR(), problems=PROBLEMS)
    made.rollouts = made.arm.collect(made.policy, PROBLEMS, 8, 0)
    imitated = [r for r in made.rollouts if r.reward == 1]
    trace = replace(imitated[0].trace, eos_id=5, finished=True, thought_log_probs=[])
    trace = replace(trace, thought_log_probs=[0.0] * (len(trace.thought_ids) + 1))
    assert made._imitate([replace(imitated[0], trace=trace)], 0)["kept_tokens"] == len(trace.thought_ids) + 1


def test_forced_on_the_end_gives_way(reasoner):
    _, traces = ended(reasoner)
    sampling = Sampling(60, seed=5)
    for before, after in zip(traces, force_on(reasoner, traces, sampling, 1), strict=True):
        n = len(before.thought_ids)
        marker = encode(reasoner.tokenizer, TESTBED.continue_markers[0])
        assert after.thought_ids[: n + 1] == [*before.thought_ids, *marker]
        assert np.isnan(after.thought_log_probs[n])
        assert len(after.thought_log_probs) == len(after.thought_ids) + after.finished
        assert (after.eos_id >= 0) <= after.finished


def test_traces_keep_their_mark(tmp_path, reasoner):
    _, traces = ended(reasoner)
    save_traces(tmp_path / "t.parquet", traces)
    assert load_traces(tmp_path / "t.parquet") == traces


def test_a_beam_ends_there_too(reasoner):
    solver = Solver(reasoner, TASK, Sampling(40, temperature=0), Sampling(2, temperature=0))
    plain = solver.answer(solver.think(PROBLEMS, 0), 0)
    assert any(t.eos_id >= 0 for t in plain)
    beam = Beam(1, 1, OwnValue(), 20).solve(solver, PROBLEMS, 0)
    assert beam.policy.tolist() == [sampled_tokens(t) for t in plain]


def test_other_ends_of_text_are_another_run(tmp_path):
    """Weights and settings are the same; what differs is where a thought may end."""

    def made(words=()):
        own = Reasoner.load("data/models/strong")
        own = ending(own, ids_of(own.tokenizer, words)) if words else own
        config = TrainConfig(**{**SETTINGS, "steps": 1})
        return Trainer(own, TASK, TASK.problems["train"][:2], GRPO(), config)

    (first,) = run(made(), tmp_path)
    assert run(made(), tmp_path)[0]["seconds"] == first["seconds"]  # nothing was done again
    with pytest.raises(ValueError, match="holds a run with another ends of text; use a new folder"):
        run(made(OFTEN), tmp_path)
