"""One step of RL on the pretrained language model on a CPU: before and now, and against TRL's GRPOTrainer.

`python -m benchmarks.words --before FOLDER` takes, in turns and each in a process of its own with one thread,

* a step of MRT (regret-to-go, exact values) with this library, with the library of FOLDER, a worktree of an
  earlier commit, and with that one as a user would have called it: fp32, Transformers' own attention;
* a step of GRPO with this library and with TRL (bf16, SDPA, the fastest of three batch sizes).

The same in all: the warmed model, 8 problems x 4 rollouts of up to 84 tokens, LoRA of rank 16 on all linear
layers, AdamW, a learning rate next to 0, so that every turn samples from the same policy. Thoughts differ by
rounding, so seconds are counted per sampled token. `lm.exact_vs_forward` is the time of exact values of all
prefixes over that of one forward pass with all logits of the same traces, in one process. Ratios are medians
over the turns, with their range as interval; raw seconds go to data/results/benchmark_words.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback

from mrt_lib import GRPO, MRTExact, Reasoner, TrainConfig, Trainer
from mrt_lib.files import write_json
from mrt_lib.measure.prover import ExactProver
from mrt_lib.provenance import ROOT, provenance
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import Template
from mrt_lib.training.lora import LoraSettings

RESULT = Path("data/results/benchmark_words.json")
PROMPTS, GROUP, THINKING_TOKENS, ANSWER_TOKENS, TURNS = 8, 4, 84, 8, 3
# Fields that a template has had from the start.
FIELDS = ("name", "prompt", "think_end", "separator", "forced_answer", "finished_answer", "answer_end")
FIELDS += ("boxed_answer", "episode_marker", "openers", "continue_markers")
BATCH_SIZES = (8, 16, 32)
# Side: library ("now" or "before"), number format, attention, arm.
SIDES = {
    "now": ("now", "bfloat16", "grouped", "mrt"),
    "before": ("before", "bfloat16", "sdpa", "mrt"),
    "before_default": ("before", "float32", "sdpa", "mrt"),
    "grpo": ("now", "bfloat16", "grouped", "grpo"),
}


class Listed:
    """The task of the problems in a file, whose right answers are listed there."""

    name = "words"

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.right = {row["id"]: tuple(row["answers"]) for row in rows}
        self.rows = [Problem(row["id"], self.name, row["question"], row["answers"][0]) for row in rows]

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """Of these problems, whatever the split."""
        del split
        return [self.rows[i] for i in rng.integers(len(self.rows), size=n)]

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 for a listed answer."""
        return float(answer_text.strip() in self.right[problem.id])

    def answers(self, problem: Problem) -> tuple[str, ...]:
        """The listed ones."""
        return self.right[problem.id]

    def optimal_values(self, episodes: int) -> None:
        """Unknown."""


def write_work(path: Path) -> None:
    """Model folder, template and problems, so that an earlier library needs none of the newer recipes."""
    from recipes.words.model import warm_model
    from recipes.words.search import Mixture
    from recipes.words.text import WORDS
    from recipes.words.warm_start import FAMILIES

    task = Mixture(FAMILIES)
    problems = task.problems["train"][:PROMPTS]
    rows = [{"id": p.id, "question": p.question, "answers": task.answers(p)} for p in problems]
    template = {name: getattr(WORDS, name) for name in FIELDS}
    path.write_text(json.dumps({"model": str(warm_model()), "template": template, "problems": rows}))


def the_work() -> TrainConfig:
    """What every side does; the learning rate changes no weight."""
    return TrainConfig(
        steps=4,
        prompts=PROMPTS,
        group=GROUP,
        thinking_tokens=THINKING_TOKENS,
        episodes=6,
        answer_tokens=ANSWER_TOKENS,
        learning_rate=1e-12,
        lora=LoraSettings(16, 32),
        micro_batch_tokens=1024,
        prover_batch_tokens=4096,
    )


def our_steps(work: dict[str, Any], dtype: str, attention: str, arm: str) -> dict[str, float]:
    """Seconds of a second step by phase, tokens sampled, and of exact values and a plain forward pass."""
    if attention == "grouped":
        import recipes.words.model  # noqa: F401  (its attention is registered there)
    task = Listed(work["problems"])
    reasoner = Reasoner.load(work["model"], Template(**work["template"]), dtype=dtype)
    reasoner.model.set_attn_implementation(attention)
    config = the_work()
    own = MRTExact("regret_to_go", 2.0) if arm == "mrt" else GRPO()
    trainer = Trainer(reasoner, task, task.rows, own, config)
    trainer.step()
    row = trainer.step()
    found = {f"{name}_seconds": row[f"{name}_seconds"] for name in ("generate", "prove", "update")}
    found |= {"seconds": row["seconds"], "tokens": row["policy_tokens"]}
    if arm == "mrt":
        traces = [rollout.trace for rollout in trainer.rollouts]
        problems = [rollout.problem for rollout in trainer.rollouts]
        prover = ExactProver(trainer.policy.reasoner, task, batch_tokens=config.prover_batch_tokens)
        found["exact_seconds"] = _seconds(lambda: prover.values(problems, traces))
        found["forward_seconds"] = _seconds(lambda: _forward(trainer.policy.reasoner.model, traces))
    return found


@torch.inference_mode()
def _forward(model: Any, traces: Sequence[Any]) -> None:
    rows = sorted((t.prompt_ids + t.thought_ids for t in traces), key=len)
    for batch in (rows[:16], rows[16:]):
        ids = [torch.tensor(row) for row in batch]
        model(torch.nn.utils.rnn.pad_sequence(ids, batch_first=True), use_cache=False)


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def trl_step(work: dict[str, Any], batch_size: int) -> dict[str, float]:
    """Seconds of TRL's second step by phase, and its sampled tokens."""
    # Not at the top: an earlier library may lack what this module needs.
    from benchmarks.training import Theirs, Turns, fair_settings

    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    model = AutoModelForCausalLM.from_pretrained(work["model"], dtype="bfloat16", attn_implementation="sdpa")
    # TRL has no forced answer: a thought goes on into its answer, and the end of the turn ends both.
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    right = {row["question"]: row["answers"] for row in work["problems"]}
    prompts = [work["template"]["prompt"].replace("{question}", question) for question in right]

    def reward(completions: list[str], question: list[str], **_: Any) -> list[float]:
        ends = [text.rpartition("Answer:")[2].strip() for text in completions]
        return [float(end in right[own]) for end, own in zip(ends, question, strict=True)]

    rows = [{"prompt": p, "question": q} for p, q in zip(prompts, right, strict=True)]
    turns = Turns(lambda: None)
    with tempfile.TemporaryDirectory() as folder:
        most = THINKING_TOKENS + ANSWER_TOKENS
        settings = fair_settings(
            folder, batch_size, the_work(), bf16=True, max_completion_length=most, max_steps=2
        )
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        turns.trainer = Theirs(
            model,
            reward,
            settings,
            Dataset.from_list(rows * 2),
            processing_class=tokenizer,
            callbacks=[turns],
            peft_config=lora,
        )
        turns.trainer.remove_callback(PrinterCallback)
        turns.trainer.train()
    return turns.steps[1]


def turn(name: str, work: Path, before: Path) -> dict[str, float]:
    """One side's turn in a process of its own; its last line is the result."""
    tree = before if SIDES.get(name, ("now",))[0] == "before" else ROOT
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--turn", name, "--work", str(work)]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(name, {key: round(value, 2) for key, value in found.items()}, flush=True)
    return found


def measure(before: Path) -> dict[str, list[dict[str, float]]]:
    """The turns of every side; TRL's batch size is chosen in its first turns."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work.json"
        write_work(work)
        tried = {size: turn(f"trl_{size}", work, before) for size in BATCH_SIZES}
        best = min(tried, key=lambda size: tried[size]["seconds"] / tried[size]["tokens"])
        names = [*SIDES, f"trl_{best}"]
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(TURNS):
            for name in names:
                found[name].append(turn(name, work, before))
        return found


def main() -> None:
    """Command line; `--turn` is for its own processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a worktree of the earlier commit")
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        torch.set_num_threads(1)
        work = json.loads(options.work.read_text())
        side, _, size = options.turn.partition("trl_")
        print(json.dumps(trl_step(work, int(size)) if size else our_steps(work, *SIDES[side][1:])))
        return
    if options.before is None or not (options.before / "mrt_lib" / "__init__.py").is_file():
        parser.error("--before: a worktree of the earlier commit, `git worktree add FOLDER 48966c0`")
    found = measure(options.before.resolve())
    write_json(RESULT, {"provenance": provenance(), "turns": found})
    record_ratios(found)


def record_ratios(found: dict[str, list[dict[str, float]]]) -> None:
    """Into the summary: medians of the ratios of turns, with their range."""
    from mrt_lib.measure.stats import Interval
    from tools.summary import record

    cost = {name: [t["seconds"] / t["tokens"] for t in turns] for name, turns in found.items()}
    theirs = next(name for name in cost if name.startswith("trl_"))
    ratios = {
        "lm.step_speedup": zip(cost["before"], cost["now"], strict=True),
        "lm.step_speedup_from_default": zip(cost["before_default"], cost["now"], strict=True),
        "lm.step_vs_trl": zip(cost[theirs], cost["grpo"], strict=True),
        "lm.exact_vs_forward": ((t["exact_seconds"], t["forward_seconds"]) for t in found["now"]),
    }
    for name, pairs in ratios.items():
        own = [a / b for a, b in pairs]
        interval = Interval(float(np.median(own)), min(own), max(own), len(own))
        record(name, interval, "ratio", "python -m benchmarks.words --before FOLDER")


if __name__ == "__main__":
    main()
