"""Batch sizes for four kinds of machine, chosen by `mrt_lib.memory.estimate`.

`cpu` trains the shipped reasoners of 0.8 million parameters and is what the experiments ran with. The other
three train a language model of 1.5 billion parameters (DeepSeek-R1-Distill-Qwen-1.5B) with template
`r1_short`; `r1` needs more `answer_tokens`, because its answer is written out. Their sizes are estimated, not
yet measured on these cards: the estimate was compared with measured memory on a CPU only
(`python -m benchmarks.memory`, data/results/benchmark_memory.json, which also has what each preset needs).
Their learning rates are untested. `mrt_lib.memory.check_fits` compares what a preset needs with what is free
before anything is loaded.

Out of memory all the same? Reduce first: in the update `micro_batch_tokens`, while sampling
`generation_batch_tokens` (with vLLM: `vllm_gib`), in the prover `prover_batch_tokens`; then `thinking_tokens`
and `context`, because one rollout always has to fit; then `prompts` x `group`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from mrt_lib.engines.vllm_engine import VLLMEngine
from mrt_lib.learner import LoraSettings
from mrt_lib.reasoner import check_dtype
from mrt_lib.train_config import TrainConfig

ENGINES = ("transformers", "vllm")


@dataclass(frozen=True)
class Preset:
    """What fits on one kind of machine; fields without a comment here are those of `TrainConfig`.

    Attributes:
        name: the key in `PRESETS`.
        dtype: of the frozen weights and their copies; adapters are fp32.
        engine: what samples, "transformers" or "vllm".
        rank: of the LoRA adapters; alpha is twice that.
        forced_tokens: most tokens of the template's forced text.
        context: most tokens of a whole rollout: prompt, thought, forced text and answer.
        vllm_gib: what vLLM may take for its own weights, keys and values while rollouts are collected, as
            `gpu_memory_utilization` of the card's memory; 0 without it.
    """

    name: str
    dtype: str = "float32"
    engine: str = "transformers"
    rank: int = 16
    learning_rate: float = 1e-3
    prompts: int = 8
    group: int = 4
    thinking_tokens: int = 44
    episodes: int = 4
    forced_tokens: int = 3
    answer_tokens: int = 2
    context: int = 96
    micro_batch_tokens: int = 1024
    gradient_checkpointing: bool = False
    generation_batch_tokens: int = 65_536
    prover_batch_tokens: int = 2048
    vllm_gib: float = 0.0

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if (self.engine == "vllm") != (self.vllm_gib > 0):
            raise ValueError(f"engine {self.engine!r} does not go with vllm_gib={self.vllm_gib:g}")
        if self.prompt_tokens < 1:
            raise ValueError(
                f"a context of {self.context} tokens leaves no room for a prompt beside a thought of "
                f"{self.thinking_tokens}, {self.forced_tokens} forced and {self.answer_tokens} answer tokens"
            )

    @property
    def prompt_tokens(self) -> int:
        """Room for the prompt in the context."""
        return self.context - self.thinking_tokens - self.forced_tokens - self.answer_tokens

    def train_config(self, **changes: Any) -> TrainConfig:
        """The preset as a training run's configuration, with `changes` to any of its fields."""
        own = {name: getattr(self, name) for name in TrainConfig.__dataclass_fields__ if hasattr(self, name)}
        return TrainConfig(**{**own, "lora": LoraSettings(self.rank, 2 * self.rank), **changes})


# Of a language model with template `r1_short`, on any card and on one with bf16.
LANGUAGE_MODEL: dict[str, Any] = {
    "learning_rate": 1e-5,
    "forced_tokens": 64,
    "answer_tokens": 16,
    "gradient_checkpointing": True,
}
BF16: dict[str, Any] = LANGUAGE_MODEL | {"dtype": "bfloat16", "engine": "vllm", "rank": 32, "group": 8}
# From small to large.
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("cpu"),
        # 16 GB, free on Colab and Kaggle. No bf16 there, and vLLM's support is unproven: fp16, SDPA.
        Preset(
            "t4",
            dtype="float16",
            thinking_tokens=2048,
            episodes=8,
            context=2560,
            micro_batch_tokens=5120,
            generation_batch_tokens=40_960,
            prover_batch_tokens=6656,
            **LANGUAGE_MODEL,
        ),
        # 40 GB.
        Preset(
            "a100",
            prompts=16,
            thinking_tokens=8192,
            episodes=24,
            context=9216,
            micro_batch_tokens=18_432,
            generation_batch_tokens=65_536,
            prover_batch_tokens=22_528,
            vllm_gib=22.0,
            **BF16,
        ),
        # 80 GB; the paper's budget of 16K tokens.
        Preset(
            "h100",
            prompts=32,
            thinking_tokens=16_384,
            episodes=48,
            context=17_408,
            micro_batch_tokens=34_816,
            generation_batch_tokens=131_072,
            prover_batch_tokens=43_008,
            vllm_gib=56.0,
            **BF16,
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name; ValueError lists the known names."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def colocated_engine(preset: Preset, name: str | Path) -> VLLMEngine | None:
    """vLLM with the preset's share of the card, for `Trainer`; None if the preset samples with Transformers.

    Args:
        name: folder or hub name of the model.

    Raises:
        ImportError: vLLM is missing, or of an untested version.
    """
    if preset.engine == "transformers":
        return None
    longest = min(2 * preset.context, AutoConfig.from_pretrained(name).max_position_embeddings)
    share = {}
    if torch.cuda.is_available():
        share["gpu_memory_utilization"] = preset.vllm_gib * 2**30 / torch.cuda.mem_get_info()[1]
    return VLLMEngine(name, preset.dtype, max_model_len=longest, **share)


def preset_for_this_machine() -> Preset:
    """`choose_preset` for the first GPU, or for a machine without one."""
    if not torch.cuda.is_available():
        return get_preset("cpu")
    return choose_preset(torch.cuda.get_device_capability(), torch.cuda.mem_get_info()[1])


def choose_preset(capability: tuple[int, int], total_bytes: int) -> Preset:
    """The largest preset for a GPU's compute capability and memory; `cpu` for a GPU below a T4.

    bf16 and vLLM need capability 8.0. Cards tell a little less than the GB on their label.
    """
    gib = total_bytes / 2**30
    if capability >= (8, 0) and gib >= 38:
        return get_preset("h100" if gib >= 75 else "a100")
    return get_preset("t4" if capability >= (7, 5) and gib >= 14 else "cpu")
