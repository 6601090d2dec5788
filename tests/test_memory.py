"""Estimated memory against measured memory, and what is said when it does not fit."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from benchmarks.memory import LANGUAGE_MODEL, compare
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.training.memory import check_fits, estimate
from mrt_lib.training.presets import PRESETS, Preset, get_preset

GIB = 2**30
CARDS = {"t4": 14.5, "a100": 39.0, "h100": 79.0}
# Half the width of the 1.5B model with its heads' shape; small enough for seconds, large enough to see.
HALF = {
    "vocab_size": 8192,
    "hidden_size": 768,
    "intermediate_size": 4480,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 1,
}
SMALL = Preset(
    "small",
    thinking_tokens=440,
    episodes=11,
    context=512,
    prompts=2,
    micro_batch_tokens=1024,
    generation_batch_tokens=4096,
    prover_batch_tokens=4800,
)
TINY = Qwen2Config(
    vocab_size=100,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_estimate_is_near_what_a_process_takes():
    rows = compare(HALF, SMALL)
    assert set(rows) == {"held", "update", "generation", "prover"}
    for row in rows.values():
        assert row["measured"] > 50 * 2**20
        assert 0.7 < row["ratio"] < 1.4, rows


def test_weights_and_adapters_are_counted_exactly():
    preset = replace(SMALL, rank=4, context=64, thinking_tokens=40)
    found = estimate(TINY, preset, stale=True)
    one = Learner(AutoModelForCausalLM.from_config(TINY), LoraSettings(4), seed=0)
    weights = sum(p.numel() for p in one.sampler.parameters())
    adapters = sum(p.numel() for p in one.trained().values())
    assert found.base == found.sampler == found.stale == 4 * weights
    assert found.adapters == 16 * adapters
    half = estimate(TINY, replace(preset, dtype="float16"))
    assert (half.base, half.stale, half.adapters) == (2 * weights, 0, 16 * adapters)


def test_parts_add_up():
    found = estimate(Qwen2Config(**LANGUAGE_MODEL), get_preset("t4"))
    assert found.held == 2 * found.base + found.adapters
    assert found.peak == found.held + max(found.generation, found.prover, found.update)
    assert found.vllm == found.stale == 0
    assert str(found).startswith(f"{found.peak / GIB:.2f} GiB (base ")
    large = estimate(Qwen2Config(**LANGUAGE_MODEL), get_preset("h100"))
    assert large.vllm == get_preset("h100").vllm_gib * GIB
    assert large.peak == large.held + large.vllm + large.prover
    assert large.generation == 0


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("stale", [False, True])
def test_every_preset_fits_its_card_with_the_model_it_is_for(name, stale):
    check_fits(Qwen2Config(**LANGUAGE_MODEL), get_preset(name), int(CARDS[name] * GIB), stale)


def test_the_t4_preset_would_not_fit_without_checkpointed_layers():
    kept = replace(get_preset("t4"), gradient_checkpointing=False)
    with pytest.raises(MemoryError, match="largest part is update"):
        check_fits(Qwen2Config(**LANGUAGE_MODEL), kept, int(CARDS["t4"] * GIB))


@pytest.mark.parametrize(
    ("knob", "part"),
    [
        ("micro_batch_tokens", "update"),
        ("generation_batch_tokens", "generation"),
        ("prover_batch_tokens", "prover"),
        ("rank", "adapters"),
    ],
)
def test_a_smaller_knob_makes_its_part_smaller_and_no_other(knob, part):
    large = replace(get_preset("t4"), prompts=32)
    a, b = (
        estimate(Qwen2Config(**LANGUAGE_MODEL), p)
        for p in (large, replace(large, **{knob: getattr(large, knob) // 2}))
    )
    assert [n for n in vars(a) if getattr(a, n) != getattr(b, n)] == [part]
    assert getattr(b, part) < getattr(a, part)


def test_a_folder_is_read_without_its_weights(tmp_path):
    Qwen2Config(**LANGUAGE_MODEL).save_pretrained(tmp_path)
    text = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["Qwen2ForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(text))
    assert estimate(tmp_path, get_preset("t4")) == estimate(Qwen2Config(**LANGUAGE_MODEL), get_preset("t4"))
    assert estimate("data/models/base", get_preset("cpu")).peak < 0.1 * GIB


def test_what_does_not_fit_says_how_much_what_and_what_instead():
    model, free = Qwen2Config(**LANGUAGE_MODEL), int(39 * GIB)
    needed = estimate(model, get_preset("h100"))
    message = (
        rf"preset 'h100' needs {needed.peak / GIB:.2f} GiB, 39.00 GiB are free; the largest part is vllm "
        r"with 56.00 GiB: reduce vllm_gib, or use preset 'a100'"
    )
    with pytest.raises(MemoryError, match=message):
        check_fits(model, get_preset("h100"), free)
    with pytest.raises(MemoryError, match=r"reduce [a-z_]+$"):
        check_fits(model, get_preset("t4"), 8 * GIB)
    own = replace(get_preset("t4"), name="mine", prompts=64, generation_batch_tokens=10**6)
    with pytest.raises(MemoryError, match=r"'mine' .* reduce generation_batch_tokens$"):
        check_fits(model, own, 14 * GIB)


def test_bad_models_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        estimate(tmp_path, get_preset("cpu"))
    with pytest.raises(ValueError, match="a context of 2560 tokens, the model's is 2048"):
        estimate("data/models/base", get_preset("t4"))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="'gpt2' is no decoder with gated layers"):
        estimate(tmp_path, get_preset("cpu"))


def test_other_families_are_estimated_too():
    shape = {name: LANGUAGE_MODEL[name] for name in ("vocab_size", "hidden_size", "intermediate_size")}
    llama = LlamaConfig(**shape, num_hidden_layers=2, num_attention_heads=12, num_key_value_heads=2)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(llama)
    assert estimate(llama, PRESETS["cpu"]).base == 4 * sum(p.numel() for p in model.parameters())
