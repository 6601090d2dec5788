"""What an adapter may sit on: the sampler is the trained policy, or training is refused before it begins."""

from functools import cache

import pytest
import torch
from peft import LoraConfig, get_peft_model

from mrt_lib.adapters import base_facts, load_adapter, write_facts
from mrt_lib.training.lora import Learner, LoraSettings
from tools.model_zoo import build

IDS = torch.arange(5, 29)[None]
LINEAR = ("q_proj", "v_proj")


@cache
def family(name):
    return build(name).model


def tied(name="llama"):
    model = build(name).model
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.lm_head.weight = model.get_input_embeddings().weight
    return model


@torch.no_grad()
def gap(learner):
    """Largest difference of logits between trained policy and sampler, and what the adapters changed."""
    before = learner.sampler(IDS).logits
    generator = torch.Generator().manual_seed(0)
    for weight in learner.trained().values():
        weight.copy_(torch.randn(weight.shape, generator=generator) / 10)
    learner.publish()
    policy, sampler = learner.model(input_ids=IDS).logits, learner.sampler(IDS).logits
    assert (sampler - before).abs().max() > 0.1
    return float((policy - sampler).abs().max())


@pytest.mark.parametrize("name", ["qwen3_moe", "olmoe", "mixtral", "deepseek_v3", "qwen3_next"])
def test_experts_are_adapted_and_merged(name):
    learner = Learner(build(name).model, LoraSettings(4, 16), 0)
    assert any("experts" in weight for weight in learner.trained())
    own = {name: weight.clone() for name, weight in learner.sampler.named_parameters()}
    assert gap(learner) < 5e-5
    learner.publish(adapted=False)
    assert all(torch.equal(own[name], weight) for name, weight in learner.sampler.named_parameters())
    with learner.reference(), torch.no_grad():
        found = learner.model(input_ids=IDS).logits
        torch.testing.assert_close(found, learner.sampler(IDS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("targets", [("embed_tokens",), (*LINEAR, "lm_head"), ("embed_tokens", "lm_head")])
def test_a_tensor_of_two_names_is_refused_and_named(targets):
    message = (
        r"lm_head.weight are one tensor: an adapter on .*; leave it out of LoraSettings.targets, or train"
    )
    with pytest.raises(ValueError, match=message):
        Learner(tied(), LoraSettings(4, 16, targets), 0)


@pytest.mark.parametrize("targets", ["all-linear", LINEAR])
def test_a_tied_model_is_trained_elsewhere(targets):
    assert gap(Learner(tied(), LoraSettings(4, 16, targets), 0)) < 1e-5


@pytest.mark.parametrize("targets", [("embed_tokens",), ("lm_head",), ("embed_tokens", "lm_head", *LINEAR)])
def test_two_tensors_are_adapted_each(targets):
    assert gap(Learner(build("llama").model, LoraSettings(4, 16, targets), 0)) < 1e-5


def test_any_tensor_of_two_names_is_refused():
    model = build("llama").model
    first, second = (layer.self_attn for layer in model.model.layers)
    second.q_proj.weight = first.q_proj.weight
    with pytest.raises(ValueError, match=r"layers.0.self_attn.q_proj.weight and .*layers.1.* are one tensor"):
        Learner(model, LoraSettings(4, 16), 0)
    assert gap(Learner(model, LoraSettings(4, 16, ("o_proj", "up_proj")), 0)) < 1e-5


def test_a_layer_that_is_never_called_gets_no_adapter():
    learner = Learner(build("jamba").model, LoraSettings(4, 16), 0)
    assert not any("dt_proj" in name for name in learner.trained())
    assert gap(learner) < 5e-5
    with pytest.raises(ValueError, match=r"dt_proj.weight without calling its layer.*; leave it out of Lora"):
        Learner(build("jamba").model, LoraSettings(4, 16, ("dt_proj", "in_proj")), 0)


def test_what_no_text_reaches_is_no_obstacle():
    """The vision tower of a composite model has linear layers too."""
    learner = Learner(build("gemma3").model, LoraSettings(4, 16), 0)
    assert any("vision" in name for name in learner.trained())
    assert gap(learner) < 5e-5


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        ("mamba", "all-linear", r"'out_proj' is incompatible .*; name others .* \['dt_proj', 'in_proj',"),
        ("llama", ("nowhere",), r"not found in the base model.*; name others .* \['down_proj', 'gate_proj',"),
        ("llama", ("norm",), r"not supported.*; name others in LoraSettings.targets, of \['down_proj',"),
    ],
)
def test_what_peft_cannot_adapt_is_refused_with_what_there_is(name, targets, message):
    with pytest.raises(ValueError, match=message):
        Learner(family(name), LoraSettings(4, 16, targets), 0)


def test_a_state_model_is_trained_on_the_layers_that_can_be():
    assert gap(Learner(build("mamba").model, LoraSettings(4, 16, ("in_proj", "x_proj")), 0)) < 1e-5


def test_a_kept_adapter_of_such_a_tensor_is_refused_too(tmp_path):
    adapted = get_peft_model(tied(), LoraConfig(task_type="CAUSAL_LM", target_modules=["embed_tokens"]))
    adapted.save_pretrained(tmp_path)
    kept = {"arm": "", "task": "", "template": "", "numbers": {}, "provenance": {}}
    write_facts(tmp_path, kept | base_facts(tied(), "base"))
    with pytest.raises(ValueError, match=r"lm_head.weight are one tensor: an adapter on .*embed_tokens"):
        load_adapter(tied(), tmp_path)
