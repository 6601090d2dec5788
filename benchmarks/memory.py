"""Measured memory against `mrt_lib.training.memory.estimate`, on a CPU.

`python -m benchmarks.memory` runs the parts of a training step in a fresh process per case, with random
models of the real width and few layers, and writes both numbers to data/results/benchmark_memory.json, with
the estimates for the presets. Measured is the rise of the process's resident memory (Linux): its high-water
mark during the part, less what it had before, after a small warm-up.

Two ratios are not near 1. In bf16 the CPU copies the output layer once for every row that it samples, since
that row's input is a slice of a longer tensor: measured generation and prover lie far above the estimate. And
the prover's estimate allows for traces that are scored in unlike columns; here all are alike.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from recipes.root_search.base import build_tokenizer
from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.training.losses import LossConfig
from mrt_lib.training.memory import estimate
from mrt_lib.training.presets import PRESETS, Preset
from mrt_lib.measure.prover import ExactProver
from mrt_lib.provenance import provenance, write_json
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.templates import TESTBED
from mrt_lib.training.token_rows import TokenRow
from mrt_lib.thoughts.traces import Trace
from mrt_lib.training.updates import update

RESULT = Path("data/results/benchmark_memory.json")
# DeepSeek-R1-Distill-Qwen-1.5B.
LANGUAGE_MODEL = {
    "vocab_size": 151_936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 131_072,
    "tie_word_embeddings": False,
}
CUT = LANGUAGE_MODEL | {"num_hidden_layers": 2, "vocab_size": 32_768}
WIDE = CUT | {"num_hidden_layers": 1, "vocab_size": LANGUAGE_MODEL["vocab_size"], "tie_word_embeddings": True}
PLAIN = Preset(
    "plain",
    thinking_tokens=220,
    episodes=5,
    context=256,
    prompts=2,
    micro_batch_tokens=512,
    generation_batch_tokens=2048,
    prover_batch_tokens=1200,
)
CASES = {
    "fp32": (CUT, PLAIN),
    "fp32, layers checkpointed": (CUT, replace(PLAIN, micro_batch_tokens=1024, gradient_checkpointing=True)),
    "bf16": (CUT, replace(PLAIN, dtype="bfloat16")),
    "fp32, whole vocabulary, logits in chunks": (WIDE, replace(PLAIN, gradient_checkpointing=True)),
}


def measure(config: dict[str, Any], preset: Preset) -> dict[str, int]:
    """Bytes that each part took, in a fresh process without allocator settings.

    Args:
        config: arguments of `Qwen2Config`.
    """
    # Every large buffer comes from the system and goes back to it, so that resident means needed.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps([config, asdict(preset)])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def take(config: dict[str, Any], preset: Preset) -> dict[str, int]:
    """What `measure` runs in the fresh process."""
    before = _resident("VmRSS")
    torch.manual_seed(0)
    base: Any = AutoModelForCausalLM.from_config(Qwen2Config(**config), dtype=getattr(torch, preset.dtype))
    learner = Learner(base.eval(), LoraSettings(preset.rank, 2 * preset.rank), 0, keep_stale=False)
    optimizer = torch.optim.AdamW(learner.trained().values())
    runs = {"update": _learn, "generation": _sample, "prover": _prove}
    for run in runs.values():
        run(learner, optimizer, preset, small=True)
    gc.collect()
    found = {"held": _resident("VmRSS") - before}
    for part, run in runs.items():
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
        before = _resident("VmRSS")
        run(learner, optimizer, preset, small=False)
        found[part] = _resident("VmHWM") - before
    return found


def _learn(learner: Learner, optimizer: Any, preset: Preset, small: bool) -> None:
    length = 16 if small else preset.context
    count = 1 if small else preset.micro_batch_tokens // preset.context
    ids, generated = np.random.default_rng(0).integers(5, 100, length), np.arange(length) > 4
    row = TokenRow(ids, generated, -4.0 * generated, 1.0 * generated)
    settings = (LossConfig(), length, 1.0, 1.0, preset.micro_batch_tokens, preset.gradient_checkpointing)
    update(learner, optimizer, [row] * count, *settings)


def _sample(learner: Learner, _: Any, preset: Preset, small: bool) -> None:
    count = 1 if small else preset.prompts * preset.group
    rng = np.random.default_rng(0)
    length = 16 if small else preset.context - preset.answer_tokens
    # One prompt is shorter than the others, so that there is padding.
    prompts = [rng.integers(5, 100, length - (i == 0)).tolist() for i in range(count)]
    engine = TransformersEngine(learner.sampler, preset.generation_batch_tokens)
    engine.generate(prompts, Sampling(preset.answer_tokens))


def _prove(learner: Learner, _: Any, preset: Preset, small: bool) -> None:
    task = RootSearch(31)
    problem = task.problems["train"][0]
    thinking = 22 if small else preset.thinking_tokens
    ids = np.random.default_rng(0).integers(5, 100, preset.prompt_tokens + thinking).tolist()
    prompt, thought = ids[: preset.prompt_tokens], ids[preset.prompt_tokens :]
    boundaries = np.linspace(0, thinking, (2 if small else preset.episodes) + 1).astype(int)[1:].tolist()
    trace = Trace(problem.id, prompt, thought, boundaries, finished=False)
    prover = ExactProver(learner.sampler, build_tokenizer(), TESTBED, task, 1.0, preset.prover_batch_tokens)
    count = 1 if small else preset.prompts * preset.group
    prover.values([problem] * count, [trace] * count)


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def compare(config: dict[str, Any], preset: Preset) -> dict[str, dict[str, float]]:
    """Estimated and measured bytes and their ratio, by part."""
    found, rows = estimate(Qwen2Config(**config), preset), {}
    for part, measured in measure(config, preset).items():
        estimated = getattr(found, part)
        rows[part] = {"estimated": estimated, "measured": measured, "ratio": estimated / measured}
    return rows


def main(show: Callable[[str], None] = print) -> None:
    """Compare every case, estimate every preset, write both."""
    rows = {}
    for name, (config, preset) in CASES.items():
        rows[name] = {"model": config, "preset": asdict(preset), "parts": compare(config, preset)}
        for part, row in rows[name]["parts"].items():
            show(
                f"{name:42} {part:11} {row['estimated'] / 2**20:7.0f} MiB estimated, "
                f"{row['measured'] / 2**20:7.0f} measured, ratio {row['ratio']:.2f}"
            )
    model = Qwen2Config(**LANGUAGE_MODEL)
    estimates = {p.name: asdict(estimate(model, p)) for p in PRESETS.values() if p.name != "cpu"}
    for name in estimates:
        show(f"{name}: {estimate(model, PRESETS[name])}")
    write_json(RESULT, {"provenance": provenance(), "cases": rows, "presets": estimates})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        model_config, settings = json.loads(sys.argv[1])
        print(json.dumps(take(model_config, Preset(**settings))))
    else:
        main()
