"""What fits on four kinds of machine.

`cpu` trains the shipped reasoners, as in the experiments. The others train a model of 1.5 billion parameters;
their sizes are estimated and their learning rates untested: `train` tries the largest shapes before a run
begins (`check_fits`), and says what to reduce.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from packaging.specifiers import SpecifierSet

from mrt_lib.engines.vllm_engine import TESTED
from mrt_lib.models import check_dtype
from mrt_lib.provenance import installed
from mrt_lib.reasoner import ENGINES, Reasoner
from mrt_lib.thoughts.templates import Template
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.lora import LoraSettings


@dataclass(frozen=True)
class Preset:
    """A training configuration and what the machine dictates beside it.

    Attributes:
        name: the key in `PRESETS`.
        config: of the training run.
        dtype: of the frozen weights and their copies; adapters are fp32.
        engine: what samples, "transformers" or "vllm".
        vllm_gib: what vLLM may take for weights, keys and values while it samples; 0 without it.
    """

    name: str
    config: TrainConfig = field(default_factory=TrainConfig)
    dtype: str = "float32"
    engine: str = "transformers"
    vllm_gib: float = 0.0

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if (self.engine == "vllm") != (self.vllm_gib > 0):
            raise ValueError(f"engine {self.engine!r} does not go with vllm_gib={self.vllm_gib:g}")

    def load(self, name: str | Path, template: Template | str | None = None) -> Reasoner:
        """The reasoner of that name as this machine holds it; errors as in `Reasoner.load`."""
        options: dict[str, Any] = {}
        if self.engine == "vllm" and torch.cuda.is_available():
            share = self.vllm_gib * 2**30 / torch.cuda.mem_get_info()[1]
            options = {"gpu_memory_utilization": share}
        return Reasoner.load(name, template, self.dtype, self.engine, **options)


def _language_model(rank: int, tokens: tuple[int, int, int, int], **sizes: int) -> TrainConfig:
    """`tokens`: of a thought, and most of a pass of the update, of sampling and of the exact prover."""
    names = [f"{name}_tokens" for name in ("thinking", "micro_batch", "generation_batch", "prover_batch")]
    shared: Any = {"learning_rate": 1e-5, "answer_tokens": 16, "gradient_checkpointing": True, **sizes}
    shared |= zip(names, tokens, strict=True)
    return TrainConfig(lora=LoraSettings(rank, 2 * rank), **shared)


# 16 GB, free on Colab and Kaggle: no bf16 there, and vLLM's support is unproven, so fp16 and SDPA. Then
# 40 GB, and 80 GB with the paper's budget of 16K tokens.
T4 = _language_model(16, (2048, 5120, 40_960, 6656), episodes=8)
A100 = _language_model(32, (8192, 18_432, 65_536, 22_528), episodes=24, prompts=16, group=8)
H100 = _language_model(32, (16_384, 34_816, 131_072, 43_008), episodes=48, prompts=32, group=8)
# From small to large.
PRESETS = {
    "cpu": Preset("cpu"),
    "t4": Preset("t4", T4, "float16"),
    "a100": Preset("a100", A100, "bfloat16", "vllm", 22.0),
    "h100": Preset("h100", H100, "bfloat16", "vllm", 56.0),
}


def get_preset(name: str) -> Preset:
    """The preset of that name; ValueError lists the known names."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def preset_for_this_machine() -> Preset:
    """`choose_preset` for the first GPU, or for a machine without one."""
    if not torch.cuda.is_available():
        return get_preset("cpu")
    vllm = installed("vllm")
    sampled = vllm is not None and vllm in SpecifierSet(TESTED, prereleases=True)
    return choose_preset(torch.cuda.get_device_capability(), torch.cuda.mem_get_info()[1], sampled)


def choose_preset(capability: tuple[int, int], total_bytes: int, vllm: bool) -> Preset:
    """The largest preset for a GPU's compute capability and memory; `cpu` for a GPU below a T4.

    bf16 and vLLM need capability 8.0. Cards tell a little less than the GB on their label.
    `vllm`: whether a version is installed that the engine knows; without it no preset that samples with it.
    """
    gib = total_bytes / 2**30
    if vllm and capability >= (8, 0) and gib >= 38:
        return get_preset("h100" if gib >= 75 else "a100")
    return get_preset("t4" if capability >= (7, 5) and gib >= 14 else "cpu")
