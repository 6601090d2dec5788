"""The weights in training and their copies: merged equals adapted, and nothing else moves."""

import copy

import pytest
import torch

from mrt_lib.adapters import merged_weights
from mrt_lib.files import load_checkpoint, save_checkpoint
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.training.updates import token_log_probs
from recipes.root_search.base import build_model, build_tokenizer

TOKENIZER = build_tokenizer()
BASE = build_model(TOKENIZER, seed=0).eval()
IDS = torch.randint(5, len(TOKENIZER), (3, 20), generator=torch.Generator().manual_seed(0))
LORA = LoraSettings(rank=4, alpha=16)
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def learner(lora=LORA, seed=0):
    """With a stale copy of the untrained weights."""
    one = Learner(copy.deepcopy(BASE), lora, seed)
    one.stale_model()
    return one


@torch.no_grad()
def move(one, seed=1, size=0.05):
    """Random numbers onto every trained weight."""
    generator = torch.Generator().manual_seed(seed)
    for weight in one.trained().values():
        weight.add_(size * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def scores(model):
    return token_log_probs(model, IDS, 1.0)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def base_layers(one):
    return {name: p.detach().clone() for name, p in one.model.named_parameters() if "lora_" not in name}


def test_new_adapters_change_nothing():
    one = learner()
    one.publish()
    for model in (one.sampler, one.stale):
        assert same(weights(model), weights(BASE))
    assert torch.equal(scores(one.model), scores(BASE))


def test_the_merged_sampler_is_the_adapted_model():
    one = learner()
    move(one)
    before = scores(one.sampler)
    assert torch.equal(before, scores(BASE))
    one.publish()
    torch.testing.assert_close(scores(one.sampler), scores(one.model), atol=1e-5, rtol=0)
    assert (scores(one.sampler) - before).abs().max() > 0.01


def test_the_delta_is_alpha_over_rank_times_b_a():
    one = learner()
    move(one)
    merged = dict(merged_weights(one.model))
    assert len(merged) == len(LAYERS) * BASE.config.num_hidden_layers
    name = "model.layers.1.mlp.down_proj"
    layer = one.model.get_submodule(f"base_model.model.{name}")
    delta = 16 / 4 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    expected = BASE.get_parameter(f"{name}.weight") + delta
    torch.testing.assert_close(merged[f"{name}.weight"], expected.detach())


def test_publishing_is_out_of_place_and_does_not_drift():
    one = learner()
    frozen = base_layers(one)
    move(one)
    one.publish()
    first = weights(one.sampler)
    for _ in range(20):
        one.publish()
    assert same(weights(one.sampler), first)
    assert same(base_layers(one), frozen)
    with torch.no_grad():
        for weight in one.trained().values():
            weight.zero_()
    one.publish()
    assert same(weights(one.sampler), weights(BASE))


def test_only_adapters_of_the_linear_layers_learn():
    names = {name.split(".")[-4] for name in learner().trained()}
    assert names == set(LAYERS)
    assert all("lora_" in name for name in learner().trained())
    few = learner(LoraSettings(2, 4, ("q_proj", "v_proj"))).trained()
    assert {name.split(".")[-4] for name in few} == {"q_proj", "v_proj"}
    assert {min(p.shape) for p in few.values()} == {2}


def test_the_seed_makes_the_adapters_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (learner(seed=seed).trained() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert same(first, again)
    assert not same(first, other)


def test_training_moves_adapters_and_never_the_base():
    one = learner()
    frozen = base_layers(one)
    optimizer = torch.optim.AdamW(one.trained().values(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        (-token_log_probs(one.model, IDS, 1.0).mean()).backward()
        optimizer.step()
        one.publish()
    assert same(base_layers(one), frozen)
    assert scores(one.model).mean() > scores(BASE).mean() + 0.1
    torch.testing.assert_close(scores(one.sampler), scores(one.model), atol=1e-5, rtol=0)


def test_the_reference_is_the_base():
    one = learner()
    move(one)
    adapted = scores(one.model)
    with one.reference():
        assert torch.equal(scores(one.model), scores(BASE))
    assert torch.equal(scores(one.model), adapted)
    assert not torch.equal(adapted, scores(BASE))


@pytest.mark.parametrize("lora", [LORA, None])
def test_a_snapshot_stays_where_it_was_taken(lora):
    one = learner(lora)
    move(one)
    one.publish()
    assert same(weights(one.stale), weights(BASE))
    one.snapshot()
    then = weights(one.stale)
    assert same(then, weights(one.sampler))
    move(one, seed=2)
    one.publish()
    assert same(weights(one.stale), then)
    assert not same(weights(one.sampler), then)


def test_full_fine_tuning_trains_every_weight_and_samples_from_it():
    one = learner(None)
    assert set(one.trained()) == set(weights(BASE))
    move(one)
    one.publish()
    assert torch.equal(scores(one.sampler), scores(one.model))
    assert not torch.equal(scores(one.sampler), scores(BASE))
    with pytest.raises(ValueError, match="the KL term needs LoRA"):
        one.reference()


def test_copies_ask_for_no_gradient():
    one = learner()
    assert not any(p.requires_grad for model in (one.sampler, one.stale) for p in model.parameters())


@pytest.mark.parametrize("lora", [LORA, None])
def test_a_learner_goes_on_from_its_state(lora, tmp_path):
    one = learner(lora)
    move(one)
    one.publish()
    one.snapshot()
    move(one, seed=2)
    one.publish()
    save_checkpoint(tmp_path / "state.pt", one.state())
    other = learner(lora, seed=9)
    move(other, seed=3)
    other.load(load_checkpoint(tmp_path / "state.pt", torch.device("cpu")))
    for a, b in ((one.model, other.model), (one.sampler, other.sampler), (one.stale, other.stale)):
        assert same(weights(a), weights(b))


def test_without_a_stale_copy_everything_else_goes_on():
    one = Learner(copy.deepcopy(BASE), LORA, 0)
    assert one.stale is None
    move(one)
    one.publish()
    one.snapshot()
    other = Learner(copy.deepcopy(BASE), LORA, 1)
    other.load(one.state())
    assert other.stale is None
    assert same(weights(one.sampler), weights(other.sampler))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_adapters_of_a_half_precision_base_are_float32(dtype):
    one = Learner(copy.deepcopy(BASE).to(dtype), LORA, seed=0)
    one.stale_model()
    frozen = base_layers(one)
    move(one)
    one.publish()
    assert {p.dtype for p in one.trained().values()} == {torch.float32}
    assert {p.dtype for p in one.sampler.parameters()} == {dtype}
    assert same(base_layers(one), frozen)
    torch.testing.assert_close(scores(one.sampler), scores(one.model), atol=0.1, rtol=0)
    assert not torch.allclose(scores(one.model), scores(one.stale), atol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_not_trained_themselves(dtype):
    with pytest.raises(ValueError, match="load float32, or train adapters"):
        Learner(copy.deepcopy(BASE).to(dtype), None, seed=0)
