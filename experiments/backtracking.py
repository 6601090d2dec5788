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
from transformers import PreTrainedTokenizerFast

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
from experiments.figures import write_backtracking_figure
from experiments.records import SCRATCH, write_run
from experiments.schedule import command_line
from mrt_lib import Reasoner, TrainConfig, Trainer
from mrt_lib.arms.base import stream
from mrt_lib.files import sha256
from mrt_lib.provenance import provenance
from mrt_lib.training import loop
from mrt_lib.training.config import Imitation
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.training.supervised import Example, FinetuneConfig, finetune
from recipes.backtracking.base import ANSWER_TOKENS, CONTEXT, NAME, TASK
from recipes.backtracking.warm_start import warm_start

BASE = Path("data/models") / NAME
MICRO_BATCH_TOKENS = 2048
WARM = FinetuneConfig(WARM_STEPS, 1e-3, WARM_STEPS // 10, checkpoint_every=WARM_STEPS)
SIZES: dict[str, Any] = {"thinking_tokens": CONTEXT, "answer_tokens": ANSWER_TOKENS, "episodes": 3}


def execute(run: BacktrackingRun) -> None:
    """Do `run` from its newest checkpoint on and write its records."""
    torch.set_num_threads(1)
    reasoner, log, config = _trained(run)
    facts = {
        "run": asdict(run),
        "config": config,
        "base_sha256": sha256(BASE / "model.safetensors"),
        "validation_J": validate(reasoner),
        **{name: sum(row.get(name, 0) for row in log) for name in ("policy_tokens", "prover_tokens")},
        "provenance": provenance(),
    }
    write_run(run.folder, facts, log, test(reasoner) if run.tested else {})


def _trained(run: BacktrackingRun) -> tuple[Reasoner, list[loop.Row], dict[str, Any]]:
    """The trained reasoner, its log and its settings."""
    if run.arm == "untrained":
        return Reasoner.load(BASE), [], {}
    if run.warms:
        return _warm_started(run)
    trainer = make_trainer(run, _start(run))
    log = loop.run(trainer, SCRATCH / run.name)
    return trainer.trained(), log, asdict(trainer.config)


def make_trainer(run: BacktrackingRun, start: Reasoner) -> Trainer:
    """The trainer of an RL run, or of a STaR run on as many problems as an RL run sees."""
    problems = TASK.problems["train"]
    own: dict[str, Any] = {"steps": RL_STEPS, "checkpoint_every": 40}
    if run.imitates:
        problems = problems[: RL_STEPS * 8 // ITERATIONS]
        own = {"steps": ITERATIONS, "prompts": None, "imitation": Imitation(STAR_STEPS, STEP_TOKENS)}
        own |= {"warmup": STAR_STEPS // 10, "micro_batch_tokens": MICRO_BATCH_TOKENS}
    config = TrainConfig(**own, **SIZES, learning_rate=run.rate, seed=run.seed)
    return Trainer(start, TASK, problems, ARMS[run.arm], config)


def _warm_started(run: BacktrackingRun) -> tuple[Reasoner, list[loop.Row], dict[str, Any]]:
    """Supervised fine-tuning on one scheme; the loss of a step is on problems not seen before."""
    base = Reasoner.load(BASE)
    learner = Learner(base.model, LoraSettings(), run.seed)
    log = finetune(learner.model, partial(examples, run, base.tokenizer), WARM, SCRATCH / run.name / "sft")
    learner.publish()
    warm = Reasoner(learner.sampler, base.tokenizer, base.template)
    if not run.model_folder.exists():
        warm.save(run.model_folder, merged=True)
    return warm, log, asdict(WARM)


def examples(run: BacktrackingRun, tokenizer: PreTrainedTokenizerFast, step: int) -> Sequence[Example]:
    """What one step learns: `WARM_TOKENS` read tokens of the scheme; failed attempts are read, not learnt."""
    return warm_start(run.scheme, tokenizer, TASK, WARM_TOKENS, stream(run.seed, step), learn_failures=False)


def _start(run: BacktrackingRun) -> Reasoner:
    """The warm start of the run's seed, made first if it is not here."""
    warm = run.warm_start
    if not warm.model_folder.exists():
        _warm_started(warm)
    return Reasoner.load(warm.model_folder)


if __name__ == "__main__":
    command_line("experiments.backtracking", __doc__, plan, execute, write_results, write_backtracking_figure)
