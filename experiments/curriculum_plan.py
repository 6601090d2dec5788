"""Which training budgets are compared, claim C12, and which runs that takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.measure import EPISODE_TOKENS
from experiments.plan import STEPS, TUNING_SEED, chosen
from experiments.records import read_facts
from mrt_lib.training.config import Stage

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
