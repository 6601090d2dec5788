"""Short, long, and first short, then long training budgets, claim C12.

`python -m experiments.curriculum [--jobs N]` runs what is missing, says how long the rest will take, resumes,
and records `i4.*` at the end. With the name of a run it does that run alone.
"""

from __future__ import annotations

from dataclasses import asdict

import torch

from experiments.curriculum_plan import BASE, RUNS, TASK, CurriculumRun, plan
from experiments.curriculum_results import write_results
from experiments.figures import write_curriculum_figure
from experiments.measure import test_thoughts, validate
from experiments.plan import GROUP, PROMPTS, TASKS, Run
from experiments.records import SCRATCH, TOTALS, write_run
from experiments.run import MODELS
from experiments.schedule import command_line
from mrt_lib import Reasoner, TrainConfig, Trainer
from mrt_lib.files import sha256
from mrt_lib.provenance import provenance
from mrt_lib.training import loop


def execute(run: CurriculumRun) -> None:
    """Do `run` from its newest checkpoint on and write its records."""
    torch.set_num_threads(1)
    trainer = make_trainer(run)
    log = loop.run(trainer, SCRATCH / run.name)
    arrays = {} if run.tuning else test_thoughts(trainer.policy.reasoner, TASKS[TASK])
    facts = {
        "run": asdict(run),
        "arm": repr(trainer.arm),
        "config": asdict(trainer.config),
        "base_sha256": sha256(MODELS / BASE / "model.safetensors"),
        "validation_J4": float(validate(trainer.policy.reasoner, TASKS[TASK])[4]),
        "thought_tokens": round(sum(row["thought_tokens"] for row in log) * PROMPTS * GROUP),
        **{name: sum(row[name] for row in log) for name in TOTALS},
        "provenance": provenance(),
    }
    write_run(RUNS / run.name, facts, log, arrays)


def make_trainer(run: CurriculumRun) -> Trainer:
    """The trainer of a run, from the shipped reasoner; but for the budget that of the main set."""
    task, main_run = TASKS[TASK], Run(run.arm, run.knob, run.rate, run.seed)
    config = TrainConfig(
        steps=run.stages[-1].stop,
        prompts=PROMPTS,
        group=GROUP,
        learning_rate=run.rate,
        loss=main_run.loss,
        seed=run.seed,
        stages=run.stages,
    )
    reasoner = Reasoner.load(MODELS / BASE)
    return Trainer(reasoner, task, task.problems["train"], main_run.make_arm(), config)


if __name__ == "__main__":
    command_line("experiments.curriculum", __doc__, plan, execute, write_results, write_curriculum_figure)
