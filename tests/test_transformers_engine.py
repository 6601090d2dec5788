"""TransformersEngine: reproducible, independent of batching, and from the distribution it reports."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from mrt_lib.engines import Generation, Sampling, TransformersEngine
from mrt_lib.engines.base import by_length
from mrt_lib.reasoner import Reasoner
from recipes.root_search.base import build_model, build_tokenizer

NEW_TOKENS = 12
GREEDY = Sampling(NEW_TOKENS, temperature=0)
SAMPLED = Sampling(NEW_TOKENS, temperature=0.8, top_p=0.9, seed=3)


@torch.no_grad()
def lively(model):
    """The random model with larger weights: its next-token distribution is no longer flat."""
    for weight in model.parameters():
        weight.mul_(8 if weight.ndim == 2 else 1)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return lively(build_model(build_tokenizer(), seed=0))


@pytest.fixture(scope="module")
def engine(model):
    return TransformersEngine(model)


@pytest.fixture(scope="module")
def prompts(model):
    rng = np.random.default_rng(0)
    return [rng.integers(5, model.config.vocab_size, n).tolist() for n in (3, 17, 1, 8, 30, 8, 2, 12)]


@torch.inference_mode()
def reported(model, prompt, token_ids, temperature, top_p):
    """Log-probability of each token given its exact history, (tokens,), by one unpadded pass."""
    logits = model(torch.tensor([prompt + token_ids])).logits[0, len(prompt) - 1 : -1].double()
    return nucleus(logits / temperature, top_p).log()[torch.arange(len(token_ids)), token_ids]


def nucleus(logits, top_p):
    """Probabilities after top-p: the fewest most likely tokens that hold at least `top_p`."""
    probabilities, order = logits.softmax(-1).sort(-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = torch.zeros_like(logits).scatter(-1, order, probabilities * (before < top_p))
    return kept / kept.sum(-1, keepdim=True)


def chi_square_p_value(counts, probabilities):
    """Of drawing such counts from these probabilities; cells that expect under 5 are pooled."""
    expected = probabilities * counts.sum()
    small = expected < 5
    counts = torch.cat([counts[~small], counts[small].sum(0, keepdim=True)])
    expected = torch.cat([expected[~small], expected[small].sum(0, keepdim=True)])
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    return torch.special.gammaincc(torch.tensor((len(counts) - 1) / 2).double(), statistic / 2).item()


def tokens(generations):
    return [g.token_ids for g in generations]


def first_end(token_ids, sequence):
    """Tokens up to the end of the first `sequence`, or None."""
    ends = range(len(sequence), len(token_ids) + 1)
    return next((e for e in ends if tuple(token_ids[e - len(sequence) : e]) == sequence), None)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_computes_nan_is_named_and_draws_nothing(model, prompts, temperature):
    broken = copy.deepcopy(model)
    broken.lm_head.weight.data[3] = torch.nan
    with pytest.raises(FloatingPointError, match="no probabilities"):
        TransformersEngine(broken).generate(prompts[:2], Sampling(3, temperature))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(engine, prompts):
    first = engine.generate(prompts, SAMPLED)
    assert engine.generate(prompts, SAMPLED) == first
    assert tokens(engine.generate(prompts, Sampling(NEW_TOKENS, 0.8, 0.9, seed=4))) != tokens(first)


def test_equal_prompts_in_one_call_are_drawn_apart(engine, prompts):
    assert len({tuple(t) for t in tokens(engine.generate([prompts[0]] * 8, SAMPLED))}) == 8


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_a_larger_model_reads_equal_prompts_once(model, prompts, sampling, monkeypatch):
    repeated = [prompts[i] for i in (4, 1, 4, 2, 1, 4)]  # 30, 17 and 1 tokens
    expected = TransformersEngine(model).generate(repeated, sampling)
    monkeypatch.setattr("mrt_lib.engines.transformers_engine.SMALL", 0)
    read = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: read.append(tuple((args[0] if args else kwargs["input_ids"]).shape)),
        with_kwargs=True,
    )
    found = TransformersEngine(model).generate(repeated, sampling)
    hook.remove()
    assert read[:2] == [(3, 29), (6, 1)]
    assert tokens(found) == tokens(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
@pytest.mark.parametrize("batch_tokens", [1, 300, 65_536])
def test_several_generations_of_a_prompt_are_those_of_the_repeated_prompt(
    model, prompts, sampling, batch_tokens
):
    found = TransformersEngine(model, batch_tokens).generate(prompts, replace(sampling, n=3))
    expected = TransformersEngine(model).generate([p for p in prompts for _ in range(3)], sampling)
    assert tokens(found) == tokens(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_batches_do_not_change_the_tokens(model, prompts, sampling):
    whole = TransformersEngine(model).generate(prompts, sampling)
    split = TransformersEngine(model, batch_tokens=1).generate(prompts, sampling)
    assert tokens(split) == tokens(whole)
    for a, b in zip(split, whole, strict=True):
        np.testing.assert_allclose(a.log_probs, b.log_probs, atol=1e-4)


def test_a_prompt_draws_the_same_whatever_follows_it(engine, prompts):
    assert tokens(engine.generate(prompts[:3], SAMPLED)) == tokens(engine.generate(prompts, SAMPLED))[:3]


def test_padding_on_the_left_changes_nothing(engine, prompts):
    short, longest = prompts[2], prompts[4]
    alone = engine.generate([short], SAMPLED)[0]
    padded = engine.generate([short, longest], SAMPLED)[0]
    assert padded.token_ids == alone.token_ids
    np.testing.assert_allclose(padded.log_probs, alone.log_probs, atol=1e-4)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8), (1.5, 0.6)])
def test_draws_follow_the_exact_distribution(model, engine, prompts, temperature, top_p):
    drawn = engine.generate([prompts[1]], Sampling(1, temperature, top_p, seed=1, n=4000))
    counts = torch.bincount(torch.tensor(tokens(drawn))[:, 0], minlength=model.config.vocab_size)
    with torch.inference_mode():
        logits = model(torch.tensor([prompts[1]])).logits[0, -1].double()
    exact = nucleus(logits / temperature, top_p)
    assert counts[exact == 0].sum() == 0
    assert chi_square_p_value(counts.double(), exact) > 1e-3


def test_greedy_takes_the_most_likely_token(model, engine, prompts):
    for prompt, generation in zip(prompts, engine.generate(prompts, GREEDY), strict=True):
        expected = []
        for _ in range(NEW_TOKENS):
            with torch.inference_mode():
                expected.append(model(torch.tensor([prompt + expected])).logits[0, -1].argmax().item())
        assert generation.token_ids == expected
        assert generation.finish == "length"


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (0.6, 1.0), (1.3, 0.7)])
def test_log_probs_are_those_of_the_sampled_distribution(model, engine, prompts, temperature, top_p):
    for prompt, g in zip(
        prompts, engine.generate(prompts, Sampling(NEW_TOKENS, temperature, top_p)), strict=True
    ):
        exact = reported(model, prompt, g.token_ids, temperature or 1.0, top_p)
        np.testing.assert_allclose(g.log_probs, exact, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_stop_sequence_ends_a_generation_and_stays_in_it(engine, prompts, length):
    free = engine.generate(prompts, SAMPLED)
    sequence = tuple(free[0].token_ids[4 : 4 + length])
    for stopped, whole in zip(
        engine.generate(prompts, Sampling(NEW_TOKENS, 0.8, 0.9, (sequence,), seed=3)), free, strict=True
    ):
        end = first_end(whole.token_ids, sequence)
        assert stopped.token_ids == whole.token_ids[:end]
        assert len(stopped.log_probs) == len(stopped.token_ids)
        assert stopped.finish == ("length" if end is None else "stop")


def test_the_first_of_several_stop_sequences_ends_it(engine, prompts):
    whole = engine.generate(prompts[:1], SAMPLED)[0].token_ids
    late, early = tuple(whole[6:8]), (whole[3],)
    stopped = engine.generate(prompts[:1], Sampling(NEW_TOKENS, 0.8, 0.9, (late, early), seed=3))[0]
    assert stopped.token_ids == whole[: first_end(whole, early)]


def test_a_sequence_that_begins_in_the_prompt_does_not_stop(engine, prompts):
    prompt = prompts[0]
    whole = engine.generate([prompt], GREEDY)[0].token_ids
    across = (prompt[-1], whole[0])
    assert first_end(whole, across) is None
    stopped = engine.generate([prompt], Sampling(NEW_TOKENS, 0, stop=(across,)))[0]
    assert stopped.token_ids == whole
    assert stopped.finish == "length"


def test_eos_stops_only_where_it_is_asked_to(model, prompts):
    prompt = prompts[3]
    whole = TransformersEngine(model).generate([prompt], GREEDY)[0].token_ids
    ending = copy.deepcopy(model)
    ending.config.eos_token_id = ending.generation_config.eos_token_id = whole[0]
    engine = TransformersEngine(ending)
    assert engine.generate([prompt], GREEDY)[0].token_ids == whole
    asked = engine.generate([prompt], Sampling(NEW_TOKENS, 0, stop=((whole[0],),)))[0]
    assert (asked.token_ids, asked.finish) == (whole[:1], "stop")


def test_a_lora_adapter_samples_while_it_is_on(model, prompts):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    adapted = peft.get_peft_model(copy.deepcopy(model), config)
    engine, plain = TransformersEngine(adapted), TransformersEngine(model).generate(prompts, SAMPLED)
    changed = engine.generate(prompts, SAMPLED)
    assert tokens(changed) != tokens(plain)
    with adapted.disable_adapter():
        assert tokens(engine.generate(prompts, SAMPLED)) == tokens(plain)
    assert engine.generate(prompts, SAMPLED) == changed


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_in_its_mode(model, prompts, training):
    other = copy.deepcopy(model).train(training)
    TransformersEngine(other).generate(prompts, GREEDY)
    assert all(module.training is training for module in other.modules())


def test_dropout_is_off_while_generating(model, prompts):
    other = copy.deepcopy(model).train()
    for layer in other.model.layers:
        layer.self_attn.attention_dropout = 0.9
    expected = TransformersEngine(model).generate(prompts, GREEDY)
    assert tokens(TransformersEngine(other).generate(prompts, GREEDY)) == tokens(expected)


def test_the_whole_context_can_be_used_and_no_more(model, engine):
    context = model.config.max_position_embeddings
    assert len(engine.generate([[7] * (context - 2)], Sampling(2, 0))[0].token_ids) == 2
    with pytest.raises(ValueError, match=rf"prompt 1 has {context - 1} tokens and 2 new .* is {context}"):
        engine.generate([[7], [7] * (context - 1)], Sampling(2))


def test_an_empty_prompt_is_named_and_no_prompts_give_nothing(engine):
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        engine.generate([[7], []], GREEDY)
    assert engine.generate([], GREEDY) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number of at least 1, got 0"),
        ({"max_new_tokens": 2.0}, "max_new_tokens must be a whole number of at least 1, got 2.0"),
        ({"temperature": -0.1}, "temperature must be a number of at least 0, got -0.1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.1}, r"top_p must be in \(0, 1\], got 1.1"),
        ({"stop": ((1,), ())}, "a stop sequence is empty"),
        ({"n": 0}, "n must be a whole number of at least 1, got 0"),
    ],
)
def test_sampling_refuses_what_makes_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**{"max_new_tokens": 4, **settings})


def test_progress_counts_prompts(engine, prompts, capsys):
    engine.generate(prompts, GREEDY, progress=True)
    assert f"{len(prompts)}/{len(prompts)}" in capsys.readouterr().err
    engine.generate(prompts, GREEDY)
    assert capsys.readouterr().err == ""


# --- a limit of its own for each prompt ---

LIMITS = [5, 0, NEW_TOKENS, 1, 7, 0, 3, 5]


@pytest.fixture
def passes(model):
    """Tokens and rows of every forward pass of the model."""
    seen = []
    hook = model.register_forward_hook(
        lambda _, given, options, output: seen.append(output.logits.shape[0]), with_kwargs=True
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize(
    "sampling", [GREEDY, SAMPLED, replace(SAMPLED, n=2)], ids=["greedy", "sampled", "two each"]
)
@pytest.mark.parametrize("batch_tokens", [1, 150, 65_536])
def test_within_its_limit_a_prompt_draws_what_it_draws_without(model, prompts, sampling, batch_tokens):
    whole = TransformersEngine(model).generate(prompts, sampling)
    limited = TransformersEngine(model, batch_tokens).generate(prompts, sampling, LIMITS)
    limits = [limit for limit in LIMITS for _ in range(sampling.n)]
    assert tokens(limited) == [g.token_ids[:limit] for g, limit in zip(whole, limits, strict=True)]
    for one, other in zip(limited, whole, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs[: len(one.token_ids)], abs=1e-4)
        assert one.finish == "length"


def test_nothing_is_generated_beyond_a_limit(model, prompts, passes):
    TransformersEngine(model, batch_tokens=1).generate(prompts, SAMPLED, LIMITS)
    assert len(passes) == sum(LIMITS)
    passes.clear()
    TransformersEngine(model).generate(prompts, SAMPLED, LIMITS)
    assert passes == [sum(limit > 0 for limit in LIMITS)] * max(LIMITS)
    passes.clear()
    empty = TransformersEngine(model).generate(prompts, SAMPLED, [0] * len(prompts))
    assert (passes, empty) == ([], [Generation([], [], "length")] * len(prompts))


def test_a_stop_before_the_limit_is_a_stop(engine, prompts):
    whole = engine.generate(prompts[:1], SAMPLED)[0].token_ids
    stop = replace(SAMPLED, stop=((whole[3],),))
    end = first_end(whole, (whole[3],))
    for limit in (end - 1, end, end + 2):
        (found,) = engine.generate(prompts[:1], stop, [limit])
        assert found.token_ids == whole[: min(limit, end)]
        assert found.finish == ("stop" if limit >= end else "length")


def test_no_row_runs_past_the_context(model, engine):
    """A full prompt beside one with much room: run on together they would leave the context."""
    context = model.config.max_position_embeddings
    prompts = [[7] * (context - 1), [7]]
    positions = []
    hook = model.model.register_forward_pre_hook(
        lambda _, given, options: positions.append(int(options["position_ids"].max())), with_kwargs=True
    )
    found = engine.generate(prompts, Sampling(40, 0), [1, 40])
    hook.remove()
    assert [len(g.token_ids) for g in found] == [1, 40]
    assert max(positions) < context


@pytest.mark.parametrize(
    ("lengths", "rooms", "batches"),
    [
        ([9, 3, 30, 4], None, [[1, 3], [0], [2]]),
        ([3, 17, 1], [4, 4, 4], [[2, 0], [1]]),
        ([3, 4, 5], [1, 9, 1], [[0], [1], [2]]),
        ([3, 4, 5], [1, 1, 6], [[0, 1], [2]]),
        ([1, 1, 16], [8, 1, 1], [[0, 1], [2]]),
    ],
)
def test_batches_hold_their_padding_and_the_room_they_grow_by(lengths, rooms, batches):
    assert by_length(lengths, 18, rooms) == batches


def test_batches_stay_within_the_context():
    assert by_length([1, 9], 100, [9, 1], context=10) == [[0], [1]]
    assert by_length([1, 9], 100, [9, 1], context=18) == [[0, 1]]


@pytest.mark.parametrize("limits", [[1], [1, -1], [1, NEW_TOKENS + 1]])
def test_limits_that_do_not_go_with_the_prompts(engine, limits):
    with pytest.raises(ValueError, match=rf"need one limit in 0\.\.{NEW_TOKENS} for each of 2 prompts"):
        engine.generate([[7], [7]], SAMPLED, limits)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.5},
        {"suppress_tokens": list(range(20, 60))},
        {"no_repeat_ngram_size": 2},
        {"forced_eos_token_id": 1},
        {"max_time": 1e-6},
        {"num_beams": 2},
        {"cache_implementation": "static"},
        {"eos_token_id": 30, "min_new_tokens": 3},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_the_policy_itself_is_sampled_whatever_the_checkpoint_says(settings):
    model = Reasoner.load("data/models/base").model
    prompts, sampling = [[5, 6, 7, 8], [9, 10, 11]], Sampling(12, seed=4, n=2)
    expected = TransformersEngine(model).generate(prompts, sampling)
    own = model.generation_config = GenerationConfig(**settings)
    assert TransformersEngine(model).generate(prompts, sampling) == expected
    assert model.generation_config is own
