"""STaR and MRT (STaR) at equal learnt tokens, claim C11: `python -m experiments.star [--jobs N]`.

Runs what is missing, says how long the rest will take, resumes, and records `i4.*` at the end. With the name
of a run it does that run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from experiments.headline import ratio_of_gains
from experiments.load import arm_runs
from experiments.measure import EPISODE_TOKENS, test_thoughts, validate
from experiments.plan import BUDGETS, RATES, TASKS, TUNING_SEED
from experiments.records import SCRATCH, read_arrays, read_facts, write_run
from experiments.run import MODELS
from experiments.schedule import command_line
from experiments.statistics import difference
from mrt_lib import Reasoner, TrainConfig, Trainer
from mrt_lib.arms import ImitationArm, MRTSTaR, STaR
from mrt_lib.files import sha256
from mrt_lib.measure.stats import over_seeds
from mrt_lib.provenance import provenance
from mrt_lib.training import loop
from mrt_lib.training.config import Imitation
from recipes.controls import ImitateAll
from tools.summary import SUMMARY, record

RUNS = Path("data/results/star")
TASK = "root_search_31"
BASES = ("base", "weak", "strong")
SEEDS = range(5)
ITERATIONS, STEPS, STEP_TOKENS, MICRO_BATCH_TOKENS = 3, 80, 1024, 2048
COMMAND = "python -m experiments.star"
ARMS: dict[str, ImitationArm] = {
    "star": STaR(),
    "mrt_star_rank": MRTSTaR("rank"),
    "mrt_star_cut": MRTSTaR("cut"),
    "imitate_all": ImitateAll(),
}
KINDS = ("policy", "prover", "learnt")
READINGS, CONTROL = ("mrt_star_rank", "mrt_star_cut"), "imitate_all"


@dataclass(frozen=True)
class StarRun:
    """One run: key of `ARMS`, peak learning rate, seed, shipped reasoner, optimiser steps per collection."""

    arm: str
    rate: float
    seed: int
    base: str = "base"
    steps: int = STEPS

    @property
    def name(self) -> str:
        """Folder of the run's records."""
        size = f"{ITERATIONS}x{self.steps}x{STEP_TOKENS}"
        return f"{self.arm}-lr{self.rate:g}-seed{self.seed}-{self.base}-{TASK}-{size}"

    @property
    def tuning(self) -> bool:
        """Tuning runs see validation problems only."""
        return self.seed >= TUNING_SEED

    def done(self, runs: Path = RUNS) -> bool:
        """Its records are complete."""
        return read_facts(self.name, runs) is not None


def tuning_runs(arm: str) -> list[StarRun]:
    """Three learning rates for every arm."""
    return [StarRun(arm, rate, TUNING_SEED) for rate in RATES]


def chosen(arm: str, runs: Path = RUNS) -> StarRun | None:
    """The tuning run with the highest validation J after 4 episodes; None before all are done."""
    grid = tuning_runs(arm)
    if not all(run.done(runs) for run in grid):
        return None
    return max(grid, key=lambda run: _validated(run, runs))


def plan(runs: Path = RUNS) -> list[StarRun]:
    """Every run that can be started now or is done: tuning, base by base, seed by seed, the control last."""
    tuned = [best for arm in ARMS if (best := chosen(arm, runs))]
    tests = [replace(run, seed=seed, base=base) for base in BASES for seed in SEEDS for run in tuned]
    tests.sort(key=lambda run: run.arm == CONTROL)
    return [run for arm in ARMS for run in tuning_runs(arm)] + tests


def execute(run: StarRun) -> None:
    """Do `run` from its newest checkpoint on and write its records."""
    torch.set_num_threads(1)
    trainer = make_trainer(run)
    log = loop.run(trainer, SCRATCH / run.name, lambda rows: _watch(trainer, rows))
    arrays = {} if run.tuning else test_thoughts(trainer.policy.reasoner, TASKS[TASK])
    facts = {
        "run": asdict(run),
        "arm": repr(trainer.arm),
        "config": asdict(trainer.config),
        "base_sha256": sha256(MODELS / run.base / "model.safetensors"),
        "validation_J4": log[-1]["validation_J4"],
        **{f"{kind}_tokens": sum(row[f"{kind}_tokens"] for row in log) for kind in KINDS},
        "provenance": provenance(),
    }
    write_run(RUNS / run.name, facts, log, arrays)


def make_trainer(run: StarRun) -> Trainer:
    """The trainer of a run, from the shipped reasoner."""
    task = TASKS[TASK]
    config = TrainConfig(
        steps=ITERATIONS,
        prompts=None,
        thinking_tokens=EPISODE_TOKENS * BUDGETS[TASK],
        episodes=BUDGETS[TASK],
        learning_rate=run.rate,
        warmup=run.steps // 10,
        imitation=Imitation(run.steps, STEP_TOKENS),
        micro_batch_tokens=MICRO_BATCH_TOKENS,
        seed=run.seed,
    )
    return Trainer(Reasoner.load(MODELS / run.base), task, task.problems["train"], ARMS[run.arm], config)


def _watch(trainer: Trainer, log: list[loop.Row]) -> None:
    value = validate(trainer.policy.reasoner, TASKS[TASK])
    log[-1] |= {f"validation_J{k}": float(value[k]) for k in range(1, 9)}


def values(arms: Sequence[str], base: str, runs: Path = RUNS) -> dict[str, np.ndarray]:
    """Test J after 4 episodes of tuned arms, shape (seeds, problems), at the seeds that all of `arms` have.

    Empty before there are two of them.
    """
    tuned = {arm: best for arm in arms if (best := chosen(arm, runs))}
    if len(tuned) < len(arms):
        return {}
    by_seed = [[replace(best, seed=seed, base=base) for best in tuned.values()] for seed in SEEDS]
    whole = [own for own in by_seed if all(run.done(runs) for run in own)]
    if len(whole) < 2:
        return {}
    at = BUDGETS[TASK]
    found = [[read_arrays(run.name, runs)["value"][:, at] for run in own] for own in whole]
    return {arm: np.stack([own[i] for own in found]) for i, arm in enumerate(tuned)}


def headline_reading(runs: Path = RUNS) -> str | None:
    """The reading with the higher validation value after tuning; None before both are tuned."""
    best = {reading: chosen(reading, runs) for reading in READINGS}
    if not all(best.values()):
        return None
    return max(READINGS, key=lambda reading: _validated(best[reading], runs))


def write_headline(runs: Path = RUNS, path: Path = SUMMARY) -> None:
    """Record gains, ratios, difference on every base with two seeds; `mrt_star_*`: headline reading."""
    reading = headline_reading(runs)
    for base in BASES:
        found = values(("star", *READINGS), base, runs) | values((CONTROL,), base, runs)
        untrained = arm_runs("untrained", base=base)
        if reading is None or untrained is None or "star" not in found:
            continue
        start = untrained.arrays["value"][0, :, BUDGETS[TASK]]
        end = "" if base == "base" else f"_{base}"
        for arm, value in found.items():
            same = np.broadcast_to(start, value.shape)
            _record(f"{arm}_gain{end}", difference, "probability", path, value, same)
        plain = found["star"]
        same = np.broadcast_to(start, plain.shape)
        for name, own in {"mrt_star": found[reading], **{arm: found[arm] for arm in READINGS}}.items():
            _record(f"{name}_gain_ratio{end}", ratio_of_gains, "times the gain", path, own, plain, same)
        _record(f"mrt_star_gain_difference{end}", difference, "probability", path, found[reading], plain)


def _record(name: str, statistic: Callable[..., float], unit: str, path: Path, *samples: np.ndarray) -> None:
    record(f"i4.{name}", over_seeds(statistic, *samples, seed=0), unit, COMMAND, path)


def _validated(run: StarRun, runs: Path) -> float:
    return read_facts(run.name, runs)["validation_J4"]


if __name__ == "__main__":
    command_line("experiments.star", __doc__, plan, execute, write_headline)
