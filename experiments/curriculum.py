"""Short, long, and first short, then long training budgets, claim C12.

`python -m experiments.curriculum [--jobs N]` runs what is missing, says how long the rest will take, resumes,
and records `i4.*` at the end. With the name of a run it does that run alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.__main__ import command_line
from experiments.measure import EPISODE_TOKENS, test_thoughts, validate
from experiments.plan import GROUP, PROMPTS, STEPS, TASKS, TUNING_SEED, Run, chosen
from experiments.records import TOTALS, read_facts, write_run
from experiments.run import SCRATCH
from mrt_lib.training.stages import Stage
from mrt_lib.reasoner import load_reasoner
from mrt_lib.provenance import provenance, sha256
from mrt_lib.thoughts.templates import TESTBED
from mrt_lib.training.loop import TrainConfig, Trainer, train

RUNS = Path("data/results/curriculum")
TASK, BASE = "root_search_31", "base"
ARMS = ("grpo", "mrt_regret_to_go")
SEEDS = range(5)
# Mean thought tokens of the untrained base by budget in episodes, see PROTOCOL.md.
THOUGHT_TOKENS = {2: 19.86, 4: 33.83, 8: 53.22}
# Training to its budgets, which share the generated tokens equally.
TRAININGS = {"only_2": (2,), "only_8": (8,), "2_then_8": (2, 8)}


@dataclass(frozen=True)
class CurriculumRun:
    """One run: key of `TRAININGS`, and the arm with its tuned setting."""

    arm: str
    knob: Any
    rate: float
    seed: int
    training: str

    @property
    def name(self) -> str:
        """Folder of the run's records."""
        return f"{self.arm}-{self.knob}-lr{self.rate:g}-seed{self.seed}-{self.training}"

    @property
    def tuning(self) -> bool:
        """Seeds of trials, which see validation problems only."""
        return self.seed >= TUNING_SEED

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The budgets and their steps."""
        return stages(TRAININGS[self.training])

    def done(self, runs: Path = RUNS) -> bool:
        """Its records are complete."""
        return read_facts(self.name, runs) is not None


def stages(budgets: tuple[int, ...]) -> tuple[Stage, ...]:
    """One stage for each budget in episodes; together they generate the tokens of a run of the main set."""
    found: list[Stage] = []
    for budget in budgets:
        start = found[-1].stop if found else 0
        steps = round(STEPS * THOUGHT_TOKENS[4] / THOUGHT_TOKENS[budget] / len(budgets))
        found.append(Stage(start, start + steps, EPISODE_TOKENS * budget, budget))
    return tuple(found)


def seed_runs(seed: int) -> list[CurriculumRun]:
    """Every training of both arms with that seed; none before the main set has tuned the arms."""
    tuned = [best for arm in ARMS if (best := chosen(arm))]
    return [CurriculumRun(b.arm, b.knob, b.rate, seed, t) for b in tuned for t in TRAININGS]


def plan() -> list[CurriculumRun]:
    """All runs, seed by seed, so that any interim table compares like with like."""
    return [run for seed in SEEDS for run in seed_runs(seed)]


def execute(run: CurriculumRun) -> None:
    """Do `run` from its newest checkpoint on and write its records."""
    torch.set_num_threads(1)
    trainer = make_trainer(run)
    log = train(trainer, SCRATCH / run.name)
    arrays = {} if run.tuning else test_thoughts(trainer.policy, TASKS[TASK])
    facts = {
        "run": asdict(run),
        "arm": repr(trainer.arm),
        "config": asdict(trainer.config),
        "base_sha256": sha256(Path("data/models") / BASE / "model.safetensors"),
        "validation_J4": float(validate(trainer.policy, TASKS[TASK])[4]),
        "thought_tokens": round(sum(row["thought_tokens"] for row in log) * PROMPTS * GROUP),
        **{name: sum(row[name] for row in log) for name in TOTALS},
        "provenance": provenance(),
    }
    write_run(RUNS / run.name, facts, log, arrays)


def make_trainer(run: CurriculumRun) -> Trainer:
    """The trainer of a run, from the shipped reasoner; but for the budget that of the main set."""
    model, tokenizer = load_reasoner(Path("data/models") / BASE)
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
    return Trainer(model, tokenizer, TESTBED, task, task.problems["train"], main_run.make_arm(), config)


if __name__ == "__main__":
    from experiments.curriculum_results import write_results
    from experiments.figures import write_curriculum_figure

    command_line("experiments.curriculum", __doc__, plan, execute, write_results, write_curriculum_figure)
