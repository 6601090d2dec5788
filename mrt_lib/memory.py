"""What a preset needs for a model, in bytes, from the model's config.json alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from mrt_lib.presets import PRESETS, Preset
from mrt_lib.prover import BLOCK
from mrt_lib.updates import LOGITS

# What to reduce first where a part is the largest.
KNOBS = {
    "base": "a smaller model",
    "sampler": "a smaller model",
    "stale": "an arm without stale prefixes",
    "adapters": "rank",
    "vllm": "vllm_gib",
    "generation": "generation_batch_tokens",
    "prover": "prover_batch_tokens",
    "update": "micro_batch_tokens",
}
FP32 = 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of each part: four are held all the time, collecting and updating take turns with the rest.

    Attributes:
        base: the frozen weights.
        sampler: their merged copy that samples and proves.
        stale: the copy of an earlier snapshot; 0 unless the arm uses one.
        adapters: LoRA weights, gradients and both Adam states, fp32.
        vllm: its weights, keys and values; it sleeps during the update.
        generation: keys, values, activations and logits of one batch of the Transformers engine; 0 with
            vLLM.
        prover: the same of one batch of exact values.
        update: activations, gradients and logits of one micro-batch.
    """

    base: int
    sampler: int
    stale: int
    adapters: int
    vllm: int
    generation: int
    prover: int
    update: int

    @property
    def held(self) -> int:
        """What is held all the time."""
        return self.base + self.sampler + self.stale + self.adapters

    @property
    def peak(self) -> int:
        """What is held, and the larger one of collecting rollouts and of the update."""
        return self.held + max(self.vllm + max(self.generation, self.prover), self.update)

    @property
    def largest(self) -> str:
        """Name of the largest part."""
        return max(KNOBS, key=lambda name: getattr(self, name))

    def __str__(self) -> str:
        parts = [f"{name} {_gib(getattr(self, name))}" for name in KNOBS if getattr(self, name)]
        return f"{_gib(self.peak)} GiB ({', '.join(parts)})"


def estimate(config: PretrainedConfig | str | Path, preset: Preset, stale: bool = False) -> MemoryEstimate:
    """What training with `preset` needs, from shapes alone: no weights are loaded.

    What a driver, a CUDA context (about half a GiB) and a fragmented allocator take comes on top.

    Args:
        config: of the model, or a folder with its config.json.
        stale: the arm uses a stale snapshot.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: the config is not that of a decoder with gated layers, or its context is too short.
    """
    shape = _Shape(_read(config), preset)
    weights = shape.parameters * shape.size
    return MemoryEstimate(
        base=weights,
        sampler=weights,
        stale=weights * stale,
        adapters=4 * FP32 * preset.rank * shape.adapted,
        vllm=int(preset.vllm_gib * 2**30),
        generation=0 if preset.engine == "vllm" else _generation(shape, preset),
        prover=_prover(shape, preset),
        update=_update(shape, preset),
    )


def check_fits(
    config: PretrainedConfig | str | Path, preset: Preset, free_bytes: int, stale: bool = False
) -> MemoryEstimate:
    """The estimate, if it fits; see `estimate`. Call it before loading anything.

    Raises:
        MemoryError: names what is needed and free, the largest part, and what to reduce or use instead.
    """
    found = estimate(config, preset, stale)
    if found.peak <= free_bytes:
        return found
    names = list(PRESETS)
    smaller = names[1 : names.index(preset.name)] if preset.name in names else []
    fitting = [name for name in smaller if estimate(config, PRESETS[name], stale).peak <= free_bytes]
    instead = f", or use preset {fitting[-1]!r}" if fitting else ""
    raise MemoryError(
        f"preset {preset.name!r} needs {_gib(found.peak)} GiB, {_gib(free_bytes)} GiB are free; the largest "
        f"part is {found.largest} with {_gib(getattr(found, found.largest))} GiB: "
        f"reduce {KNOBS[found.largest]}{instead}"
    )


class _Shape:
    """The numbers of a decoder that memory depends on."""

    def __init__(self, config: PretrainedConfig, preset: Preset) -> None:
        values: dict[str, Any] = config.to_dict()
        needed = (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "vocab_size",
        )
        if missing := [name for name in needed if not values.get(name)]:
            raise ValueError(
                f"{config.model_type!r} is no decoder with gated layers: no {', '.join(missing)}"
            )
        if values.get("max_position_embeddings", preset.context) < preset.context:
            raise ValueError(
                f"preset {preset.name!r} needs a context of {preset.context} tokens, the model's is "
                f"{values['max_position_embeddings']}"
            )
        self.hidden, self.inner, self.layers, heads, self.vocabulary = (values[name] for name in needed)
        head_dim = values.get("head_dim") or self.hidden // heads
        self.queries = heads * head_dim
        self.keys = (values.get("num_key_value_heads") or heads) * head_dim
        self.size = getattr(torch, preset.dtype).itemsize
        self.parameters, self.adapted = _count(config)

    @property
    def cached(self) -> int:
        """Bytes of keys and values per token, all layers."""
        return 2 * self.layers * self.keys * self.size

    @property
    def passing(self) -> int:
        """Bytes per token of a forward pass that keeps nothing: one layer at its widest."""
        return (2 * self.hidden + max(3 * self.inner, 2 * self.queries)) * self.size

    @property
    def saved(self) -> int:
        """Bytes per token and layer that the backward pass needs.

        Norms and adapters compute in fp32; below fp32 each adapter keeps a copy of its input of its own.
        """
        own = 2 * self.queries + 2 * self.keys + 3 * self.inner
        if self.size == FP32:
            return FP32 * (4 * self.hidden + own + self.inner)
        return self.size * own + FP32 * (7 * self.hidden + self.queries + self.inner)


def _generation(shape: _Shape, preset: Preset) -> int:
    """The answer after a full thought: a whole batch is read at once, then goes on from its keys."""
    rollouts = preset.prompts * preset.group
    rows = min(rollouts, max(1, preset.generation_batch_tokens // preset.context))
    tokens = rows * preset.context
    # Below fp32 the logits of a row are copied to fp32; probabilities and their sums are fp64.
    logits = rows * shape.vocabulary * 32
    mask = rows * preset.context**2
    return tokens * (shape.cached + shape.passing + 2 * shape.queries * shape.size) + logits + mask


def _prover(shape: _Shape, preset: Preset) -> int:
    """The trunks, then the branches of every episode on their keys and values."""
    prefixes = preset.episodes + 1
    trunk = preset.prompt_tokens + preset.thinking_tokens
    branches = prefixes * (preset.forced_tokens + preset.answer_tokens - 1)
    rollouts = preset.prompts * preset.group
    rows = min(rollouts, max(1, preset.prover_batch_tokens // (trunk + branches)))
    block = min(branches, BLOCK)
    mask = block * (trunk + branches) * (1 + shape.size)
    scored = prefixes * preset.answer_tokens
    # Every trace gets the logits of all columns in which any trace is scored.
    columns = min(rows * scored, branches)
    tail = block * shape.passing + 2 * (trunk + branches) * shape.queries * shape.size + mask
    logits = shape.vocabulary * (rows * columns * shape.size + scored * 3 * FP32)
    return rows * ((trunk + branches) * shape.cached + max(trunk * shape.passing, tail)) + logits


def _update(shape: _Shape, preset: Preset) -> int:
    """The end of the forward pass, the logits' backward pass or that of the widest layer."""
    tokens = max(preset.micro_batch_tokens, preset.context)
    backward = tokens * FP32 * 3 * shape.inner
    logits = min(tokens * shape.vocabulary, LOGITS) * 5 * FP32
    if preset.gradient_checkpointing:
        kept = tokens * shape.layers * shape.hidden * shape.size
        return kept + max(tokens * shape.saved + backward, logits)
    return tokens * shape.layers * shape.saved + max(backward, logits)


def _count(config: PretrainedConfig) -> tuple[int, int]:
    """Parameters, and adapted inputs + outputs of all linear layers but the last."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return sum(p.numel() for p in model.parameters()), sum(m.in_features + m.out_features for m in linear)


def _read(config: PretrainedConfig | str | Path) -> PretrainedConfig:
    if isinstance(config, PretrainedConfig):
        return config
    if not (Path(config) / "config.json").is_file():
        raise FileNotFoundError(f"{config} has no config.json; give the folder of a saved model")
    return AutoConfig.from_pretrained(config)


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f}"
