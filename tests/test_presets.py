"""Presets: the small one is what the experiments ran with, and bad ones are refused."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from mrt_lib.tasks import RootSearch
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.presets import PRESETS, choose_preset, get_preset, preset_for_this_machine

GIB = 2**30


def test_the_cpu_preset_is_the_configuration_of_the_experiments_and_fits_every_problem():
    preset = get_preset("cpu")
    assert preset.config == TrainConfig()
    reasoner = preset.load("data/models/base")
    assert reasoner.model.dtype == torch.float32
    problems = [p for split in RootSearch(31).problems.values() for p in split]
    reasoner.check_room(problems, preset.config.thinking_tokens, preset.config.answer_tokens)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_is_of_use(preset):
    assert PRESETS[preset.name] is preset
    with pytest.raises(FrozenInstanceError):
        preset.dtype = "float64"
    config = preset.config
    if preset.name != "cpu":
        assert config.gradient_checkpointing
        assert config.lora.alpha == 2 * config.lora.rank
        for batch in ("micro_batch_tokens", "generation_batch_tokens", "prover_batch_tokens"):
            assert getattr(config, batch) >= 2 * config.thinking_tokens


def test_a_t4_gets_neither_bf16_nor_vllm():
    preset = get_preset("t4")
    assert (preset.dtype, preset.engine, preset.vllm_gib) == ("float16", "transformers", 0)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown preset 'v100'; known: cpu, t4, a100, h100"):
        get_preset("v100")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "int8"}, "dtype must be .* got 'int8'"),
        ({"engine": "sglang"}, "engine must be one of transformers, vllm, got 'sglang'"),
        ({"engine": "vllm"}, "'vllm' does not go with vllm_gib=0"),
        ({"vllm_gib": 4.0}, "'transformers' does not go with vllm_gib=4"),
    ],
)
def test_bad_presets_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(get_preset("t4"), **changes)


@pytest.mark.parametrize(
    ("capability", "gib", "expected", "without_vllm"),
    [
        ((7, 5), 14.6, "t4", "t4"),
        ((6, 0), 15.9, "cpu", "cpu"),  # P100
        ((7, 0), 15.8, "cpu", "cpu"),  # V100
        ((7, 5), 7.8, "cpu", "cpu"),
        ((8, 0), 39.4, "a100", "t4"),
        ((8, 0), 79.2, "h100", "t4"),  # A100 with 80 GB
        ((8, 9), 22.2, "t4", "t4"),  # L4
        ((9, 0), 79.1, "h100", "t4"),
        ((9, 0), 139.8, "h100", "t4"),
    ],
)
def test_the_largest_preset_for_a_card_and_what_is_installed(capability, gib, expected, without_vllm):
    for vllm, name in ((True, expected), (False, without_vllm)):
        assert choose_preset(capability, int(gib * GIB), vllm).name == name


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_is_the_cpu():
    assert preset_for_this_machine().name == "cpu"
