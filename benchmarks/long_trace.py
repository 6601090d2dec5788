"""What exact values cost on a trace as long as a real model's.

`python -m benchmarks.long_trace` takes a trace of 16,384 random tokens with 20 boundaries and a random
model of two layers with the widths and heads of Qwen2-1.5B. Each way runs in a process of its own: a
plain forward pass over the trace, the packed pass, and one forward pass per prefix (the reference).
Peak memory is what the process needed beyond the loaded model. Into data/results/benchmark_long_trace.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from mrt_lib.files import write_json
from mrt_lib.measure.prover import ExactProver
from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import provenance
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import Problem, RootSearch
from mrt_lib.thoughts.templates import TESTBED
from mrt_lib.thoughts.traces import Trace
from recipes.reference import SeparateProver
from recipes.root_search.base import build_tokenizer
from tools.summary import record

TOKENS, BOUNDARIES = 16_384, 20
RESULT = Path("data/results/benchmark_long_trace.json")
COMMAND = "python -m benchmarks.long_trace"
TASK, TOKENIZER = RootSearch(31), build_tokenizer()
# As many tokens as the released forced-termination text has for DeepSeek-R1's tokenizer, about 50.
TEMPLATE = replace(TESTBED, forced_answer="time up " * 25 + "</think>")


def small_model(intermediate: int = 8960) -> PreTrainedModel:
    """Two random layers with Qwen2-1.5B's width and heads and the testbed's vocabulary."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(TOKENIZER),
        hidden_size=1536,
        intermediate_size=intermediate,
        num_hidden_layers=2,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=32_768,
    )
    return Qwen2ForCausalLM(config).to("cuda" if torch.cuda.is_available() else "cpu").eval()


def long_trace(tokens: int) -> tuple[Problem, Trace]:
    """A thought of random tokens in equal episodes, `tokens` long with its prompt."""
    problem = TASK.problems["test"][0]
    prompt = TEMPLATE.prompt_ids(TOKENIZER, problem.question)
    thought = np.random.default_rng(0).integers(5, len(TOKENIZER), tokens - len(prompt)).tolist()
    ends = np.linspace(0, len(thought), BOUNDARIES + 1).astype(int)[1:].tolist()
    return problem, Trace(problem.id, prompt, thought, ends, finished=False)


def measure(method: str, tokens: int) -> dict:
    """Seconds, peak memory in bytes beyond the model, and log J of every prefix."""
    model, (problem, trace) = small_model(), long_trace(tokens)
    before, started = _peak(), time.perf_counter()
    log_values: list[float] = []
    if method == "plain":
        ids = torch.tensor([trace.prompt_ids + trace.thought_ids], device=model.device)
        with torch.inference_mode():
            model(input_ids=ids, use_cache=False, logits_to_keep=1)
    else:
        prover = {"packed": ExactProver, "separate": SeparateProver}[method]
        values = prover(Reasoner(model, TOKENIZER, TEMPLATE), TASK).values([problem], [trace])
        log_values = values[0].log_value.tolist()
    seconds = time.perf_counter() - started
    return {"peak_bytes": _peak() - before, "seconds": seconds, "log_values": log_values}


def _peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    """Run the three ways, each in its own process, and record memory, time and agreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--only", choices=("plain", "packed", "separate"))
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.tokens)))
        return
    raw: dict = {"provenance": provenance(), "tokens": options.tokens, "boundaries": BOUNDARIES}
    for method in ("plain", "packed", "separate"):
        command = [sys.executable, "-m", "benchmarks.long_trace", f"--tokens={options.tokens}"]
        done = subprocess.run([*command, f"--only={method}"], capture_output=True, text=True, check=True)
        raw[method] = json.loads(done.stdout)
        print(f"{method}: {raw[method]['peak_bytes'] / 2**30:.2f} GiB, {raw[method]['seconds']:.0f} s")
    gap = np.abs(np.subtract(raw["packed"]["log_values"], raw["separate"]["log_values"])).max()
    raw["largest_gap"] = float(gap)
    print(f"largest distance in log J: {gap:.1e}")
    write_json(RESULT, raw)
    for name, against, what in (("memory", "plain", "peak_bytes"), ("speed", "separate", "seconds")):
        number = raw["packed"][what] / raw[against][what]
        number = 1 / number if name == "speed" else number
        record(f"i3.long_trace_{name}", Interval(number, number, number, 1), "times", COMMAND)


if __name__ == "__main__":
    main()
