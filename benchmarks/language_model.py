"""What training costs for a language model of real shape, by phase.

`python -m benchmarks.language_model` builds a random model of Qwen2-1.5B's shape with LoRA of rank 16 and
measures, for traces of 2k, 8k and 16k tokens, a training step by phase and its peak memory; then exact
values in one packed pass against one pass per prefix and against 4 sampled branches, at 8k tokens and 8,
16 and 32 boundaries. It needs a GPU; `--shape tiny` runs the same code anywhere. `--cap 15` keeps to 15 GiB
of the card, as a T4 has. Into data/results/benchmark_language_model.json, one entry for each device and cap.

A random model writes no episode markers, so its thoughts are cut into equal episodes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from benchmarks.long_trace import TASK, TEMPLATE, TOKENIZER
from benchmarks.prover import seconds_once
from mrt_lib import MRTExact, Reasoner, TrainConfig, Trainer
from mrt_lib.arms.base import Policy, Rollout, repeat
from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.files import write_json
from mrt_lib.measure.prover import ExactProver, SampledProver
from mrt_lib.models import hardware_dtype
from mrt_lib.provenance import provenance
from mrt_lib.tasks import Problem
from mrt_lib.thoughts.traces import Trace
from mrt_lib.training.lora import LoraSettings
from recipes.reference import SeparateProver

RESULT = Path("data/results/benchmark_language_model.json")
SHAPES = {
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "vocab_size": 151_936},
    "tiny": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 512},
}
TOKENS = {"1.5b": (2048, 8192, 16_384), "tiny": (128, 256)}
BOUNDARIES = (8, 16, 32)
EPISODES, GROUP, BRANCHES, REPEATS = 16, 4, 4, 3


@dataclass(frozen=True)
class EqualEpisodes(MRTExact):
    """MRT with exact values on thoughts cut into equal episodes."""

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think up to the budget, cut, value."""
        problems = repeat(problems, group)
        traces = [cut_evenly(t, EPISODES) for t in policy.think(problems, seed)]
        pairs = zip(problems, policy.exact_values(problems, traces), strict=True)
        return [Rollout(p, t, i // group, t.values[-1]) for i, (p, t) in enumerate(pairs)]


def cut_evenly(trace: Trace, episodes: int) -> Trace:
    """The same thought in so many episodes."""
    ends = np.linspace(0, len(trace.thought_ids), episodes + 1).astype(int)[1:].tolist()
    return replace(trace, boundaries=sorted({end for end in ends if end}))


def build(shape: str) -> PreTrainedModel:
    """The random model, in the number format of the hardware, on the GPU if there is one."""
    heads = {"num_attention_heads": SHAPES[shape]["hidden_size"] // (128 if shape == "1.5b" else 32)}
    config = Qwen2Config(**SHAPES[shape], **heads, num_key_value_heads=2, tie_word_embeddings=True)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = Qwen2ForCausalLM(config)
    return model.to(getattr(torch, hardware_dtype()[0])).eval()


def step(shape: str, tokens: int) -> dict[str, float]:
    """Median seconds by phase and tokens per second after a first step; peak GiB, 0 on a CPU."""
    config = TrainConfig(
        steps=1 + REPEATS,
        prompts=1,
        group=GROUP,
        thinking_tokens=tokens,
        episodes=EPISODES,
        lora=LoraSettings(rank=16),
        gradient_checkpointing=True,
        micro_batch_tokens=tokens,
        generation_batch_tokens=GROUP * (tokens + 256),
        prover_batch_tokens=tokens,
    )
    reasoner = Reasoner(build(shape), TOKENIZER, TEMPLATE)
    trainer = Trainer(reasoner, TASK, TASK.problems["train"][:4], EqualEpisodes("regret_to_go", 1.0), config)
    _reset_peak()
    rows = [trainer.step() for _ in range(1 + REPEATS)][1:]
    phases = ("generate_seconds", "prove_seconds", "update_seconds", "seconds")
    found = {name: float(np.median([row[name] for row in rows])) for name in phases}
    speed = [row["policy_tokens"] / row["generate_seconds"] for row in rows]
    return found | {"policy_tokens_per_second": float(np.median(speed)), "peak_gib": _peak()}


def values(shape: str, tokens: int, boundaries: int) -> dict[str, float]:
    """Median seconds of the three ways to the values of one trace, and the packed pass's peak GiB."""
    model, problem = build(shape), TASK.problems["test"][0]
    thought = np.random.default_rng(0).integers(5, len(TOKENIZER), tokens).tolist()
    trace = cut_evenly(Trace(problem.id, [5], thought, [tokens], finished=False), boundaries)
    reasoner = Reasoner(model, TOKENIZER, TEMPLATE, TransformersEngine(model, 4 * tokens))
    ways: dict[str, Any] = {
        "packed": ExactProver(reasoner, TASK, batch_tokens=tokens),
        "separate": SeparateProver(reasoner, TASK, batch_tokens=tokens),
        "sampled4": SampledProver(reasoner, TASK, BRANCHES, Sampling(2, seed=0)),
    }
    found = {}
    for name, prover in ways.items():
        _reset_peak()
        seconds = [seconds_once(prover, [problem], [trace])[0] for _ in range(REPEATS)]
        found[f"{name}_seconds"] = float(np.median(seconds))
        found[f"{name}_peak_gib"] = _peak()
    return found


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def measure(shape: str) -> dict[str, Any]:
    """Everything for one shape; what does not fit is said in place of its numbers."""
    found: dict[str, Any] = {"provenance": provenance(), "shape": shape, "dtype": hardware_dtype()[0]}
    longest = TOKENS[shape][1]
    jobs = {f"step, {n} tokens": (step, n) for n in TOKENS[shape]}
    jobs |= {f"values, {longest} tokens, {b} boundaries": (values, longest, b) for b in BOUNDARIES}
    for name, (job, *arguments) in jobs.items():
        try:
            found[name] = job(shape, *arguments)
        except (MemoryError, torch.OutOfMemoryError) as error:
            found[name] = f"does not fit: {str(error).splitlines()[0]}"
        print(name, found[name], flush=True)
    return found


def main() -> None:
    """Measure and enter the result beside those of other devices and caps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="1.5b")
    parser.add_argument("--cap", type=float, help="GiB of the card to use at most")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.shape == "1.5b" and not torch.cuda.is_available():
        parser.error("the real shape needs a GPU; use --shape tiny to try the code")
    if options.cap:
        torch.cuda.set_per_process_memory_fraction(options.cap * 2**30 / torch.cuda.mem_get_info()[1])
    found = measure(options.shape)
    table = json.loads(options.result.read_text()) if options.result.is_file() else {}
    cap = f", {options.cap:g} GiB" if options.cap else ""
    write_json(options.result, table | {f"{found['provenance']['device']}{cap}": found})


if __name__ == "__main__":
    main()
