"""Which runs train the pretrained model that thinks in words, in which order; see WORDS.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.plan import ARMS as MAIN_ARMS
from experiments.plan import SEQUENCE_MEAN, TUNING_SEED, UNSCALED, best_setting
from experiments.records import read_facts
from mrt_lib.arms import BRPO, MRTSTaR
from mrt_lib.training.losses import LossConfig
from recipes.words.search import Equation, Family, Letters, ListedEquation, Mixture, PairSum
from recipes.words.stories import Story

RUNS = Path("data/results/words")
STEPS, TUNING_STEPS, PROMPTS, GROUP = 40, 20, 8, 4
THINKING_TOKENS, EPISODES, ANSWER_TOKENS = 84, 6, 8
RATES = (1e-4, 3e-4, 1e-3)
TRAINED: tuple[Family, ...] = (PairSum(), Equation(), Letters(), Story())
TASK = Mixture(TRAINED)
# What is tested, by how far it is from what is trained on; nothing trains on the last one's form.
TESTED: dict[str, tuple[Family, ...]] = {
    "in": TRAINED,
    "edge": (PairSum(7, 12), Equation(20), Letters(10), Story(20)),
    "hard": (PairSum(8, 20), Equation(31, 9)),
    "unseen": (ListedEquation(),),
}
BUILD: dict[str, Callable[[Any], Any]] = {
    **{name: MAIN_ARMS[name].build for name in ("grpo", "grpo_exact", "mrt_offline", "mrt_online_4")},
    **{name: MAIN_ARMS[name].build for name in ("mrt_regret_to_go", "mrt_progress")},
    "brpo": lambda baseline: BRPO(baseline=baseline),
    "mrt_star": lambda reading: MRTSTaR(reading),
}
# The value at which rates are tried, then the two others.
KNOBS: dict[str, tuple[Any, ...]] = {
    **{name: MAIN_ARMS[name].knobs for name in BUILD if name in MAIN_ARMS},
    "brpo": ("mixed", "v1only", "v2only"),
    "mrt_star": ("rank", "cut"),
}
FIRST = ("grpo", "grpo_exact", "mrt_regret_to_go")
LATER = ("mrt_progress", "mrt_offline", "mrt_online_4", "brpo", "mrt_star")


@dataclass(frozen=True)
class WordsRun:
    """One run: key of `BUILD` or "untrained", its tuned setting, peak rate, seed, collections of rollouts."""

    arm: str
    knob: Any
    rate: float
    seed: int
    steps: int = STEPS

    @property
    def name(self) -> str:
        """Folder of the run's records."""
        return f"{self.arm}-{self.knob}-lr{self.rate:g}-seed{self.seed}-{self.steps}x{PROMPTS}x{GROUP}"

    @property
    def tuning(self) -> bool:
        """Tuning runs see validation problems only."""
        return self.seed >= TUNING_SEED

    @property
    def loss(self) -> LossConfig:
        """DAPO's normalisation, or GRPO's own mean per rollout where that is the knob."""
        return LossConfig("grpo" if self.knob == SEQUENCE_MEAN else "dapo")

    def done(self, runs: Path = RUNS) -> bool:
        """Its records are complete."""
        return read_facts(self.name, runs) is not None


UNTRAINED = WordsRun("untrained", UNSCALED, 0.0, 0, 0)


def tuning_runs(arm: str, runs: Path = RUNS) -> list[WordsRun]:
    """Five short runs for every arm: three rates, then the knob's other values at the best of them."""
    first, *others = KNOBS[arm]
    rates = [WordsRun(arm, first, rate, TUNING_SEED, TUNING_STEPS) for rate in RATES]
    best = best_setting([[run] for run in rates], runs)
    return rates + [replace(best, knob=knob) for knob in others] if best else rates


def chosen(arm: str, runs: Path = RUNS) -> WordsRun | None:
    """The setting with the highest validation J after four episodes; None before tuning has ended."""
    grid = tuning_runs(arm, runs)
    best = best_setting([[run] for run in grid], runs) if len(grid) > len(RATES) else None
    return replace(best, steps=STEPS) if best else None


def plan(runs: Path = RUNS) -> list[WordsRun]:
    """Every run that can be started now or is done, most needed first."""
    order = [UNTRAINED]
    for arms, seeds in ((FIRST, range(5)), (LATER, range(3))):
        order += [run for arm in arms for run in tuning_runs(arm, runs)]
        tuned = [best for arm in arms if (best := chosen(arm, runs))]
        order += [replace(best, seed=seed) for seed in seeds for best in tuned]
    return order
