"""One step of RL, ours against TRL's GRPOTrainer, on the same CPU work.

`python -m benchmarks.training` takes a step of our `grpo` arm, of `mrt_exact` with regret-to-go and of
TRL in turns, in one process and on the same number of threads. Ratios are medians over the turns; raw
seconds of every phase go to data/results/benchmark_training.json.

The same on both sides: the shipped base reasoner in fp32, the same 32 problems x 8 rollouts in every
turn, LoRA rank 16 / alpha 32 on all linear layers, DAPO loss, beta 0, temperature 1, AdamW without
weight decay, gradients cut to length 1, one update per collection. The learning rate is next to 0, so that
every turn samples from the same policy and no step gets easier; all the work of an update is still done.

Made fair to TRL: gradient checkpointing, bf16, logging and saving off, old log-probabilities never
recomputed (one generation per optimiser step), its batch size is the fastest of those tried, its other
settings are its defaults. Ours keeps the settings of the experiments.

What differs, and counts for or against: our thought has 44 tokens; if it has not ended by then the
closing text is forced, unlearnt, and at most 2 answer tokens follow. TRL has no forced answer, so it
generates once, up to 44 + 3 + 2 tokens or the end token, and learns them all. So lengths differ by a few
tokens, and the ratio is taken in *generated tokens per second*; rollouts per second are recorded beside
it. Groups whose rewards are all equal have no gradient: our update leaves them out, TRL's does not. Their
share is recorded, and `mrt_exact`, which has no such groups, shows the step without that saving.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.prover import ratio
from mrt_lib import GRPO, Arm, MRTExact, Reasoner, TrainConfig, Trainer
from mrt_lib.files import write_json
from mrt_lib.provenance import provenance
from mrt_lib.tasks import RootSearch
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import TESTBED, decode, encode, token_id
from mrt_lib.training.lora import LoraSettings
from tools.summary import record

MODEL = Path("data/models/base")
TASK = RootSearch(31)
PROBLEMS = {problem.id: problem for problem in TASK.problems["train"]}
CONFIG = TrainConfig(prompts=32, group=8, learning_rate=1e-12)
ARMS: dict[str, Arm] = {"grpo": GRPO(), "mrt_exact": MRTExact("regret_to_go", 2.0)}
BATCH_SIZES = (16, 32, 64, 128, 256)
WARM_UP = 2
RESULT = Path("data/results/benchmark_training.json")
COMMAND = "python -m benchmarks.training"
Phases = dict[str, float]


class Ours:
    """Our trainer, always on the same problems."""

    def __init__(self, arm: Arm, problems: Sequence[Problem]) -> None:
        self.trainer = Trainer(Reasoner.load(MODEL), TASK, problems, arm, CONFIG)

    def step(self) -> Phases:
        """Seconds of one step by phase, and what it made."""
        row = self.trainer.step()
        phases = {name: row[f"{name}_seconds"] for name in ("generate", "prove", "update")}
        return {
            **phases,
            "score": row["seconds"] - sum(phases.values()),
            "seconds": row["seconds"],
            "tokens": row["policy_tokens"],
            "silent_groups": row["silent_groups"],
        }


class Theirs(GRPOTrainer):
    """TRL's trainer with a stopwatch around generation and around all that happens before the update."""

    clock: Phases

    def _generate_single_turn(self, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        found = super()._generate_single_turn(*arguments, **options)
        self.clock = {"generate": time.perf_counter() - started}
        self.clock["tokens"] = sum(map(len, found[0]))
        return found

    def _generate_and_score_completions(self, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        found = super()._generate_and_score_completions(*arguments, **options)
        self.clock["score"] = time.perf_counter() - started - self.clock["generate"]
        return found


class Turns(TrainerCallback):
    """Times whole steps of TRL, data loading included; `between` runs in the pauses."""

    def __init__(self, between: Callable[[], None]) -> None:
        self.between, self.steps = between, []
        self.trainer: Theirs | None = None
        self._started = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The clock starts."""
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step is over: note it, let the others have their turn, start the clock again."""
        seconds, clock = time.perf_counter() - self._started, self.trainer.clock
        update = seconds - clock["generate"] - clock["score"]
        self.steps.append({**clock, "prove": 0.0, "update": update, "seconds": seconds})
        self.between()
        self._started = time.perf_counter()


def fair_settings(folder: str, batch_size: int, ours: TrainConfig, **own: Any) -> GRPOConfig:
    """TRL's settings for the work of `ours`, with nothing switched on that costs it time."""
    return GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        loss_type=ours.loss.normalisation,
        beta=ours.loss.kl,
        temperature=ours.temperature,
        learning_rate=ours.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=ours.max_grad_norm,
        num_generations=ours.group,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=ours.prompts * ours.group // batch_size,
        **own,
    )


def run_trl(
    problems: Sequence[Problem], batch_size: int, steps: int, between: Callable[[], None] = lambda: None
) -> list[Phases]:
    """`steps` steps of TRL's GRPO; after each, `between`."""
    reasoner = Reasoner.load(MODEL)
    closing = len(encode(reasoner.tokenizer, TESTBED.forced_answer))
    lora = LoraSettings()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = fair_settings(
            folder,
            batch_size,
            CONFIG,
            bf16=False,
            shuffle_dataset=False,
            max_completion_length=CONFIG.thinking_tokens + closing + CONFIG.answer_tokens,
            max_steps=steps,
        )
        turns = Turns(between)
        turns.trainer = Theirs(
            reasoner.model,
            reward(reasoner.tokenizer),
            settings,
            dataset(problems, steps),
            processing_class=reasoner.tokenizer,
            callbacks=[turns],
            peft_config=LoraConfig(
                r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM"
            ),
        )
        turns.trainer.remove_callback(PrinterCallback)
        turns.trainer.train()
    return turns.steps


def reward(tokenizer: Any) -> Callable[..., list[float]]:
    """Our 0/1 outcome of what follows the end of the thought; 0 for a thought that did not end."""
    close = token_id(tokenizer, TESTBED.think_end)

    def score(completion_ids: list[list[int]], problem: list[str], **_: Any) -> list[float]:
        rewards = []
        for ids, own in zip(completion_ids, problem, strict=True):
            answer = ids[ids.index(close) + 1 :] if close in ids else []
            rewards.append(TASK.score(PROBLEMS[own], TESTBED.parse_answer(decode(tokenizer, answer))))
        return rewards

    return score


def dataset(problems: Sequence[Problem], steps: int) -> Dataset:
    """The same problems for every step, in TRL's columns."""
    rows = [{"prompt": TESTBED.prompt.format(question=p.question), "problem": p.id} for p in problems]
    return Dataset.from_list(rows * steps)


def tune(problems: Sequence[Problem]) -> tuple[int, dict[int, float]]:
    """TRL's fastest batch size, and the seconds of a step for each."""
    tried = {
        size: min(step["seconds"] for step in run_trl(problems, size, WARM_UP + 1)[1:])
        for size in BATCH_SIZES
    }
    return min(tried, key=tried.__getitem__), tried


def measure(problems: Sequence[Problem], batch_size: int, repeats: int) -> dict[str, list[Phases]]:
    """Steps of everyone in turns, without those that warm up."""
    ours = {name: Ours(arm, problems) for name, arm in ARMS.items()}
    found: dict[str, list[Phases]] = {name: [] for name in ours}

    def between() -> None:
        for name, trainer in ours.items():
            found[name].append(trainer.step())

    found["trl"] = run_trl(problems, batch_size, WARM_UP + repeats, between)
    return {name: steps[WARM_UP:] for name, steps in found.items()}


def main() -> None:
    """Tune TRL, time everyone, record the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of torch, for both; the experiments use 1")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batch-size", type=int, help="TRL's; without it the fastest is searched for")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problems = list(PROBLEMS.values())[: CONFIG.prompts]
    batch_size, tried = (arguments.batch_size, {}) if arguments.batch_size else tune(problems)
    print(f"TRL's batch size: {batch_size} ({', '.join(f'{n}: {s:.2f} s' for n, s in tried.items())})")
    found = measure(problems, batch_size, arguments.repeats)
    for name, steps in found.items():
        median = {key: statistics.median(step[key] for step in steps) for key in steps[0]}
        print(f"{name:10}", " ".join(f"{key} {value:.3g}" for key, value in median.items()))
    theirs = [step["seconds"] / step["tokens"] for step in found["trl"]]
    command = COMMAND if arguments.threads == 1 else f"{COMMAND} --threads {arguments.threads}"
    for name, label in (("grpo", "i2.step_vs_trl"), ("mrt_exact", "i2.step_vs_trl_mrt")):
        per_token = ratio(theirs, [step["seconds"] / step["tokens"] for step in found[name]])
        record(label, per_token, "times the tokens per second", command)
        print(f"{name}: {per_token.value:.2f}x TRL's [{per_token.low:.2f}, {per_token.high:.2f}]")
    per_step = [[step["seconds"] for step in found[name]] for name in ("trl", "grpo")]
    record("i2.step_vs_trl_rollouts", ratio(*per_step), "times the rollouts per second", command)
    write_json(
        RESULT,
        {
            "provenance": provenance(),
            "threads": arguments.threads,
            "config": asdict(CONFIG),
            "trl_batch_size": batch_size,
            "trl_seconds_by_batch_size": tried,
            "steps": found,
        },
    )


if __name__ == "__main__":
    main()
