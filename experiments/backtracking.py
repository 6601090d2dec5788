"""Backtracking, claims C13 to C16: `python -m experiments.backtracking [--jobs N]`. Resumes.

Warm starts in three schemes from the shipped `backtracker`, then every arm from the warm start of its own
seed. With the name of a run it does that run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from experiments.__main__ import command_line
from experiments.backtracking_measure import test, validate
from experiments.backtracking_plan import (
    ARMS,
    ITERATIONS,
    RL_STEPS,
    STAR_STEPS,
    STEP_TOKENS,
    WARM_STEPS,
    WARM_TOKENS,
    BacktrackingRun,
    plan,
)
from experiments.backtracking_results import write_results
from experiments.records import write_run
from experiments.run import SCRATCH
from mrt_lib.arms.base import Policy, stream
from recipes.backtracking.base import ANSWER_TOKENS, CONTEXT, NAME, TASK
from mrt_lib.files import new_folder
from mrt_lib.training.supervised import Example, FinetuneConfig, finetune
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.reasoner import load_reasoner
from mrt_lib.provenance import provenance, sha256
from mrt_lib.training.star import StarTrainer, run_star
from mrt_lib.thoughts.templates import TESTBED
from mrt_lib.training.config import StarConfig, TrainConfig
from mrt_lib.training.loop import Trainer, make_policy, train
from recipes.backtracking.warm_start import warm_start

BASE = Path("data/models") / NAME
WARM = FinetuneConfig(WARM_STEPS, 1e-3, WARM_STEPS // 10, checkpoint_every=WARM_STEPS)
SIZES: dict[str, Any] = {"thinking_tokens": CONTEXT, "answer_tokens": ANSWER_TOKENS}


def execute(run: BacktrackingRun) -> None:
    """Do `run` from its newest checkpoint on and write its records."""
    torch.set_num_threads(1)
    policy, log, config = _trained(run)
    facts = {
        "run": asdict(run),
        "config": config,
        "base_sha256": sha256(BASE / "model.safetensors"),
        "validation_J": validate(policy),
        **{name: sum(row.get(name, 0) for row in log) for name in ("policy_tokens", "prover_tokens")},
        "provenance": provenance(),
    }
    write_run(run.folder, facts, log, test(policy) if run.tested else {})


def _trained(run: BacktrackingRun) -> tuple[Policy, list[dict[str, float]], dict[str, Any]]:
    """The trained policy, its log and its settings."""
    if run.arm == "untrained":
        model, tokenizer = load_reasoner(BASE)
        return _policy(Learner(model, None, 0, keep_stale=False), tokenizer), [], {}
    if run.warms:
        return _warm_started(run)
    model, tokenizer = _start(run)
    if run.imitates:
        star = make_star_trainer(run, model, tokenizer)
        return star.policy, run_star(star, SCRATCH / run.name), asdict(star.config)
    trainer = make_trainer(run, model, tokenizer)
    return trainer.policy, train(trainer, SCRATCH / run.name), asdict(trainer.config)


def make_trainer(run: BacktrackingRun, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Trainer:
    """The trainer of an RL run."""
    config = TrainConfig(
        steps=RL_STEPS, episodes=3, learning_rate=run.rate, seed=run.seed, checkpoint_every=40, **SIZES
    )
    return Trainer(model, tokenizer, TESTBED, TASK, TASK.problems["train"], ARMS[run.arm], config)


def make_star_trainer(
    run: BacktrackingRun, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> StarTrainer:
    """The trainer of a STaR run, on as many problems as an RL run sees."""
    tuned = FinetuneConfig(STAR_STEPS, run.rate, STAR_STEPS // 10, checkpoint_every=STAR_STEPS)
    config = StarConfig(tuned, STEP_TOKENS, ITERATIONS, seed=run.seed, **SIZES)
    problems = TASK.problems["train"][: RL_STEPS * 8 // ITERATIONS]
    return StarTrainer(model, tokenizer, TESTBED, TASK, problems, ARMS[run.arm], config)


def _warm_started(run: BacktrackingRun) -> tuple[Policy, list[dict[str, float]], dict[str, Any]]:
    """Supervised fine-tuning on one scheme; the loss of a step is on problems not seen before."""
    model, tokenizer = load_reasoner(BASE)
    learner = Learner(model, LoraSettings(), run.seed, keep_stale=False)
    log = finetune(learner.model, partial(examples, run, tokenizer), WARM, SCRATCH / run.name / "sft")
    learner.publish()
    if not run.model_folder.exists():
        with new_folder(run.model_folder) as filling:
            learner.sampler.save_pretrained(filling)
            tokenizer.save_pretrained(filling)
    return _policy(learner, tokenizer), log, asdict(WARM)


def examples(run: BacktrackingRun, tokenizer: PreTrainedTokenizerFast, step: int) -> Sequence[Example]:
    """What one step learns: `WARM_TOKENS` read tokens of the scheme; failed attempts are read, not learnt."""
    return warm_start(run.scheme, tokenizer, TASK, WARM_TOKENS, stream(run.seed, step), learn_failures=False)


def _start(run: BacktrackingRun) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The warm start of the run's seed, made first if it is not here."""
    warm = run.warm_start
    if not warm.model_folder.exists():
        _warm_started(warm)
    return load_reasoner(warm.model_folder)


def _policy(learner: Learner, tokenizer: PreTrainedTokenizerFast) -> Policy:
    return make_policy(learner, tokenizer, TESTBED, TASK, TrainConfig(**SIZES))


if __name__ == "__main__":
    from experiments.figures import write_backtracking_figure

    command_line("experiments.backtracking", __doc__, plan, execute, write_results, write_backtracking_figure)
