"""Train one model, measure it, keep the raw records: `python -m experiments.run NAME`. Resumes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.measure import EPISODE_TOKENS, test, validate
from experiments.plan import TASKS, Run, plan
from experiments.records import RUNS, SCRATCH, TOTALS, write_run
from experiments.schedule import command_line
from mrt_lib import Reasoner, TrainConfig, Trainer
from mrt_lib.files import sha256
from mrt_lib.provenance import provenance
from mrt_lib.tasks import SHIPPED, RootSearch
from mrt_lib.training import loop

MODELS = Path("data/models")
VALIDATE_EVERY = 20
LAST_VALIDATIONS = 2


def execute(run: Run, runs: Path = RUNS, others: Sequence[RootSearch] = SHIPPED, forced: bool = True) -> None:
    """Do `run` from its newest checkpoint on and write its records to `runs`.

    `others` are tested as well, and budget forcing if `forced`.
    """
    torch.set_num_threads(1)
    trainer = make_trainer(run)
    log: list[loop.Row] = []
    if run.steps:
        log = loop.run(trainer, SCRATCH / run.name, lambda rows: _watch(trainer, run, rows))
    started = time.perf_counter()
    arrays = {} if run.tuning else test(trainer.policy.reasoner, TASKS[run.task], others, forced)
    facts = _facts(run, trainer, log) | {"test_seconds": time.perf_counter() - started}
    write_run(runs / run.name, facts, log, arrays)
    if run.steps:
        shutil.rmtree(SCRATCH / run.name / "adapter", ignore_errors=True)
        trainer.trained().save(SCRATCH / run.name / "adapter")


def make_trainer(run: Run) -> Trainer:
    """The trainer of a run, from the shipped reasoner."""
    task = TASKS[run.task]
    config = TrainConfig(
        steps=max(1, run.steps),
        prompts=run.prompts,
        group=run.group,
        thinking_tokens=EPISODE_TOKENS * run.budget,
        episodes=run.budget,
        learning_rate=run.rate or 1.0,  # an untrained run has none
        loss=run.loss,
        seed=run.seed,
        checkpoint_every=VALIDATE_EVERY,
    )
    return Trainer(Reasoner.load(MODELS / run.base), task, task.problems["train"], run.make_arm(), config)


def _watch(trainer: Trainer, run: Run, log: list[loop.Row]) -> None:
    """J on validation problems at every checkpoint; of a tuning run, at those that it is compared by."""
    compared = len(log) > run.steps - LAST_VALIDATIONS * VALIDATE_EVERY
    if len(log) % VALIDATE_EVERY == 0 and (compared or not run.tuning):
        log[-1] |= _validated(trainer, run)


def _validated(trainer: Trainer, run: Run) -> loop.Row:
    value = validate(trainer.policy.reasoner, TASKS[run.task])
    return {f"validation_J{k}": float(value[k]) for k in range(1, 9)}


def _facts(run: Run, trainer: Trainer, log: list[loop.Row]) -> dict[str, Any]:
    """Provenance and totals of a run."""
    validated = [row for row in log if "validation_J4" in row][-LAST_VALIDATIONS:]
    validated = validated or [_validated(trainer, run)]
    after = {4, run.budget}
    return {
        "run": asdict(run),
        "arm": repr(trainer.arm),
        "config": asdict(trainer.config),
        "base_sha256": sha256(MODELS / run.base / "model.safetensors"),
        **{f"validation_J{k}": float(np.mean([row[f"validation_J{k}"] for row in validated])) for k in after},
        **{name: sum(row[name] for row in log) for name in TOTALS},
        "provenance": provenance(),
    }


if __name__ == "__main__":
    command_line("experiments.run", __doc__, plan, execute)
